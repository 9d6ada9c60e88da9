package poolexec_test

import (
	"context"
	"testing"

	"github.com/goairlock/airlock/core"
)

// The batch is one that ran before, so that its jobs are dropped and what is
// counted is the hand-over alone.
func TestAHandOverAllocatesNothingPerIntent(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	pool := newPool(t, nil)
	ran := make(chan struct{}, 1000)
	task := core.NewTask("test.ok", func(context.Context, int) error { ran <- struct{}{}; return nil })
	batch := make([]core.Intent, cap(ran))
	for i := range batch {
		batch[i] = newIntent(t, task, i)
	}
	mustExecute(t, pool, batch...)
	for range batch {
		receive(t, ran)
	}
	n := testing.AllocsPerRun(100, func() { mustExecute(t, pool, batch...) })
	if n > 30 { // goroutines come, and now and then a block of 64 more than are kept
		t.Errorf("%v allocations for %d intents", n, len(batch))
	}
}
