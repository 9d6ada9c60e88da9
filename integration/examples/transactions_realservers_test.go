//go:build realservers

package examples

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

var WrapGift = core.DeclareTask[string]("gift.wrap")

func afterCommit(ctx context.Context, db *sql.DB, queue core.Executor, order string) error {
	err := airlocksql.RunTx(ctx, db, nil, queue, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", order); err != nil {
			return err
		}
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
	return err
}

func openOutbox(ctx context.Context, db *sql.DB, queue core.Executor) (*outbox.Box, error) {
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue, DB: outbox.SQL(db)})
	if err != nil {
		return nil, err
	}
	err = box.CreateTable(ctx, outbox.SQL(db)) // or put the text of outbox.Schema into your migrations
	return box, err
}

func withOutbox(ctx context.Context, db *sql.DB, box *outbox.Box, order string) error {
	err := airlocksql.RunTx(ctx, db, nil, nil, func(ctx context.Context, tx *sql.Tx) error { // the box knows the executor
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", order); err != nil {
			return err
		}
		return airlock.Enqueue(ctx, SendReceipt, order)
	}, airlocksql.Outbox(box))
	return err
}

// relay sends what nobody else has sent. It runs in every process, or in one of its own.
func relay(ctx context.Context, db *sql.DB, box *outbox.Box, queue core.Executor) error {
	relay, err := outbox.NewRelay(box, outbox.SQL(db), queue, nil)
	if err != nil {
		return err
	}
	err = relay.Run(ctx) // until ctx ends
	return err
}

func inTxOfSQL(ctx context.Context, box *outbox.Box, tx *sql.Tx, order string) error {
	exec := box.InTx(outbox.SQL(tx)) // *sql.Tx, *sqlx.Tx, an ent transaction with the feature sql/execquery; for gorm: tx.Statement.ConnPool
	err := airlock.Run(ctx, exec, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
	return err
}

func inTxOfPgx(ctx context.Context, box *outbox.Box, tx pgx.Tx, order string) error {
	exec := box.InTx(airlockpgx.Tx(tx))
	return airlock.Run(ctx, exec, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
}

func giftIfPossible(ctx context.Context, tx pgx.Tx, order string) error {
	err := airlock.Run(ctx, nil, func(ctx context.Context) error { // joins the scope of RunTx if it succeeds
		return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint
			if err := airlock.Enqueue(ctx, WrapGift, order); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO gifts (id) VALUES ($1)", order)
			return err
		})
	})
	return err
}

func openSpool(ctx context.Context, path string, queue core.Executor) (core.Executor, *outbox.Relay, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, nil, err
	}
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: queue})
	if err != nil {
		return nil, nil, err
	}
	if err := box.CreateTable(ctx, outbox.SQL(db)); err != nil {
		return nil, nil, err
	}
	spool := box.InTx(outbox.SQL(db)) // a whole database: each call is a transaction of its own
	relay, err := outbox.NewRelay(box, outbox.SQL(db), queue, nil)
	return compose.WithFallback(queue, spool), relay, err
}

// putBack sends what is left over again, if it is worth it.
func putBack(ctx context.Context, box *outbox.Box, db *sql.DB, worthIt func(outbox.Row) bool) error {
	rows, err := box.List(ctx, outbox.SQL(db), 0, 100) // what and why
	for _, row := range rows {
		if worthIt(row) {
			_, err = box.Retry(ctx, outbox.SQL(db), row.Seq) // send it again
		} else {
			_, err = box.Discard(ctx, outbox.SQL(db), row.Seq) // delete it
		}
	}
	return err
}

