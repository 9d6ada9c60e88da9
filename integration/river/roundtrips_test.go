//go:build realservers

package river_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

// statements is a tracer that notes what a connection sends.
type statements struct {
	mu   sync.Mutex
	sent []string // guarded by mu
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, _, _ := strings.Cut(strings.TrimSpace(data.SQL), " ")
	s.sent = append(s.sent, strings.ToLower(first))
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.sent, " ")
	s.sent = nil
	return all
}

func TestACallIsThreeRoundTripsAndOneInATransaction(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(shared.server().Database(t))
	must(t, err)
	seen := new(statements)
	config.ConnConfig.Tracer, config.MaxConns = seen, 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	driver := riverpgxv5.New(pool)
	migrate(t, driver, "")
	clientConfig := &river.Config{Logger: quiet}
	must(t, riverexec.Configure(clientConfig))
	client, err := river.NewClient(driver, clientConfig)
	must(t, err)
	exec, err := riverexec.New(client, nil)
	must(t, err)
	batch := func(n int) []core.Intent {
		intents := make([]core.Intent, n)
		for i := range intents {
			// Of jobs that can run at once River sends a notification now and then.
			intents[i], err = raw.Intent([]byte("1"), core.Delay(time.Hour))
			must(t, err)
		}
		return intents
	}
	must(t, exec.Execute(t.Context(), batch(1)...)) // asks once whether the client is configured
	for _, n := range []int{1, 1000} {
		seen.take()
		must(t, exec.Execute(t.Context(), batch(n)...))
		if got := seen.take(); got != "begin -- commit" { // the insert begins with a comment
			t.Errorf("%d intents: sent %q", n, got)
		}
		tx, err := pool.Begin(t.Context())
		must(t, err)
		seen.take()
		must(t, riverexec.InTx(exec, tx)(t.Context(), batch(n)...))
		if got := seen.take(); got != "--" {
			t.Errorf("%d intents in a transaction: sent %q", n, got)
		}
		must(t, tx.Commit(t.Context()))
	}
}
