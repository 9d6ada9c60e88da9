package outbox_test

import (
	"sync/atomic"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

var _ = add("a row that another relay has taken is left alone, whatever the answer was", func(t *testing.T, w *world) {
	for _, state := range []core.State{core.Accepted, core.Rejected, core.NotSent, core.Unknown} {
		t.Run(state.String(), func(t *testing.T) {
			q := newQueue()
			box := w.box(t, q, func(o *outbox.Options) {
				o.Table = "fence_" + []string{"unknown", "accepted", "", "rejected", "notsent"}[state]
			})
			table := "fence_" + []string{"unknown", "accepted", "", "rejected", "notsent"}[state]
			w.store(t, box, intent(t, "a"))
			var lost atomic.Int64
			lost.Store(-1)
			q.setFail(func(_ int, in []core.Intent) error {
				w.exec(t, "UPDATE "+table+" SET token = 'another relay', due = 9000000000000000")
				return core.Combine(core.Outcomes(in, state, errDown))
			})
			w.relay(t, box, q, func(o *outbox.RelayOptions) {
				o.Observer = func(r outbox.Report) { lost.Store(int64(r.Lost)) }
			})
			waitFor(t, "the report", func() bool { return lost.Load() >= 0 })
			if lost.Load() != 1 {
				t.Errorf("lost %d", lost.Load())
			}
			if n := w.number(t, "SELECT count(*) FROM "+table+" WHERE token = 'another relay' AND state = 0 AND due = 9000000000000000 AND first_sent IS NOT NULL"); n != 1 {
				t.Error("the row was changed")
			}
		})
	}
})
