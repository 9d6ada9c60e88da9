package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// commit stores intents with a Held, and commits.
func (w *world) commit(t testing.TB, box *outbox.Box, intents ...core.Intent) *outbox.Held {
	t.Helper()
	tx, err := w.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer tx.Rollback()
	held := box.Hold(outbox.SQL(tx))
	must(t, held.Execute(t.Context(), intents...))
	must(t, tx.Commit())
	return held
}

var (
	_ = add("after COMMIT intents are sent from memory and the rows are deleted", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		in := intents(t, 3, core.Queue("mail"))
		held := w.commit(t, box, in...)
		if got := w.stats(t, box); got != (outbox.Stats{InFlight: 3}) {
			t.Errorf("before the dispatch: stats %+v", got)
		}
		held.Committed(t.Context())
		if got := q.ids(); len(got) != 3 || q.numberOfCalls() != 1 {
			t.Errorf("got %v in %d calls", got, q.numberOfCalls())
		}
		must(t, box.Close(t.Context()))
		if got := w.stats(t, box); got != (outbox.Stats{}) {
			t.Errorf("after Close: stats %+v", got)
		}
		held.Committed(t.Context()) // does nothing
		if q.numberOfCalls() != 1 {
			t.Error("sent twice")
		}
		if err := held.Execute(t.Context(), in[0]); !errors.Is(err, core.ErrClosed) {
			t.Errorf("Execute after Committed: %v", err)
		}
	})
	_ = add("no relay takes rows that are sent from memory", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		held := w.commit(t, box, intents(t, 1)...)
		claimed := make(chan int, 100)
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Observer = func(r outbox.Report) { claimed <- r.Claimed } })
		w.store(t, box, intents(t, 1)...)
		if n := <-claimed; n != 1 {
			t.Errorf("claimed %d", n)
		}
		held.Committed(t.Context())
		q.await(t, 2)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("what is not sent after COMMIT is left to a relay", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		all := intents(t, 4)
		q.setFail(func(call int, in []core.Intent) error {
			if call > 1 {
				return nil
			}
			return core.Combine([]core.Outcome{
				in[0].Outcome(core.Accepted, nil), in[1].Outcome(core.Rejected, errors.New("refused")),
				in[2].Outcome(core.NotSent, errDown), in[3].Outcome(core.Unknown, errors.New("no answer")),
			})
		})
		w.commit(t, box, all...).Committed(t.Context())
		must(t, box.Close(t.Context()))
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 2, Dead: 1}) {
			t.Errorf("stats %+v", got)
		}
		w.relay(t, box, q)
		q.await(t, 3)
		w.awaitStats(t, box, outbox.Stats{Dead: 1})
	})
	_ = add("if the writer dies a relay sends when the lease ends", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, func(o *outbox.Options) { o.Lease = time.Second })
		in := intents(t, 2)
		w.commit(t, box, in...) // and Committed is never called
		w.relay(t, box, q)
		q.await(t, 2)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("a transaction that takes longer than the lease is sent by a relay", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, func(o *outbox.Options) { o.Lease = time.Second })
		held := w.commit(t, box, intents(t, 1)...)
		time.Sleep(600 * time.Millisecond) // more than half of it
		held.Committed(t.Context())
		if q.numberOfCalls() != 0 {
			t.Error("sent from memory")
		}
		w.relay(t, box, q)
		q.await(t, 1)
	})
	_ = add("a dispatch from memory ends before the lease", func(t *testing.T, w *world) {
		hangs := core.Executor(func(ctx context.Context, in ...core.Intent) error {
			if len(in) == 0 {
				return nil
			}
			<-ctx.Done()
			return core.Combine(core.Outcomes(in, core.Unknown, core.ContextError(ctx)))
		})
		box := w.box(t, newQueue(), func(o *outbox.Options) { o.For, o.Lease = hangs, 4*time.Second })
		w.commit(t, box, intents(t, 1)...).Committed(t.Context()) // it returns
		must(t, box.Close(t.Context()))
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
			t.Errorf("stats %+v", got)
		}
	})
	_ = add("without a database for the background nothing is sent from memory", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, func(o *outbox.Options) { o.DB = nil })
		held := w.commit(t, box, intents(t, 1)...)
		held.Committed(t.Context())
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) || q.numberOfCalls() != 0 {
			t.Errorf("stats %+v, %d calls", got, q.numberOfCalls())
		}
	})
	_ = add("a kept delay is not sent from memory", func(t *testing.T, w *world) {
		q := newQueue(refuseDelay)
		box := w.box(t, q)
		w.commit(t, box, intent(t, "later", core.Delay(time.Hour)), intent(t, "now")).Committed(t.Context())
		must(t, box.Close(t.Context()))
		if got := w.stats(t, box); got != (outbox.Stats{Delayed: 1}) || len(q.ids()) != 1 {
			t.Errorf("stats %+v, got %v", got, q.ids())
		}
	})
	_ = add("the same ID in two queues is two rows", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		a, b := intent(t, "a", core.ID("same"), core.Queue("a")), intent(t, "b", core.ID("same"), core.Queue("b"))
		q.setFail(func(call int, in []core.Intent) error {
			if call > 1 {
				return nil
			}
			return core.Combine([]core.Outcome{in[0].Outcome(core.Accepted, nil), in[1].Outcome(core.NotSent, errDown)})
		})
		w.commit(t, box, a, b).Committed(t.Context())
		must(t, box.Close(t.Context()))
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
			t.Errorf("stats %+v", got)
		}
	})
)
