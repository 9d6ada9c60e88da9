package outbox_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

func ordered(o *outbox.Options) {
	o.Ordered = true
	o.Partition = func(in core.Intent) string { return in.Headers().Get("Customer") }
}

// byCustomer groups what a queue has accepted.
func (q *queue) byCustomer(t *testing.T) map[string][]string {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	groups := make(map[string][]string)
	for _, in := range q.got {
		arg, err := task.Args(in)
		must(t, err)
		c := in.Headers().Get("Customer")
		groups[c] = append(groups[c], arg)
	}
	return groups
}

var (
	_ = add("ordered: nothing of a partition overtakes a row that failed", func(t *testing.T, w *world) {
		for _, atomic := range []bool{false, true} {
			t.Run(fmt.Sprintf("atomic %v", atomic), func(t *testing.T) {
				q := newQueue(func(c *core.Capabilities) { c.AtomicBatch = atomic })
				table := fmt.Sprintf("ordered_%v", atomic)
				box := w.box(t, q, ordered, func(o *outbox.Options) { o.Table = table })
				failures := make(map[string]int)
				q.setFail(func(_ int, in []core.Intent) error { // the third of each customer fails twice
					out := core.Outcomes(in, core.Accepted, nil)
					failed := false
					for i := range in {
						arg, _ := task.Args(in[i])
						if arg == "2" && failures[in[i].ID] < 2 {
							failures[in[i].ID]++
							out[i] = in[i].Outcome(core.NotSent, errDown)
							failed = true
						}
					}
					if failed && atomic {
						return core.Combine(core.Outcomes(in, core.NotSent, errDown))
					}
					return core.Combine(out)
				})
				const customers, each = 20, 6
				for i := range each {
					var all []core.Intent
					for c := range customers {
						all = append(all, intent(t, fmt.Sprint(i), core.Header("Customer", fmt.Sprint(c))))
					}
					w.store(t, box, all...)
				}
				for range 2 {
					w.relay(t, box, q)
				}
				q.await(t, customers*each)
				w.awaitStats(t, box, outbox.Stats{})
				for c, got := range q.byCustomer(t) {
					if !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5"}) {
						t.Errorf("customer %s: %v", c, got)
					}
				}
			})
		}
	})
	_ = add("ordered: a dead row lets the others go on", func(t *testing.T, w *world) {
		for _, atomic := range []bool{false, true} {
			q := newQueue(func(c *core.Capabilities) { c.AtomicBatch = atomic })
			box := w.box(t, q, ordered, func(o *outbox.Options) { o.Table = fmt.Sprintf("ordered_%v", atomic) })
			q.setFail(func(_ int, in []core.Intent) error {
				var out []core.Outcome
				for i := range in {
					if arg, _ := task.Args(in[i]); arg == "0" || arg == "2" {
						out = core.Reject(out, in, i, core.ErrTooLarge)
					}
				}
				return core.Combine(out)
			})
			var all []core.Intent
			for i := range 5 {
				for c := range 4 {
					all = append(all, intent(t, fmt.Sprint(i), core.Header("Customer", fmt.Sprint(c))))
				}
			}
			w.store(t, box, all...)
			w.relay(t, box, q)
			q.await(t, 12)
			w.awaitStats(t, box, outbox.Stats{Dead: 8})
			for c, got := range q.byCustomer(t) {
				if !slices.Equal(got, []string{"1", "3", "4"}) {
					t.Errorf("customer %s: %v", c, got)
				}
			}
		}
	})
	_ = add("ordered: Committed leaves the rows to a relay", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, ordered)
		w.relay(t, box, q, func(o *outbox.RelayOptions) { o.Poll = time.Hour })
		w.commit(t, box, intents(t, 3)...).Committed(t.Context()) // wakes it
		q.await(t, 3)
	})
	_ = add("ordered: a partition of a relay that died is taken when its lease ends", func(t *testing.T, w *world) {
		q := newQueue()
		box := w.box(t, q, ordered)
		w.store(t, box, intents(t, 3)...)
		w.exec(t, "UPDATE airlock_outbox_meta SET token = 'dead', until = 9000000000000000 WHERE part >= 0")
		w.exec(t, "UPDATE airlock_outbox SET token = 'dead'")
		if got := w.stats(t, box); got != (outbox.Stats{InFlight: 3}) {
			t.Errorf("stats %+v", got)
		}
		w.relay(t, box, q)
		time.Sleep(100 * time.Millisecond)
		if n := q.numberOfCalls(); n != 0 {
			t.Errorf("%d calls while another relay has the partition", n)
		}
		w.exec(t, "UPDATE airlock_outbox_meta SET until = 1 WHERE part >= 0")
		q.await(t, 3)
		w.awaitStats(t, box, outbox.Stats{})
	})
)
