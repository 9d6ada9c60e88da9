package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

func execIn(t testing.TB, tx *sql.Tx, statement string) {
	t.Helper()
	_, err := tx.ExecContext(t.Context(), statement)
	must(t, err)
}

var (
	_ = add("savepoint: what was rolled back is not sent from memory", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		keeps, goes, same := intent(t, "keeps"), intent(t, "goes"), intent(t, "same", core.ID("same"))
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		held := box.Hold(outbox.SQL(tx))
		must(t, held.Execute(t.Context(), keeps))
		execIn(t, tx, "SAVEPOINT gift")
		must(t, held.Execute(t.Context(), goes, same))
		execIn(t, tx, "ROLLBACK TO SAVEPOINT gift")
		must(t, held.Execute(t.Context(), same)) // its first row is gone
		must(t, tx.Commit())
		held.Committed(t.Context())
		must(t, box.Close(t.Context()))
		if w.dialect != outbox.MySQL {
			w.awaitStats(t, box, outbox.Stats{}) // no row waits for its lease
		} else { // the row of the same ID does
			w.exec(t, "UPDATE airlock_outbox SET due = 0")
		}
		w.relay(t, box, q)
		got := q.await(t, 2)
		w.awaitStats(t, box, outbox.Stats{})
		if len(got) != 2 || got[0] != keeps.ID || got[1] != "same" {
			t.Errorf("sent %v", got)
		}
	})
	_ = add("savepoint: all of it was rolled back", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		held := box.Hold(outbox.SQL(tx))
		execIn(t, tx, "SAVEPOINT gift")
		must(t, held.Execute(t.Context(), intents(t, 3)...))
		execIn(t, tx, "ROLLBACK TO SAVEPOINT gift")
		must(t, tx.Commit())
		held.Committed(t.Context())
		if n := q.numberOfCalls(); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
	_ = add("savepoint: if nobody can look, a relay sends", func(t *testing.T, w *world) {
		q := newQueue()
		broken := &breakable{DB: outbox.SQL(w.db)}
		box := w.box(t, q, func(o *outbox.Options) { o.DB = broken })
		held := w.commit(t, box, intents(t, 1)...)
		broken.set(true)
		held.Committed(t.Context())
		broken.set(false)
		if n := q.numberOfCalls(); n != 0 {
			t.Errorf("%d calls without a look", n)
		}
		must(t, box.Close(t.Context()))
		w.relay(t, box, q)
		q.await(t, 1)
	})
	// What package airlocksql recommends.
	_ = add("savepoint: a scope around it discards its intents", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		refused := errors.New("no gift")
		for _, opts := range [][]airlock.Option{nil, {airlocksql.Outbox(box)}} {
			for _, want := range []error{nil, refused} {
				must(t, airlocksql.RunTx(t.Context(), w.db, nil, q.exec(), func(ctx context.Context, tx *sql.Tx) error {
					err := airlock.Run(ctx, nil, func(ctx context.Context) error {
						if _, err := tx.ExecContext(ctx, "SAVEPOINT gift"); err != nil {
							return err
						}
						if err := errors.Join(pay(ctx, tx), want); err != nil {
							_, back := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT gift")
							return errors.Join(err, back)
						}
						return nil
					})
					if !errors.Is(err, want) {
						return err
					}
					return airlock.Enqueue(ctx, task, "order")
				}, opts...))
			}
		}
		must(t, box.Close(t.Context()))
		if n := w.number(t, "SELECT count(*) FROM orders"); n != 2 || len(q.ids()) != 6 {
			t.Errorf("%d orders and %d jobs, want 2 and 6", n, len(q.ids()))
		}
	})
)
