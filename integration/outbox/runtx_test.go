package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

func pay(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ('A-1')"); err != nil {
		return err
	}
	return airlock.Enqueue(ctx, task, "A-1")
}

var (
	_ = add("RunTx: orders and jobs come and go together", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		must(t, airlocksql.RunTx(t.Context(), w.db, nil, q.exec(), pay, airlocksql.Outbox(box)))
		must(t, box.Close(t.Context()))
		if len(q.ids()) != 1 || w.stats(t, box) != (outbox.Stats{}) || w.number(t, "SELECT count(*) FROM orders") != 1 {
			t.Errorf("got %v, stats %+v", q.ids(), w.stats(t, box))
		}
		declined := errors.New("declined")
		err := airlocksql.RunTx(t.Context(), w.db, nil, nil, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(pay(ctx, tx), declined)
		}, airlocksql.Outbox(box))
		if !errors.Is(err, declined) || len(q.ids()) != 1 || w.number(t, "SELECT count(*) FROM orders") != 1 {
			t.Errorf("error %v, got %v", err, q.ids())
		}
	})
	_ = add("RunTx: a queue that is away is a relay's work", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		q.setFail(func(_ int, in []core.Intent) error { return core.Combine(core.Outcomes(in, core.NotSent, errDown)) })
		must(t, airlocksql.RunTx(t.Context(), w.db, nil, q.exec(), pay, airlocksql.Outbox(box)))
		q.setFail(nil)
		w.relay(t, box, q)
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("RunTx: FlushLimit bounds the dispatch after the COMMIT", func(t *testing.T, w *world) {
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		var left time.Duration
		exec := adapter.Guard(newQueue().caps, func(ctx context.Context, _ ...core.Intent) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return nil
		})
		box := w.box(t, newQueue(), func(o *outbox.Options) { o.For, o.Lease = exec, time.Hour })
		for limit, opts := range map[time.Duration][]airlock.Option{
			airlocksql.DefaultFlushLimit: {airlocksql.Outbox(box)},
			time.Minute:                  {airlocksql.Outbox(box), airlock.FlushLimit(time.Minute)},
			45 * time.Minute:             {airlock.FlushLimit(50 * time.Minute), airlocksql.Outbox(box)}, // three quarters of the lease
		} {
			must(t, airlocksql.RunTx(t.Context(), w.db, nil, nil, pay, opts...))
			if left > limit || left < limit*9/10 {
				t.Errorf("%v left, want about %v", left, limit)
			}
		}
		if err := airlocksql.RunTx(t.Context(), w.db, nil, nil, pay, airlocksql.Outbox(box), airlock.FlushLimit(0)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("FlushLimit(0): %v", err)
		}
	})
	_ = add("RunTx: inside another scope the rows leave with the COMMIT", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		failed := errors.New("the request failed")
		err := airlock.Run(t.Context(), q.exec(), func(ctx context.Context) error {
			return errors.Join(airlocksql.RunTx(ctx, w.db, nil, q.exec(), pay, airlocksql.Outbox(box)), airlock.Enqueue(ctx, task, "of the request"), failed)
		})
		if !errors.Is(err, failed) || len(q.ids()) != 1 {
			t.Errorf("error %v, sent %v", err, q.ids())
		}
	})
	_ = add("a spool knows what the database has refused", func(t *testing.T, w *world) {
		box, err := outbox.New(w.dialect, &outbox.Options{For: newQueue().exec()}) // without a table
		must(t, err)
		in := intent(t, "a")
		err = box.InTx(outbox.SQL(w.db))(t.Context(), in)
		if got := core.OutcomesOf(err, []core.Intent{in})[0].State; got != core.NotSent {
			t.Errorf("%v: %v", got, err)
		}
	})
	_ = add("RunTx: an outbox for another executor", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		other := newQueue(func(c *core.Capabilities) { c.Executor = "other" })
		if err := airlocksql.RunTx(t.Context(), w.db, nil, other.exec(), pay, airlocksql.Outbox(box)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("error %v", err)
		}
		if err := airlocksql.RunTx(t.Context(), w.db, nil, q.exec(), pay, airlocksql.Outbox(nil)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("nil box: %v", err)
		}
	})
	_ = add("RunTx: without a table nothing is committed", func(t *testing.T, w *world) {
		q := newQueue()
		box, err := outbox.New(w.dialect, &outbox.Options{For: q.exec(), DB: outbox.SQL(w.db)})
		must(t, err)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		err = airlocksql.RunTx(t.Context(), w.db, nil, nil, pay, airlocksql.Outbox(box))
		if !errors.Is(err, core.ErrNotSent) || w.number(t, "SELECT count(*) FROM orders") != 0 || len(q.ids()) != 0 {
			t.Errorf("error %v", err)
		}
	})
)
