package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
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
	riverexec "github.com/goairlock/airlock/executors/river"
)

var riverExecutor = executor{
	name:  "river",
	about: "by River, in a SQLite file or at -postgres; each order in a transaction with its jobs",
	flags: func(fs *flag.FlagSet) {
		fs.String("postgres", "", "`URL` of a PostgreSQL database for -executor river (default: a SQLite file)")
	},
	open: func(ctx context.Context, reg *core.Registry) (*queue, error) {
		if url := flagOf(ctx, "postgres"); url != "" {
			return openPostgres(ctx, url, reg)
		}
		return openSQLite(ctx, reg)
	},
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

func openSQLite(ctx context.Context, reg *core.Registry) (*queue, error) {
	dir, err := os.MkdirTemp("", "airlock-quickstart-")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	db.SetMaxOpenConns(1) // River demands it of SQLite
	return openRiver(ctx, reg, shopDB[*sql.Tx]{
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

func openPostgres(ctx context.Context, url string, reg *core.Registry) (*queue, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	return openRiver(ctx, reg, shopDB[pgx.Tx]{
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

// openRiver starts workers for the registry in the shop's database.
func openRiver[TTx any](ctx context.Context, reg *core.Registry, db shopDB[TTx]) (_ *queue, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
		}
	}()
	quiet := slog.New(slog.DiscardHandler)
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

	workers := river.NewWorkers()
	if err := riverexec.AddWorkers(workers, reg); err != nil {
		return nil, err
	}
	ten := river.QueueConfig{MaxWorkers: 10}
	config := &river.Config{
		Logger: quiet, Workers: workers,
		Queues: map[string]river.QueueConfig{"mail": ten, "warehouse": ten},
	}
	if err := riverexec.Configure(config); err != nil {
		return nil, err
	}
	client, err := river.NewClient(db.driver, config)
	if err != nil {
		return nil, err
	}
	exec, err := riverexec.New(client, nil)
	if err != nil {
		return nil, err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return &queue{
		exec: exec.Execute,
		late: 2 * time.Second, // polls once a second
		inTx: func(ctx context.Context, order string, fn func(core.Executor) error) error {
			return transaction(ctx, db, func(tx TTx) error {
				if err := db.exec(ctx, tx, "INSERT INTO "+table+" (id) VALUES ($1)", order); err != nil {
					return err
				}
				return fn(riverexec.InTx(exec, tx))
			})
		},
		orders: func(ctx context.Context) (int, error) { return db.count(ctx, "SELECT count(*) FROM "+table) },
		stop: func(ctx context.Context) error {
			dropped := transaction(ctx, db, func(tx TTx) error { return db.exec(ctx, tx, "DROP TABLE "+table) })
			return errors.Join(client.Stop(ctx), dropped, db.close())
		},
	}, nil
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
