//go:build realservers

package river_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/integration/servers"
)

// serverTB is what starts the server that tests share; it ends with the tests.
type serverTB struct {
	testing.TB
	cleanups []func()
}

func (tb *serverTB) Helper()                   {}
func (tb *serverTB) Cleanup(f func())          { tb.cleanups = append(tb.cleanups, f) }
func (tb *serverTB) Failed() bool              { return false }
func (tb *serverTB) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (tb *serverTB) Fatalf(s string, a ...any) { panic(fmt.Sprintf(s, a...)) }
func (tb *serverTB) Error(args ...any)         { fmt.Fprintln(os.Stderr, args...) }
func (tb *serverTB) Logf(s string, a ...any)   { fmt.Fprintf(os.Stderr, s+"\n", a...) }

var shared struct {
	tb     serverTB
	server func() *servers.PostgresServer
}

func TestMain(m *testing.M) {
	shared.server = sync.OnceValue(func() *servers.PostgresServer {
		return servers.Postgres(&shared.tb, servers.PostgresOptions{})
	})
	code := m.Run()
	for i := len(shared.tb.cleanups) - 1; i >= 0; i-- {
		shared.tb.cleanups[i]()
	}
	os.Exit(code)
}

func openPostgres(t testing.TB) store[pgx.Tx] {
	t.Helper()
	return postgresAt(t, shared.server().Database(t))
}

func openPool(t testing.TB, location string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(location)
	must(t, err)
	config.MaxConns = 8
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func postgresAt(t testing.TB, location string) store[pgx.Tx] {
	t.Helper()
	pool := openPool(t, location)
	driver := riverpgxv5.New(pool)
	migrate(t, driver)
	parsed, err := url.Parse(location)
	must(t, err)
	return store[pgx.Tx]{
		driver:   driver,
		poolless: riverpgxv5.New(nil),
		begin:    func(ctx context.Context) (pgx.Tx, error) { return pool.Begin(ctx) },
		commit:   func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		rollback: func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
		exec: func(ctx context.Context, tx pgx.Tx, statement string) error {
			_, err := tx.Exec(ctx, statement)
			return err
		},
		number: func(ctx context.Context, query string) (n int, err error) {
			return n, pool.QueryRow(ctx, query).Scan(&n)
		},
		postgres: true,
		addr:     parsed.Host,
		at: func(t testing.TB, addr string) riverdriver.Driver[pgx.Tx] {
			other := *parsed
			other.Host = addr
			return riverpgxv5.New(openPool(t, other.String()))
		},
	}
}

func TestOnPostgres(t *testing.T) { everywhere(t, openPostgres) }

func TestConformanceOnPostgres(t *testing.T) {
	server := servers.Postgres(t, servers.PostgresOptions{NoSync: true})
	h := harness(t, "river", "PostgreSQL 15", func(t testing.TB) store[pgx.Tx] { return postgresAt(t, server.Database(t)) })
	h.Restart = func(context.Context) error { return server.Restart() }
	conformance.Run(t, h)
}
