package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

// numbered returns an intent for each number, of one customer.
func numbered(t testing.TB, customer string, numbers ...int) []core.Intent {
	t.Helper()
	var all []core.Intent
	for _, n := range numbers {
		all = append(all, intent(t, fmt.Sprint(n), core.Header("Customer", customer)))
	}
	return all
}

var (
	_ = add("ordered: rows of before it was switched on leave first, in their order", func(t *testing.T, w *world) {
		q := newQueue()
		before := w.box(t, q)
		w.store(t, before, numbered(t, "a", 0, 1, 2)...)
		// One of them waits after a failure, and one belongs to a relay that died.
		w.exec(t, "UPDATE airlock_outbox SET due = 9000000000000000, attempts = 3 WHERE seq = 1")
		w.exec(t, "UPDATE airlock_outbox SET token = 'dead', due = 1 WHERE seq = 2")
		after := w.box(t, q, ordered)
		w.store(t, after, numbered(t, "a", 3, 4)...)
		stop := w.relay(t, after, q)
		q.await(t, 5)
		if got := q.byCustomer(t)["a"]; !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("order %v", got)
		}
		// A writer that is not switched over yet.
		w.store(t, before, numbered(t, "a", 5, 6)...)
		q.await(t, 7)
		w.awaitStats(t, after, outbox.Stats{})
		stop()
		// And off again.
		w.store(t, after, numbered(t, "a", 7, 8)...)
		w.store(t, before, numbered(t, "a", 9)...)
		w.relay(t, before, q)
		q.await(t, 10)
		if got := q.byCustomer(t)["a"]; !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}) {
			t.Errorf("order %v", got)
		}
		w.awaitStats(t, before, outbox.Stats{})
	})
	_ = add("ordered: many rows of before", func(t *testing.T, w *world) {
		q := newQueue()
		before := w.box(t, q)
		w.store(t, before, intents(t, 2100)...)
		w.exec(t, "UPDATE airlock_outbox SET intent = 'garbage' WHERE seq = 7")
		after := w.box(t, q, ordered)
		w.relay(t, after, q)
		q.await(t, 2099)
		w.awaitStats(t, after, outbox.Stats{Dead: 1})
	})
	_ = add("ordered: a row that failed often holds its partition, and no other", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, ordered)
		w.store(t, box, append(numbered(t, "a", 0, 1), numbered(t, "b", 0, 1)...)...)
		w.exec(t, "UPDATE airlock_outbox SET attempts = 50 WHERE seq = 1")
		var failing atomic.Bool
		failing.Store(true)
		q.setFail(func(_ int, in []core.Intent) error {
			out := core.Outcomes(in, core.Accepted, nil)
			for i := range in {
				if arg, _ := task.Args(in[i]); failing.Load() && arg == "0" && in[i].Headers().Get("Customer") == "a" {
					out[i] = in[i].Outcome(core.NotSent, errDown)
				}
			}
			return core.Combine(out)
		})
		// A relay that looks at the table once an hour: the end of the partition's wait
		// wakes it.
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Poll = time.Hour })
		q.await(t, 2)
		if got := q.byCustomer(t); len(got["a"]) != 0 || len(got["b"]) != 2 {
			t.Errorf("sent %v", got)
		}
		waitFor(t, "the end of the claim", func() bool { return w.number(t, "SELECT count(*) FROM airlock_outbox_meta WHERE token <> ''") == 0 })
		failing.Store(false) // the partition waits for a minute, unless somebody helps
		w.exec(t, "UPDATE airlock_outbox_meta SET until = 1 WHERE part >= 0")
		box.Wake()
		q.await(t, 4)
		if got := q.byCustomer(t)["a"]; !slices.Equal(got, []string{"0", "1"}) {
			t.Errorf("order %v", got)
		}
	})
	_ = add("ordered: a wait of a partition that ends wakes a relay", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, ordered)
		q.setFail(func(call int, in []core.Intent) error {
			if call == 1 {
				return core.Combine(core.Outcomes(in, core.Unknown, errors.New("no answer")))
			}
			return nil
		})
		w.store(t, box, numbered(t, "a", 0, 1)...)
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Poll = time.Hour })
		q.await(t, 2)
	})
	_ = add("a claim has a limited number of bytes, and at least one row", func(t *testing.T, w *world) {
		for _, isOrdered := range []bool{false, true} {
			q := newQueue()
			box := w.box(t, q, func(o *outbox.Options) { o.Ordered, o.Table = isOrdered, fmt.Sprintf("bytes_%v", isOrdered) })
			var all []core.Intent
			for _, size := range []int{100, 100, 100, 60000, 100, 30000, 30000, 100} {
				all = append(all, intent(t, strings.Repeat("x", size)))
			}
			w.store(t, box, all...)
			var claims [20]atomic.Int64
			var n atomic.Int64
			w.relay(t, box, q, func(o *outbox.RelayOptions) {
				o.BatchBytes = 50000
				o.Observer = func(r outbox.Report) { claims[n.Add(1)-1].Store(int64(r.Claimed)) }
			})
			got := q.await(t, len(all))
			w.awaitStats(t, box, outbox.Stats{})
			for i, in := range all {
				if got[i] != in.ID {
					t.Fatalf("intent %d is another one", i)
				}
			}
			waitFor(t, "the claims", func() bool { return n.Load() >= 4 })
			var sizes []int64
			for i := range n.Load() {
				if c := claims[i].Load(); c > 0 {
					sizes = append(sizes, c)
				}
			}
			// Encoded in base 64: 3 small ones, 1 alone, a small one and one of 40 kB, …
			if !slices.Equal(sizes, []int64{3, 1, 2, 2}) {
				t.Errorf("ordered %v: claims of %v rows", isOrdered, sizes)
			}
		}
	})
	_ = add("a row of a later version waits for a newer relay", func(t *testing.T, w *world) {
		for _, isOrdered := range []bool{false, true} {
			q := newQueue()
			table := fmt.Sprintf("later_%v", isOrdered)
			box := w.box(t, q, func(o *outbox.Options) { o.Ordered, o.Table = isOrdered, table })
			w.store(t, box, intents(t, 3)...)
			good := w.text(t, "SELECT intent FROM "+table+" WHERE seq = 2")
			later := strings.Replace(good, `"v":1`, `"v":2`, 1)
			w.exec(t, "UPDATE "+table+" SET intent = '"+later+"' WHERE seq = 2")
			var found atomic.Bool
			var log lockedText
			stop := w.relay(t, box, q, func(o *outbox.RelayOptions) {
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				o.Observer = func(r outbox.Report) {
					if r.Parked == 1 && errors.Is(r.Err, worker.ErrLaterVersion) {
						found.Store(true)
					}
				}
			})
			want := 2
			if isOrdered {
				want = 1 // the row after it waits too
			}
			q.await(t, want)
			waitFor(t, "the report", found.Load)
			stop()
			if got := w.stats(t, box); got != (outbox.Stats{Waiting: int64(3 - want)}) || len(q.ids()) != want {
				t.Errorf("ordered %v: stats %+v, sent %d", isOrdered, got, len(q.ids()))
			}
			if n := w.number(t, "SELECT attempts FROM "+table+" WHERE seq = 2"); n != 0 {
				t.Errorf("%d attempts", n)
			}
			if text := log.String(); !strings.Contains(text, "later version") {
				t.Errorf("log %s", text)
			}
			// The newer relay.
			w.exec(t, "UPDATE "+table+" SET intent = '"+good+"', due = not_before WHERE seq = 2")
			w.exec(t, "UPDATE "+table+"_meta SET until = 1 WHERE part >= 0")
			w.relay(t, box, q)
			q.await(t, 3)
			w.awaitStats(t, box, outbox.Stats{})
		}
	})
	_ = add("functions of the caller that panic", func(t *testing.T, w *world) {
		q := newQueue()
		var broken atomic.Bool
		box := w.box(t, q, func(o *outbox.Options) {
			o.Ordered = true
			o.Partition = func(in core.Intent) string {
				if broken.Load() {
					panic("the partition of " + in.ID)
				}
				return ""
			}
		})
		plain := w.box(t, q)
		w.store(t, plain, intents(t, 1)...) // without a partition
		w.store(t, box, intents(t, 2)...)
		broken.Store(true)
		in := intents(t, 2)
		err := box.InTx(outbox.SQL(w.db))(t.Context(), in...)
		var pe *core.PanicError
		if out := core.OutcomesOf(err, in); !errors.As(err, &pe) || out[0].State != core.Rejected {
			t.Errorf("error %v", err)
		}
		var log lockedText
		w.relay(t, box, q, func(o *outbox.RelayOptions) {
			o.Observer = func(outbox.Report) { panic("the observer") }
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		q.await(t, 3)
		w.awaitStats(t, box, outbox.Stats{})
		waitFor(t, "the log", func() bool { return strings.Contains(log.String(), "the observer") })
		if !strings.Contains(log.String(), "partition of its queue") {
			t.Errorf("log %s", log.String())
		}
	})
	_ = add("no call begins after the lease", func(t *testing.T, w *world) {
		// The first call takes the rest of the lease, and nothing renews it.
		q := newQueue()
		box := w.box(t, q, ordered)
		w.store(t, box, numbered(t, "a", 0, 1, 2)...)
		db := &breakable{DB: outbox.SQL(w.db)}
		var late atomic.Int64
		q.setFail(func(call int, in []core.Intent) error {
			if call == 1 {
				db.set(true)
				time.Sleep(1100 * time.Millisecond)
				defer db.set(false)
			}
			return nil
		})
		relay, err := outbox.NewRelay(box, db, q.exec(), &outbox.RelayOptions{Lease: time.Second, Poll: 20 * time.Millisecond, Logger: quiet,
			Observer: func(r outbox.Report) {
				if r.Claimed == 3 && r.Accepted == 1 && r.Returned == 2 {
					late.Add(1)
				}
			}})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- relay.Run(ctx) }()
		w.awaitStats(t, box, outbox.Stats{})
		cancel()
		must(t, <-done)
		if late.Load() != 1 {
			t.Error("the rows after the end of the lease were not returned")
		}
		if got := q.byCustomer(t)["a"]; !slices.Equal(slices.Compact(got), []string{"0", "1", "2"}) {
			t.Errorf("order %v", got)
		}
	})
)

func (w *world) text(t testing.TB, query string) (text string) {
	t.Helper()
	var data []byte
	must(t, w.db.QueryRowContext(t.Context(), query).Scan(&data))
	return string(data)
}
