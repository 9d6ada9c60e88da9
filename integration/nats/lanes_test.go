package nats_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

func TestLanesAreWeighted(t *testing.T) {
	t.Parallel()
	w := setup(t, &natsexec.Options{Lanes: true, Concurrency: 1})
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
