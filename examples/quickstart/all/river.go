package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/demo"
	riverexec "github.com/goairlock/airlock/executors/river"
)

func openRiver(ctx context.Context, run *demo.Run) (*demo.Queue, error) {
	if url := run.Options.Postgres; url != "" {
		return openPostgres(ctx, url, run)
	}
	return openSQLite(ctx, run)
}

// shopDB is what the shop needs of its database.
type shopDB[TTx any] struct {
	driver   riverdriver.Driver[TTx]
	begin    func(ctx context.Context) (TTx, error)
	commit   func(ctx context.Context, tx TTx) error
	rollback func(ctx context.Context, tx TTx) error
	exec     func(ctx context.Context, tx TTx, statement string, args ...any) error
	count    func(ctx context.Context, query string) (int, error)
	close    func() error
}

func openSQLite(ctx context.Context, run *demo.Run) (*demo.Queue, error) {
	dir, err := os.MkdirTemp("", "airlock-quickstart-")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	db.SetMaxOpenConns(1) // River demands it of SQLite
	return openRiverIn(ctx, run, shopDB[*sql.Tx]{
		driver:   riversqlite.New(db),
		begin:    func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		commit:   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		rollback: func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
		exec: func(ctx context.Context, tx *sql.Tx, statement string, args ...any) error {
			_, err := tx.ExecContext(ctx, statement, args...)
			return err
		},
		count: func(ctx context.Context, query string) (n int, err error) {
			return n, db.QueryRowContext(ctx, query).Scan(&n)
		},
		close: func() error { return errors.Join(db.Close(), os.RemoveAll(dir)) },
	})
}

func openPostgres(ctx context.Context, url string, run *demo.Run) (*demo.Queue, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	return openRiverIn(ctx, run, shopDB[pgx.Tx]{
		driver:   riverpgxv5.New(pool),
		begin:    func(ctx context.Context) (pgx.Tx, error) { return pool.Begin(ctx) },
		commit:   func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		rollback: func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
		exec: func(ctx context.Context, tx pgx.Tx, statement string, args ...any) error {
			_, err := tx.Exec(ctx, statement, args...)
			return err
		},
		count: func(ctx context.Context, query string) (n int, err error) {
			return n, pool.QueryRow(ctx, query).Scan(&n)
		},
		close: func() error { pool.Close(); return nil },
	})
}

// openRiverIn starts workers in the shop's database.
func openRiverIn[TTx any](ctx context.Context, run *demo.Run, db shopDB[TTx]) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	undo.add(db.close)
	migrator, err := rivermigrate.New(db.driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	// A table of this run's own: a database given with -postgres may have been here before.
	table := fmt.Sprintf("quickstart_orders_%d", time.Now().UnixNano())
	if err := transaction(ctx, db, func(tx TTx) error {
		return db.exec(ctx, tx, "CREATE TABLE "+table+" (id text PRIMARY KEY)")
	}); err != nil {
		return nil, err
	}

	undo.add(func() error { return cleanDatabase(context.WithoutCancel(ctx), db, table, run.QueueNames) })

	config := &river.Config{Logger: quiet}
	if err := riverexec.ConfigureClient(config); err != nil {
		return nil, err
	}
	client, err := river.NewClient(db.driver, config)
	if err != nil {
		return nil, err
	}
	exec, err := riverexec.New(client, &riverexec.Options{QueueNames: run.QueueNames})
	if err != nil {
		return nil, err
	}
	worker, err := riverexec.NewWorker(db.driver, run.Registry, &riverexec.WorkerOptions{
		Queues: []string{"mail", "warehouse"}, QueueNames: run.QueueNames, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, worker.Run)
	return &demo.Queue{
		Exec: exec.Execute,
		InTx: func(ctx context.Context, order string, fn func(core.Executor) error) error {
			return transaction(ctx, db, func(tx TTx) error {
				if err := db.exec(ctx, tx, "INSERT INTO "+table+" (id) VALUES ($1)", order); err != nil {
					return err
				}
				return fn(riverexec.InTx(exec, tx))
			})
		},
		Orders: func(ctx context.Context) (int, error) { return db.count(ctx, "SELECT count(*) FROM "+table) },
		Stop:   func(context.Context) error { return undo.run() },
	}, nil
}

// cleanDatabase leaves somebody's database as it was, apart from River's tables. Without
// it, River would remember the IDs of the jobs.
func cleanDatabase[TTx any](ctx context.Context, db shopDB[TTx], orders string, queues map[string]string) error {
	return transaction(ctx, db, func(tx TTx) error {
		for _, queue := range queues {
			if err := errors.Join(
				db.exec(ctx, tx, "DELETE FROM river_job WHERE queue = $1", queue),
				db.exec(ctx, tx, "DELETE FROM river_queue WHERE name = $1", queue),
			); err != nil {
				return err
			}
		}
		return db.exec(ctx, tx, "DROP TABLE "+orders)
	})
}

// transaction commits what fn does if it succeeds, and rolls it back if not.
func transaction[TTx any](ctx context.Context, db shopDB[TTx], fn func(tx TTx) error) error {
	tx, err := db.begin(ctx)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, db.rollback(context.WithoutCancel(ctx), tx))
	}
	return db.commit(ctx, tx)
}