// The code of the pages "Transactions" and "The outbox" does what they say.
func TestTransactions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	address := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
	db, err := sql.Open("pgx", address)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	pool, err := pgxpool.New(ctx, address)
	must(t, err)
	t.Cleanup(pool.Close)
	_, err = db.ExecContext(ctx, "CREATE TABLE orders (id text PRIMARY KEY); CREATE TABLE gifts (id text PRIMARY KEY); INSERT INTO gifts VALUES ('A-5')")
	must(t, err)

	var rec airlocktest.Recorder
	box, err := openOutbox(ctx, db, rec.Execute)
	must(t, err)
	must(t, afterCommit(ctx, db, rec.Execute, "A-1"))
	must(t, withOutbox(ctx, db, box, "A-2"))
	wantSent(t, &rec, 2)
	if err := afterCommit(ctx, db, rec.Execute, "A-1"); err == nil {
		t.Error("an order is stored twice")
	}
	if err := withOutbox(ctx, db, box, "A-2"); err == nil {
		t.Error("an order is stored twice")
	}

	tx, err := db.BeginTx(ctx, nil)
	must(t, err)
	must(t, inTxOfSQL(ctx, box, tx, "A-3"))
	must(t, tx.Commit())
	must(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return inTxOfPgx(ctx, box, tx, "A-4") }))
	for _, order := range []string{"A-5", "A-6"} { // there is a gift for A-5
		must(t, airlockpgx.RunTx(ctx, pool, pgx.TxOptions{}, rec.Execute, func(ctx context.Context, tx pgx.Tx) error {
			if err := giftIfPossible(ctx, tx, order); (err == nil) != (order == "A-6") {
				t.Errorf("the gift of %s: %v", order, err)
			}
			return airlock.Enqueue(ctx, SendReceipt, order)
		}))
	}
	wantSent(t, &rec, 5)
	relaying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- relay(relaying, db, box, rec.Execute) }()
	wantSent(t, &rec, 7)
	stop()
	must(t, <-ended)
	must(t, box.Close(ctx)) // waits until rows that were sent are deleted

	// Nobody takes these two. One is given up.
	refuse := adapter.Guard(queueCaps, func(_ context.Context, intents ...core.Intent) error {
		return core.Combine(core.Outcomes(intents, core.Rejected, errors.New("no such mailbox")))
	})
	lost, err := outbox.New(outbox.Postgres, &outbox.Options{For: refuse, Destination: "refuses", Table: "lost"})
	must(t, err)
	must(t, lost.CreateTable(ctx, outbox.SQL(db)))
	for _, order := range []string{"A-7", "A-8"} {
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		must(t, inTxOfSQL(ctx, lost, tx, order))
		must(t, tx.Commit())
	}
	relaying, stop = context.WithCancel(ctx)
	go func() { ended <- relay(relaying, db, lost, refuse) }()
	wantStats(t, lost, db, func(s outbox.Stats) bool { return s.Dead == 2 })
	stop()
	must(t, <-ended)
	kept := 0
	must(t, putBack(ctx, lost, db, func(outbox.Row) bool { kept++; return kept == 1 }))
	wantStats(t, lost, db, func(s outbox.Stats) bool { return s.Dead == 0 && s.Waiting == 1 })
}

func TestASpoolKeepsWhatTheQueueDidNotTake(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	exec, relay, err := openSpool(t.Context(), filepath.Join(t.TempDir(), "spool.db"), rec.Execute)
	must(t, err)
	rec.Fail(core.ErrUnavailable)
	must(t, airlock.Run(t.Context(), exec, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, "A-1")
	}))
	rec.Fail(nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	wantSent(t, &rec, 1)
	stop()
	must(t, <-ended)
}

func wantSent(t *testing.T, rec *airlocktest.Recorder, n int) {
	t.Helper()
	await(t, func() (string, bool) {
		got := len(rec.Intents())
		return fmt.Sprintf("%d jobs were sent, want %d", got, n), got == n
	})
}

func wantStats(t *testing.T, box *outbox.Box, db *sql.DB, ok func(outbox.Stats) bool) {
	t.Helper()
	await(t, func() (string, bool) {
		s, err := box.Stats(t.Context(), outbox.SQL(db))
		must(t, err)
		return fmt.Sprintf("the outbox has %+v", s), ok(s)
	})
}

// await waits until look is content with what it sees.
func await(t *testing.T, look func() (seen string, ok bool)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		seen, ok := look()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal(seen)
		}
	}
}
