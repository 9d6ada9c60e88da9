package nats_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestAUniqueKeyHoldsUntilTheJobIsDone(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true})
	fail := true // of the handler's goroutine, one job at a time
	started, proceed := make(chan worker.Job), make(chan struct{})
	w.work(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		started <- job
		<-proceed
		if fail {
			fail = false
			return errors.New("again")
		}
		return nil
	})
	key := []core.Option{core.Unique("order *.> 7"), core.Backoff(core.Fixed(200 * time.Millisecond))}
	first := w.intent("a", append(key, core.Delay(300*time.Millisecond))...)
	another := func(opts ...core.Option) core.Intent { return w.intent("b", append(opts, key...)...) }
	taken := func(when string) {
		t.Helper()
		for _, opts := range [][]core.Option{{}, {core.Delay(time.Hour)}, {core.Priority(9)}, {core.Priority(1), core.Delay(time.Minute)}} {
			if got := w.states(another(opts...)); got[0] != core.Duplicate {
				t.Errorf("%s: %v with %d options", when, got[0], len(opts))
			}
		}
	}
	w.send(first)
	taken("while the first is delayed")
	w.wantStates(w.states(first), core.Duplicate)
	if job := next(w, started); job.ID != first.ID || job.Attempt != 1 {
		t.Errorf("job %+v", job)
	}
	taken("while it runs")
	proceed <- struct{}{}
	taken("while it waits for its retry")
	if job := next(w, started); job.ID != first.ID || job.Attempt != 2 {
		t.Errorf("job %+v", job)
	}
	proceed <- struct{}{}
	w.wantStored("JOBS.>", 0)
	w.wantStates(w.states(first), core.Duplicate) // its ID, within the window
	again := another(core.Priority(9))
	w.send(again)
	if job := next(w, started); job.ID != again.ID {
		t.Errorf("job %+v", job)
	}
	proceed <- struct{}{}
	w.wantStored("JOBS.>", 0)
}

func TestADeadJobFreesItsKey(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ran := make(chan string, 2)
	w.work(func(_ context.Context, arg string) error {
		ran <- arg
		return worker.Permanent(errors.New("no use"))
	})
	w.send(w.intent("a", core.Unique("k")))
	next(w, ran)
	w.wantStored("JOBS.job.>", 0)
	w.wantStored("JOBS.dead.default.test.work", 1)
	w.send(w.intent("b", core.Unique("k")))
	next(w, ran)
}

func TestAUniqueKeyIsOfOneTaskAndQueue(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	other := core.DeclareTask[string]("test.work.more")
	foreign, err := other.Intent("c", core.Unique("k"))
	w.must(err)
	w.send(w.intent("a", core.Unique("k")), w.intent("b", core.Unique("k"), core.Queue("other")), foreign, w.intent("d", core.Unique("K")))
	w.wantStates(w.states(w.intent("e", core.Unique("k"))), core.Duplicate)
}

func TestOneOfManyAtOnceGetsTheKey(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	if won := w.race(50, core.Unique("k")); won != 1 {
		t.Errorf("%d of 50 were accepted", won)
	}
}

// race dispatches n intents of the same options at once and counts those that are accepted. All others must be duplicates.
func (w *testEnv) race(n int, opts ...core.Option) (won int) {
	w.Helper()
	intents := make([]core.Intent, n)
	for i := range intents {
		intents[i] = w.intent("a", opts...)
	}
	begin := make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, in := range intents {
		wg.Go(func() {
			<-begin
			err := w.exec.Execute(w.ctx, in)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, core.ErrDuplicate):
				w.Errorf("neither accepted nor a duplicate: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	return won
}
