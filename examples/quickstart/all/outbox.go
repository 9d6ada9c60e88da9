package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/demo"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	"github.com/goairlock/airlock/outbox"
)

// database is where the shop keeps its orders, together with their jobs. A process that
// is killed in the middle gets it from the process that started it.
type database struct {
	Dialect outbox.Dialect
	Driver  string // its name for sql.Open
	Source  string
	Orders  string // the table of orders, of this run alone
	Outbox  string // the table of jobs, of this run alone
}

// leaseOf returns how long the jobs of a process that was killed wait for a relay. A process
// that lives sends them itself, and if it takes longer, the relay sends them too. Where
// nothing recognises IDs they would run twice, so there it is long enough for a busy machine.
func leaseOf(exec core.Executor) time.Duration {
	if caps, ok := exec.Capabilities(); ok && caps.Options[core.OptionID].Support == core.SupportRefused {
		return 10 * time.Second
	}
	return time.Second
}

func (d database) open(exec core.Executor) (*sql.DB, *outbox.Box, error) {
	db, err := sql.Open(d.Driver, d.Source)
	if err != nil {
		return nil, nil, err
	}
	box, err := outbox.New(d.Dialect, &outbox.Options{
		For: exec, Table: d.Outbox, Destination: "quickstart", DB: outbox.SQL(db), Lease: leaseOf(exec), Logger: quiet,
	})
	return db, box, err
}

// withOutbox returns open with an outbox in front of the queue, in a SQLite file or in
// the database at -postgres.
func withOutbox(open demo.Open) demo.Open {
	return func(ctx context.Context, run *demo.Run) (*demo.Queue, error) {
		q, err := open(ctx, run)
		if err != nil {
			return nil, err
		}
		boxed, err := putOutbox(ctx, run, q)
		if err != nil {
			return nil, errors.Join(err, q.Stop(context.WithoutCancel(ctx)))
		}
		return boxed, nil
	}
}

func putOutbox(ctx context.Context, run *demo.Run, q *demo.Queue) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	where, err := newDatabase(run.Options.Postgres, &undo)
	if err != nil {
		return nil, err
	}
	db, box, err := where.open(q.Exec)
	if err != nil {
		return nil, err
	}
	undo.add(db.Close)
	for _, table := range []string{where.Orders, where.Outbox, where.Outbox + "_meta"} {
		undo.add(func() error {
			_, err := db.ExecContext(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+table)
			return err
		})
	}
	if err := box.CreateTable(ctx, outbox.SQL(db)); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE "+where.Orders+" (id text PRIMARY KEY)"); err != nil {
		return nil, err
	}
	undo.add(func() error { return box.Close(context.WithoutCancel(ctx)) })
	relay, err := outbox.NewRelay(box, outbox.SQL(db), run.Ledger.Dispatches(q.Exec), &outbox.RelayOptions{Poll: 100 * time.Millisecond, Logger: quiet})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, relay.Run)
	return &demo.Queue{
		Exec:  q.Exec,
		Drops: q.Drops,
		InTx: func(ctx context.Context, order string, fn func(core.Executor) error) error {
			return storeOrder(ctx, db, box, where, order, fn)
		},
		Orders: func(ctx context.Context) (n int, err error) {
			return n, db.QueryRowContext(ctx, "SELECT count(*) FROM "+where.Orders).Scan(&n)
		},
		CheckOutKilled: func(ctx context.Context, order shop.Order) (enqueued int, err error) {
			caps, _ := q.Exec.Capabilities()
			return checkOutAndBeKilled(ctx, assignment{where, caps, q.Drops, order})
		},
		Sent: func(ctx context.Context) error { return allSent(ctx, db, box) },
		Stop: func(ctx context.Context) error { return errors.Join(undo.run(), q.Stop(ctx)) },
	}, nil
}

// newDatabase returns tables for this run in the PostgreSQL database at url, or without
// one in a new SQLite file.
func newDatabase(url string, undo *cleanup) (database, error) {
	if url != "" {
		id := strings.ToLower(rand.Text())
		return database{outbox.Postgres, "pgx", url, "quickstart_orders_" + id, "quickstart_outbox_" + id}, nil
	}
	dir, err := os.MkdirTemp("", "airlock-quickstart-")
	if err != nil {
		return database{}, err
	}
	undo.add(func() error { return os.RemoveAll(dir) })
	source := "file:" + filepath.Join(dir, "shop.db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate"
	return database{outbox.SQLite, "sqlite", source, "orders", "outbox"}, nil
}

// storeOrder stores an order, and what fn's executor takes, in one transaction. Then it
// sends the jobs. airlocksql.RunTx does the same for a program that has no ledger.
func storeOrder(ctx context.Context, db *sql.DB, box *outbox.Box, where database, order string, fn func(core.Executor) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO "+where.Orders+" (id) VALUES ($1)", order); err != nil {
		return err
	}
	held := box.Hold(outbox.SQL(tx))
	if err := fn(held.Execute); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	held.Committed(ctx)
	return nil
}

// allSent returns when the outbox is empty.
func allSent(ctx context.Context, db *sql.DB, box *outbox.Box) error {
	for {
		stats, err := box.Stats(ctx, outbox.SQL(db))
		switch {
		case err != nil:
			return err
		case stats.Dead > 0:
			return fmt.Errorf("%d jobs in the outbox were refused", stats.Dead)
		case stats.Waiting+stats.Delayed+stats.InFlight == 0:
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("jobs are left in the outbox: %w", ctx.Err())
		}
	}
}
