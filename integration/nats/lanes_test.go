package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

func TestLanesAreWeighted(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true, Concurrency: 1})
	var intents []core.Intent
	const each = 60
	for range each {
		for _, p := range []int{1, 5, 10} {
			intents = append(intents, w.intent(fmt.Sprint(p), core.Priority(p)))
		}
	}
	w.send(intents...)
	w.wantStored("JOBS.high.>", each)
	w.wantStored("JOBS.low.>", each)
	ran := make(chan string, len(intents))
	w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	counts := map[string]int{}
	for range each { // while all lanes have jobs
		counts[next(w, ran)]++
	}
	if counts["10"] <= counts["5"] || counts["5"] <= counts["1"] || counts["1"] == 0 {
		t.Errorf("of the first %d: %v", each, counts)
	}
	w.wantStored("JOBS.>", 0)
}

func TestPriorityNeedsLanes(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	err := w.exec.Execute(w.ctx, w.intent("a", core.Priority(5)))
	if !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}

// A client gives up on a request a second after its end, and what then arrives is lost.
func TestLanesAreServedOverASlowLine(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{Lanes: true, AckWait: 5 * time.Second})
	near, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch())
	w.must(err)
	ran := make(chan string, 10)
	handler := worker.Handle(w.task, func(_ context.Context, arg string) error { ran <- arg; return nil })
	far := connect(t, "nats://"+proxy.Addr())
	proxy.Delay(700 * time.Millisecond)
	w.workOn(far, w.opts, handler)
	for _, p := range []int{1, 10} {
		w.must(near.Execute(w.ctx, w.intent("a", core.Priority(p))))
		next(w, ran)
	}
	w.wantStored("JOBS.>", 0)
}
