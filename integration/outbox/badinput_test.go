package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// The table in docs/outbox.md, "What happens if", has a line for each of these. Others
// of its lines are in schema_test.go, switch_test.go and crash_test.go.
var (
	_ = add("bad input: a transaction in which a statement has failed", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), "SELECT * FROM nowhere"); err == nil {
			t.Fatal("the statement did not fail")
		}
		in := intents(t, 2)
		err = box.InTx(outbox.SQL(tx))(t.Context(), in...)
		if w.dialect == outbox.Postgres { // which then accepts nothing but a rollback
			for _, o := range core.OutcomesOf(err, in) {
				if o.State != core.NotSent || !strings.Contains(o.Err.Error(), "25P02") {
					t.Errorf("%v: %v", o.State, o.Err)
				}
			}
			return
		}
		must(t, err)
		must(t, tx.Commit())
		w.awaitStats(t, box, outbox.Stats{Waiting: 2})
	})
	_ = add("bad input: two boxes for two queues with one destination", func(t *testing.T, w *world) {
		one, other := newQueue(), newQueue(func(c *core.Capabilities) { c.Executor = "other"; delete(c.Options, core.OptionPriority) })
		box := w.box(t, one)
		moved := w.box(t, other, func(o *outbox.Options) { o.Destination = "test" })
		if _, err := outbox.NewRelay(box, outbox.SQL(w.db), other.exec(), nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a relay for the rows of another executor: %v", err)
		}
		// The documented way to move waiting rows: what the new queue refuses is dead.
		w.store(t, box, intent(t, "a"), intent(t, "b", core.Priority(9)))
		w.relay(t, moved, other)
		other.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{Dead: 1})
		if len(one.ids()) != 0 {
			t.Errorf("sent to the old queue: %v", one.ids())
		}
	})
	_ = add("bad input: the clock of the process is years behind", func(t *testing.T, w *world) {
		// In a bubble it is 2000-01-01, and time passes as fast as the database answers.
		synctest.Test(t, func(t *testing.T) {
			db, err := sql.Open(w.driver, w.source)
			must(t, err)
			defer db.Close()
			own := &world{w.dialect, db, w.driver, w.source}
			q := newQueue(refuseDelay)
			box, err := outbox.New(w.dialect, &outbox.Options{For: q.exec(), DB: outbox.SQL(db), Logger: quiet})
			must(t, err)
			must(t, box.CreateTable(t.Context(), outbox.SQL(db)))
			if time.Now().Year() != 2000 {
				t.Fatal("the clock is right")
			}
			// One that is sent from memory, one for a relay, two that the outbox keeps.
			own.commit(t, box, intent(t, "now")).Committed(t.Context())
			own.store(t, box, intent(t, "relayed"), intent(t, "soon", core.Delay(time.Second)), intent(t, "later", core.Delay(time.Hour)))
			held := own.commit(t, box, intent(t, "leased"))
			must(t, box.Close(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				relay, err := outbox.NewRelay(box, outbox.SQL(db), q.exec(), &outbox.RelayOptions{Logger: quiet})
				if err == nil {
					err = relay.Run(ctx)
				}
				done <- err
			}()
			await := func(n int) {
				for len(q.ids()) < n {
					time.Sleep(time.Second)
				}
			}
			await(3)
			// By the database's clock the kept one was due, and the other one is not.
			early := own.number(t, "SELECT count(*) FROM airlock_outbox WHERE due IS NOT NULL AND token = ''")
			leased := own.number(t, "SELECT count(*) FROM airlock_outbox WHERE token <> ''")
			if early != 1 || leased != 1 || len(q.ids()) != 3 {
				t.Errorf("%d rows wait, %d are leased, sent %v", early, leased, q.ids())
			}
			stats, err := box.Stats(t.Context(), outbox.SQL(db))
			if err != nil || stats.Oldest < 0 || stats.Oldest > 10*time.Minute {
				t.Errorf("stats %+v, %v", stats, err)
			}
			held.Committed(t.Context()) // after half of the lease it would leave it to the relay
			cancel()
			must(t, <-done)
			db.Close()
		})
	})
	_ = add("bad input: large payloads", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		// Encoded it has 24 MB. MariaDB takes packets of 16 MB.
		big, small := intent(t, strings.Repeat("x", 18<<20)), intent(t, "small")
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		err = box.InTx(outbox.SQL(tx))(t.Context(), big)
		if w.dialect == outbox.MySQL {
			if got := core.OutcomesOf(err, []core.Intent{big})[0].State; got != core.NotSent || strings.Contains(err.Error(), "xxxx") {
				t.Errorf("%v", got)
			}
			_ = tx.Rollback()
			w.store(t, box, small)
			w.relay(t, box, q)
			q.await(t, 1)
			return
		}
		must(t, err)
		must(t, box.InTx(outbox.SQL(tx))(t.Context(), small))
		must(t, tx.Commit())
		w.relay(t, box, q)
		if got := q.await(t, 2); got[0] != big.ID {
			t.Errorf("sent %v", got)
		}
	})
	_ = add("bad input: ctx ends in each phase", func(t *testing.T, w *world) {
		w.exec(t, "CREATE TABLE orders (id varchar(20))")
		for _, phase := range []string{"before", "in the function", "in the dispatch"} {
			for _, cause := range []error{context.Canceled, errors.New("the client has gone")} {
				ctx, cancel := context.WithCancelCause(t.Context())
				end := func(now string) {
					if now == phase {
						cancel(cause)
					}
				}
				q := newQueue()
				exec := adapter.Guard(q.caps, func(ctx context.Context, in ...core.Intent) error {
					end("in the dispatch")
					if ctx.Err() != nil {
						t.Error("the dispatch after the COMMIT ends with the context of the request")
					}
					return q.exec()(ctx, in...)
				})
				box := w.box(t, q, func(o *outbox.Options) { o.For = exec })
				before := w.number(t, "SELECT count(*) FROM orders")
				end("before")
				err := airlocksql.RunTx(ctx, w.db, nil, nil, func(ctx context.Context, tx *sql.Tx) error {
					if err := pay(ctx, tx); err != nil {
						return err
					}
					end("in the function")
					return nil
				}, airlocksql.Outbox(box))
				must(t, box.Close(t.Context()))
				want := int64(0)
				if phase == "in the dispatch" {
					must(t, err)
					want = 1
				} else if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
					t.Errorf("%s: %v", phase, err)
				}
				orders := w.number(t, "SELECT count(*) FROM orders") - before
				if orders != want || int64(len(q.ids())) != want || w.stats(t, box) != (outbox.Stats{}) {
					t.Errorf("%s: %d orders, %d jobs, stats %+v", phase, orders, len(q.ids()), w.stats(t, box))
				}
				cancel(nil)
			}
		}
	})
	_ = add("bad input: deadlocks and serialization failures", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.exec(t, "CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)")
		w.exec(t, "INSERT INTO accounts VALUES (1, 0), (2, 0)")
		// Each transaction changes two rows in its own order, and enqueues a job.
		const pairs = 20
		errs := make(chan error, 2*pairs)
		for n := range pairs {
			for _, order := range [][2]int{{1, 2}, {2, 1}} {
				go func() {
					opts := &sql.TxOptions{}
					if n%2 == 0 && w.dialect != outbox.SQLite {
						opts.Isolation = sql.LevelSerializable
					}
					errs <- airlocksql.RunTx(t.Context(), w.db, opts, nil, func(ctx context.Context, tx *sql.Tx) error {
						for _, id := range order {
							if _, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE accounts SET balance = balance + 1 WHERE id = %d", id)); err != nil {
								return err
							}
						}
						return airlock.Enqueue(ctx, task, "paid")
					}, airlocksql.Outbox(box))
				}()
			}
		}
		committed, failed := 0, 0
		for range 2 * pairs {
			err := <-errs
			var unknown *airlocksql.CommitError
			switch {
			case err == nil:
				committed++
			case errors.As(err, &unknown):
				t.Errorf("error %v", err)
			default:
				failed++
			}
		}
		w.relay(t, box, q)
		q.await(t, committed)
		w.awaitStats(t, box, outbox.Stats{})
		if got := w.number(t, "SELECT balance FROM accounts WHERE id = 1"); got != int64(committed) || len(q.ids()) != committed {
			t.Errorf("%d committed, balance %d, %d jobs", committed, got, len(q.ids()))
		}
		t.Logf("%d committed, %d failed", committed, failed)
	})
)
