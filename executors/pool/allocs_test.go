package poolexec_test

import (
	"context"
	"testing"

	"github.com/goairlock/airlock/core"
)

// The batch has run before, so its jobs are dropped and only the hand-over counts.
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
	if n > 30 { // those of starting goroutines
		t.Errorf("%v allocations for %d intents", n, len(batch))
	}
}
