package nats_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
)

// Not parallel: it counts the allocations of this process, and so the server has one of its own.
func TestOneIntentCostsWhatTheLibrarysOwnCallDoes(t *testing.T) {
	const runs = 200
	w := setupOn(t, servers.NATS(t, servers.NATSOptions{OwnProcess: true}).URL(), nil, nil)
	for name, opts := range map[string][]core.Option{
		"an ID": nil, "an ID, a timeout and a header": {core.Timeout(time.Minute), core.Header("Trace", "t-1")},
	} {
		var intents []core.Intent
		for range 2 * (runs + 2) { // one is for AllocsPerRun itself, one for the first use
			intents = append(intents, w.intent("a", opts...))
		}
		next := 0
		ours := func() { w.must(w.exec.Execute(w.ctx, intents[next])); next++ }
		theirs := func() {
			in := intents[next]
			next++
			m := nats.NewMsg("JOBS.job.default.test.work")
			m.Data = in.Payload()
			m.Header.Set("Nats-Msg-Id", in.ID)
			m.Header.Set("Airlock-Envelope", `{"v":1,"max_attempts":25}`)
			if len(opts) > 0 {
				m.Header.Set("Trace", "t-1")
			}
			_, err := w.js.PublishMsg(w.ctx, m)
			w.must(err)
		}
		ours()
		theirs()
		traffic := func(call func()) [2]uint64 {
			before := w.conn.Stats()
			call()
			after := w.conn.Stats()
			return [2]uint64{after.OutMsgs - before.OutMsgs, after.InMsgs - before.InMsgs}
		}
		allocs, limit := testing.AllocsPerRun(runs-1, ours), testing.AllocsPerRun(runs-1, theirs)+5
		t.Logf("%s: %.0f allocations, the library's own call %.0f", name, allocs, limit-5)
		if allocs > limit {
			t.Errorf("%s: %.0f allocations, the library's own call %.0f", name, allocs, limit-5)
		}
		if got := traffic(ours); got != traffic(theirs) || got != [2]uint64{1, 1} {
			t.Errorf("%s: %d messages out and %d in, want one each", name, got[0], got[1])
		}
	}
}

// With a server that hears us and is not heard, everything is stored all the same: no acknowledgement is awaited before the
// last message is out.
func TestTheAcknowledgementsOfABatchOverlap(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{AckTimeout: time.Hour})
	w.send(w.some(2)...)
	intents := w.some(2000)
	proxy.LoseReplies()
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.exec.Execute(ctx, intents...) }()
	w.wantStored("JOBS.>", 2002)
	cancel()
	if err := next(w, done); err == nil {
		t.Error("acknowledged by a server that is not heard")
	}
}
