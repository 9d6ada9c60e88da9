package river_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"
)

type store[TTx any] struct {
	driver   riverdriver.Driver[TTx]
	poolless riverdriver.Driver[TTx]
	schema   string // of River's tables, "" for the database's own
	begin    func(ctx context.Context) (TTx, error)
	commit   func(ctx context.Context, tx TTx) error
	rollback func(ctx context.Context, tx TTx) error
	exec     func(ctx context.Context, tx TTx, statement string) error // in a transaction
	number   func(ctx context.Context, query string) (int, error)
	postgres bool

	// For servers: where it is, and a driver that reaches it at another address.
	addr string
	at   func(t testing.TB, addr string) riverdriver.Driver[TTx]
	// For the conformance suite: kill cuts every connection for good, as the end of the process does, and reopen is the
	// same database anew, with jobs that a killed worker has left.
	kill   func() error
	reopen func(testing.TB) store[TTx]
	orphan bool
}

// takeAway gives the jobs of a worker to others, as River's rescuer does. The worker must have no free slot: it can still reach
// the database, and only does not know.
func (s store[TTx]) takeAway(ctx context.Context) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	table := "river_job"
	if s.schema != "" {
		table = s.schema + "." + table
	}
	if err := s.exec(ctx, tx, "UPDATE "+table+" SET state = 'available' WHERE state = 'running'"); err != nil {
		return errors.Join(err, s.rollback(ctx, tx))
	}
	return s.commit(ctx, tx)
}

func migrate[TTx any](t testing.TB, driver riverdriver.Driver[TTx], schema string) {
	t.Helper()
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet, Schema: schema})
	must(t, err)
	_, err = m.Migrate(context.Background(), rivermigrate.DirectionUp, nil)
	must(t, err)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openSQLite(t testing.TB) store[*sql.Tx] {
	t.Helper()
	return sqliteFile(t, filepath.Join(t.TempDir(), "river.db"))
}

func sqliteFile(t testing.TB, file string) store[*sql.Tx] {
	t.Helper()
	return sqliteWith(t, "sqlite", file, "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)")
}

func sqliteWith(t testing.TB, driverName, file, settings string) store[*sql.Tx] {
	t.Helper()
	db, err := sql.Open(driverName, "file:"+file+settings)
	must(t, err)
	db.SetMaxOpenConns(1) // River demands it of SQLite
	t.Cleanup(func() { _ = db.Close() })
	driver := riversqlite.New(db)
	migrate(t, driver, "")
	return store[*sql.Tx]{
		driver:   driver,
		poolless: riversqlite.New(nil),
		begin:    func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		commit:   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		rollback: func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
		exec: func(ctx context.Context, tx *sql.Tx, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
		number: func(ctx context.Context, query string) (n int, err error) {
			return n, db.QueryRowContext(ctx, query).Scan(&n)
		},
		kill: db.Close,
		reopen: func(t testing.TB) store[*sql.Tx] {
			again := sqliteWith(t, driverName, file, settings)
			again.orphan = true
			return again
		},
	}
}
