//go:build realservers

package river_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
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
	tb       serverTB
	server   func() *servers.PostgresServer
	migrated func() string // a database that is only copied
}

func TestMain(m *testing.M) {
	shared.server = sync.OnceValue(func() *servers.PostgresServer {
		return servers.Postgres(&shared.tb, servers.PostgresOptions{})
	})
	shared.migrated = sync.OnceValue(migratedDatabase)
	code := m.Run()
	for i := len(shared.tb.cleanups) - 1; i >= 0; i-- {
		shared.tb.cleanups[i]()
	}
	os.Exit(code)
}

// openPostgres copies a database that has River's tables: to make them takes River longer than most tests.
func openPostgres(t testing.TB) store[pgx.Tx] {
	t.Helper()
	return connectPostgres(t, shared.server().Copy(t, shared.migrated()))
}

func migratedDatabase() string {
	ctx := context.Background()
	location := shared.server().Database(&shared.tb)
	pool, err := pgxpool.New(ctx, location)
	must(&shared.tb, err)
	defer pool.Close()
	migrate(&shared.tb, riverpgxv5.New(pool), "")
	return location
}

// postgresAt makes River's tables in an empty database.
func postgresAt(t testing.TB, location string) store[pgx.Tx] {
	t.Helper()
	s := connectPostgres(t, location)
	migrate(t, s.driver, "")
	return s
}

func openPool(t testing.TB, location string, more ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(location)
	must(t, err)
	config.MaxConns = 8
	for _, set := range more {
		set(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func connectPostgres(t testing.TB, location string, more ...func(*pgxpool.Config)) store[pgx.Tx] {
	t.Helper()
	pool := openPool(t, location, more...)
	parsed, err := url.Parse(location)
	must(t, err)
	return store[pgx.Tx]{
		driver:   riverpgxv5.New(pool),
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
	h := harness(t, "river", "PostgreSQL 15", schemas(t, server))
	h.Restart = func(context.Context) error { return server.Restart() }
	conformance.Run(t, h)
}

// schemas opens schemas of one database. A database of its own for each of some hundred checks costs the server more than
// the checks.
func schemas(t *testing.T, server *servers.PostgresServer) func(testing.TB) store[pgx.Tx] {
	t.Helper()
	location := server.Database(t)
	return func(tb testing.TB) store[pgx.Tx] {
		schema := "river_" + strings.ToLower(rand.Text())
		s := inSchema(tb, location, schema)
		tx, err := s.begin(tb.Context())
		must(tb, err)
		must(tb, s.exec(tb.Context(), tx, "CREATE SCHEMA "+schema))
		must(tb, s.commit(tb.Context(), tx))
		migrate(tb, s.driver, schema)
		return s
	}
}

// inSchema connects so that the connections can be cut.
func inSchema(tb testing.TB, location, schema string) store[pgx.Tx] {
	tb.Helper()
	var w wires
	s := connectPostgres(tb, location, func(c *pgxpool.Config) { c.MaxConns, c.ConnConfig.DialFunc = 4, w.dial })
	s.schema, s.kill = schema, w.cut
	s.reopen = func(tb testing.TB) store[pgx.Tx] {
		again := inSchema(tb, location, schema)
		again.orphan = true
		return again
	}
	return s
}

// wires are connections that can be cut for good.
type wires struct {
	mu    sync.Mutex
	conns []net.Conn // guarded by mu
	down  bool       // guarded by mu
}

func (w *wires) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, net.ErrClosed
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, conn)
	}
	return conn, err
}

func (w *wires) cut() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for _, c := range w.conns {
		_ = c.Close()
	}
	return nil
}
