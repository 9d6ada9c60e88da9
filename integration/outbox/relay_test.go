package outbox_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

var (
	_ = add("committed intents are sent in order", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		all := intents(t, 2500)
		w.store(t, box, all...)
		w.relay(t, box, q)
		got := q.await(t, len(all))
		for i, in := range all {
			if got[i] != in.ID {
				t.Fatalf("intent %d is %s, want %s", i, got[i], in.ID)
			}
		}
		w.awaitStats(t, box, outbox.Stats{})
		if n := q.numberOfCalls(); n != 3 {
			t.Errorf("%d calls of the executor, want one for each 1000", n)
		}
	})
	_ = add("an intent arrives as it was stored", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		in := intent(t, "naïve \"text\"", core.Queue("mail"), core.Priority(9), core.MaxAttempts(3), core.Timeout(time.Minute),
			core.Header("Trace", "a b"), core.ID("order-1"), core.Unique("u"), core.Backoff(core.Fixed(time.Second)), core.Delay(time.Hour))
		w.store(t, box, in)
		w.relay(t, box, q)
		q.await(t, 1)
		want, err := in.MarshalJSON()
		must(t, err)
		if got, err := q.got[0].MarshalJSON(); err != nil || string(got) != string(want) {
			t.Errorf("got %s, want %s, %v", got, want, err)
		}
	})
	_ = add("a rollback leaves nothing", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		tx, err := w.db.BeginTx(t.Context(), nil)
		must(t, err)
		must(t, box.InTx(outbox.SQL(tx))(t.Context(), intents(t, 3)...))
		must(t, tx.Rollback())
		if got := w.stats(t, box); got != (outbox.Stats{}) {
			t.Errorf("stats %+v", got)
		}
	})
	_ = add("duplicates are deleted and refusals are dead", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		all := intents(t, 4)
		q.setFail(func(_ int, in []core.Intent) error {
			out := core.Outcomes(in, core.Accepted, nil)
			for i := range in {
				switch in[i].ID {
				case all[1].ID:
					out[i] = in[i].Outcome(core.Duplicate, core.ErrDuplicate)
				case all[2].ID:
					out[i] = in[i].Outcome(core.Rejected, errors.New("no such stream"))
				}
			}
			return core.Combine(out)
		})
		w.store(t, box, all...)
		w.relay(t, box, q)
		w.awaitStats(t, box, outbox.Stats{Dead: 1})
		if got := q.ids(); !slices.Equal(got, []string{all[0].ID, all[3].ID}) {
			t.Errorf("got %v", got)
		}
		rows, err := box.List(t.Context(), outbox.SQL(w.db), 0, 10)
		must(t, err)
		if len(rows) != 1 || rows[0].ID != all[2].ID || rows[0].Reason != "rejected: no such stream" || rows[0].Ambiguous || rows[0].Task != "test.outbox" || time.Since(rows[0].Created).Abs() > patience {
			t.Fatalf("rows %+v", rows)
		}
		q.setFail(nil)
		n, err := box.Retry(t.Context(), outbox.SQL(w.db), rows[0].Seq, 12345)
		if n != 1 || err != nil {
			t.Errorf("retried %d, %v", n, err)
		}
		q.await(t, 3)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("a discarded row is gone, a waiting one cannot be discarded", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.store(t, box, intents(t, 2)...)
		seq := w.number(t, "SELECT min(seq) FROM airlock_outbox")
		if n, err := box.Discard(t.Context(), outbox.SQL(w.db), seq); n != 0 || err != nil {
			t.Errorf("discarded %d waiting rows, %v", n, err)
		}
		w.exec(t, "UPDATE airlock_outbox SET state = 1, due = NULL WHERE seq = (SELECT * FROM (SELECT min(seq) FROM airlock_outbox) x)")
		if n, err := box.Discard(t.Context(), outbox.SQL(w.db), seq); n != 1 || err != nil {
			t.Errorf("discarded %d dead rows, %v", n, err)
		}
		if got := w.stats(t, box); got != (outbox.Stats{Waiting: 1}) {
			t.Errorf("stats %+v", got)
		}
	})
	_ = add("a row that cannot be decoded is dead and the next one goes on", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		w.store(t, box, intents(t, 2)...)
		w.exec(t, "UPDATE airlock_outbox SET intent = 'garbage' WHERE seq = (SELECT * FROM (SELECT min(seq) FROM airlock_outbox) x)")
		w.relay(t, box, q)
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{Dead: 1})
	})
	_ = add("while the queue is away the order stays", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		q.setFail(func(call int, in []core.Intent) error {
			if call <= 3 {
				return core.Combine(core.Outcomes(in, core.NotSent, errDown))
			}
			return nil
		})
		all := intents(t, 50)
		w.store(t, box, all[:25]...)
		w.relay(t, box, q)
		waitFor(t, "a call", func() bool { return q.numberOfCalls() > 0 })
		w.store(t, box, all[25:]...)
		got := q.await(t, 50)
		for i, in := range all {
			if got[i] != in.ID {
				t.Fatalf("intent %d is another one", i)
			}
		}
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("an unknown outcome is sent again with the same ID", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		q.setFail(func(call int, in []core.Intent) error {
			if call == 1 {
				return core.Combine(core.Outcomes(in, core.Unknown, errors.New("no answer")))
			}
			return nil
		})
		in := intent(t, "a")
		w.store(t, box, in)
		w.relay(t, box, q)
		if got := q.await(t, 1); got[0] != in.ID {
			t.Errorf("got %v", got)
		}
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("beyond the window an ambiguous intent is held", func(t *testing.T, w *world) {
		q := newQueue(func(c *core.Capabilities) {
			c.IDWindow = core.Window{Kind: core.WindowFixed, For: time.Hour, Survives: core.SurvivalRestart}
		})
		box := w.box(t, q)
		q.setFail(func(call int, in []core.Intent) error {
			return core.Combine(core.Outcomes(in, core.Unknown, errors.New("no answer")))
		})
		w.store(t, box, intent(t, "a"))
		hold := func(o *outbox.RelayOptions) { o.Ambiguous = outbox.Hold }
		stop := w.relay(t, box, q, hold)
		waitFor(t, "two calls", func() bool { return q.numberOfCalls() >= 2 }) // within the window
		stop()
		w.exec(t, "UPDATE airlock_outbox SET first_sent = first_sent - 3600000001, due = 0")
		calls := q.numberOfCalls()
		w.relay(t, box, q, hold)
		w.awaitStats(t, box, outbox.Stats{Ambiguous: 1})
		if n := q.numberOfCalls(); n != calls {
			t.Errorf("%d more calls", n-calls)
		}
		q.setFail(nil)
		rows, err := box.List(t.Context(), outbox.SQL(w.db), 0, 1)
		must(t, err)
		if len(rows) != 1 || !rows[0].Ambiguous {
			t.Fatalf("rows %+v", rows)
		}
		_, err = box.Retry(t.Context(), outbox.SQL(w.db), rows[0].Seq)
		must(t, err)
		q.await(t, 1)
	})
	_ = add("an intent that was certainly not sent never becomes ambiguous", func(t *testing.T, w *world) {
		q := newQueue(func(c *core.Capabilities) { c.IDWindow = core.Window{} })
		box := w.box(t, q)
		q.setFail(func(call int, in []core.Intent) error {
			if call <= 2 {
				return core.Combine(core.Outcomes(in, core.NotSent, errDown))
			}
			return nil
		})
		w.store(t, box, intent(t, "a"))
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Ambiguous = outbox.Hold })
		q.await(t, 1)
		w.awaitStats(t, box, outbox.Stats{})
	})
	_ = add("several relays send each intent once", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		for range 3 {
			w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Batch = 7 })
		}
		all := intents(t, 300)
		for i := 0; i < len(all); i += 30 {
			w.store(t, box, all[i:i+30]...)
		}
		q.await(t, len(all))
		w.awaitStats(t, box, outbox.Stats{})
		got := q.ids()
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != len(all) || len(q.ids()) != len(all) {
			t.Errorf("%d dispatches of %d intents, want %d", len(q.ids()), n, len(all))
		}
	})
	_ = add("two destinations share a table", func(t *testing.T, w *world) {
		one, other := newQueue(), newQueue()
		boxOne := w.box(t, one)
		boxOther := w.box(t, other, func(o *outbox.Options) { o.Destination = "other" })
		w.store(t, boxOne, intents(t, 2)...)
		w.store(t, boxOther, intents(t, 3)...)
		w.relay(t, boxOther, other)
		other.await(t, 3)
		w.awaitStats(t, boxOther, outbox.Stats{})
		if got := w.stats(t, boxOne); got != (outbox.Stats{Waiting: 2}) {
			t.Errorf("stats %+v", got)
		}
	})
	_ = add("a delay that the queue refuses is kept by the outbox", func(t *testing.T, w *world) {
		q := newQueue(refuseDelay)
		box := w.box(t, q)
		later, much := intent(t, "later", core.Delay(300*time.Millisecond)), intent(t, "much later", core.Delay(time.Hour))
		now := intent(t, "now")
		w.store(t, box, later, much, now)
		w.relay(t, box, q)
		got := q.await(t, 2) // on a slow machine both may be due when the relay begins
		if early := time.Until(later.Options.At); early > 0 {
			t.Errorf("sent %v early", early)
		}
		if !slices.Contains(got, now.ID) || !slices.Contains(got, later.ID) || slices.ContainsFunc(q.got, func(in core.Intent) bool { return in.Has(core.OptionDelay) }) {
			t.Errorf("got %v", q.got)
		}
		w.awaitStats(t, box, outbox.Stats{Delayed: 1})
	})
	_ = add("a delay that is dropped on the way to the queue is kept by the outbox", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, func(o *outbox.Options) { o.For = compose.Strip(q.exec(), core.OptionDelay) })
		later, now := intent(t, "later", core.Delay(300*time.Millisecond)), intent(t, "now")
		w.store(t, box, later, now)
		w.relay(t, box, q)
		got := q.await(t, 2)
		if early := time.Until(later.Options.At); early > 0 || !slices.Contains(got, now.ID) || !slices.Contains(got, later.ID) {
			t.Errorf("sent %v early: %v", early, got)
		}
	})
	_ = add("what the queue refuses is refused in the transaction", func(t *testing.T, w *world) {
		q := newQueue(func(c *core.Capabilities) {
			delete(c.Options, core.OptionPriority)
			c.MaxPayload = 100
			c.Options[core.OptionDelay] = core.Claim{Support: core.SupportNative, Longest: time.Hour}
		})
		box := w.box(t, q)
		exec := box.InTx(outbox.SQL(w.db))
		bad, good := intent(t, "a", core.Priority(3)), intent(t, "b")
		if err := exec.Check(t.Context(), bad); !isOption(err, core.OptionPriority) {
			t.Errorf("Check: %v", err)
		}
		err := exec(t.Context(), bad, good)
		if out := core.OutcomesOf(err, []core.Intent{bad, good}); out[0].State != core.Rejected || out[1].State != core.NotSent || !isOption(err, core.OptionPriority) {
			t.Errorf("outcomes %v", err)
		}
		if err := exec.Check(t.Context(), intent(t, string(make([]byte, 200)))); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("payload: %v", err)
		}
		if err := exec.Check(t.Context(), intent(t, "a", core.NativeOption("test", 1))); !isOption(err, core.OptionNative) {
			t.Errorf("native: %v", err)
		}
		if err := exec.Check(t.Context(), intent(t, "a", core.Delay(48*time.Hour))); err != nil {
			t.Errorf("a long delay: %v", err)
		}
		if got := w.stats(t, box); got != (outbox.Stats{}) {
			t.Errorf("stats %+v", got)
		}
	})
	_ = add("more rows than a statement has parameters for", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q)
		all := intents(t, 9001)
		w.store(t, box, all...)
		if got := w.stats(t, box); got.Waiting != 9001 {
			t.Errorf("stats %+v", got)
		}
	})
)
