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

func (s *statements) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, "copy")
	return ctx
}

func (s *statements) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

func (s *statements) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.sent, " ")
	s.sent = nil
	return all
}

func TestStatementsOfACall(t *testing.T) {
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
	must(t, riverexec.ConfigureClient(clientConfig))
	client, err := river.NewClient(driver, clientConfig)
	must(t, err)
	exec, err := riverexec.New(client, nil)
	must(t, err)
	// Of jobs that can run at once River sends a notification now and then.
	later := core.Delay(time.Hour)
	batch := func(n int, opts ...core.Option) []core.Intent {
		intents := make([]core.Intent, n)
		for i := range intents {
			intents[i], err = raw.Intent([]byte("1"), later)
			must(t, err)
		}
		intents[n-1], err = raw.Intent([]byte("1"), append(opts, later)...)
		must(t, err)
		return intents
	}
	must(t, exec.Execute(t.Context(), batch(1)...)) // asks once whether the client is configured
	// What River's own client sends, for comparison. An insert begins with a comment.
	seen.take()
	_, err = client.Insert(t.Context(), nativeArgs{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	must(t, err)
	if got := seen.take(); got != "begin -- commit" {
		t.Errorf("River: sent %q", got)
	}
	for _, c := range []struct {
		intents   []core.Intent
		own, inTx string
	}{
		{batch(1), "begin -- commit", "--"},
		{batch(99), "begin copy commit", "--"},
		{batch(1000), "begin copy commit", "savepoint copy release"},
		{batch(1000, core.Unique("a")), "begin -- commit", "--"},
		{batch(1000, core.ID("a")), "begin -- commit", "--"},
	} {
		n := len(c.intents)
		seen.take()
		must(t, exec.Execute(t.Context(), c.intents...))
		if got := seen.take(); got != c.own {
			t.Errorf("%d intents: sent %q, want %q", n, got, c.own)
		}
		tx, err := pool.Begin(t.Context())
		must(t, err)
		seen.take()
		again := batch(n)
		if c.inTx == "--" && n > 99 {
			again = batch(n, core.ID("b"))
		}
		must(t, riverexec.InTx(exec, tx)(t.Context(), again...))
		if got := seen.take(); got != c.inTx {
			t.Errorf("%d intents in a transaction: sent %q, want %q", n, got, c.inTx)
		}
		must(t, tx.Rollback(t.Context()))
	}
	// What has been sent before takes the slow way after the COPY.
	intents := batch(200)
	must(t, exec.Execute(t.Context(), intents...))
	seen.take()
	must(t, exec.Execute(t.Context(), intents...))
	if got := seen.take(); got != "begin copy rollback begin -- commit" {
		t.Errorf("again: sent %q", got)
	}
	tx, err := pool.Begin(t.Context())
	must(t, err)
	seen.take()
	must(t, riverexec.InTx(exec, tx)(t.Context(), intents...))
	if got := seen.take(); got != "savepoint copy rollback --" {
		t.Errorf("again in a transaction: sent %q", got)
	}
	must(t, tx.Commit(t.Context()))
}
