package adapter_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

func TestDrainWaitsThenEndsContextsThenGivesUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout       time.Duration
		returns       time.Duration // how long the job runs; -1 for until its context ends, -2 for longer
		took          time.Duration
		left, stopped bool
	}{
		"idle":               {time.Minute, 0, 0, false, false},
		"in time":            {time.Minute, 30 * time.Second, 30 * time.Second, false, false},
		"default":            {0, -1, adapter.DefaultDrainTimeout, false, true},
		"context ends":       {time.Minute, -1, time.Minute, false, true},
		"no time":            {-1, -1, 0, false, true},
		"in the grace":       {time.Minute, time.Minute + 3*time.Second, time.Minute + 3*time.Second, false, true},
		"ignores its end":    {time.Minute, -2, time.Minute + 5*time.Second, true, true},
		"ignores it at once": {-1, -2, 5 * time.Second, true, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			drain := adapter.NewDrain(c.timeout)
			ctx := drain.Context()
			job := &worker.Delivery{ID: "id-1", Task: "test.plain"}
			release := make(chan struct{})
			stoppedEarly := false
			if c.returns != 0 {
				end, ok := drain.Begin(job)
				if !ok {
					t.Fatalf("%s: not begun", name)
				}
				go func() {
					defer end()
					switch c.returns {
					case -1:
						<-ctx.Done()
					case -2:
						<-release
					default:
						time.Sleep(c.returns)
					}
					stoppedEarly = ctx.Err() != nil
				}()
			}
			start := time.Now()
			err := drain.Stop()
			if took := time.Since(start); took != c.took {
				t.Errorf("%s: took %v, want %v", name, took, c.took)
			}
			var left *worker.DrainError
			if errors.As(err, &left) != c.left || c.left && (len(left.Jobs) != 1 || left.Jobs[0].ID != "id-1") || !c.left && err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if ctx.Err() == nil || context.Cause(ctx) != worker.ErrStopping {
				t.Errorf("%s: the context ended with %v", name, context.Cause(ctx))
			}
			if _, ok := drain.Begin(&worker.Delivery{}); ok {
				t.Errorf("%s: begun after Stop", name)
			}
			close(release)
			synctest.Wait()
			if c.returns != 0 && stoppedEarly != c.stopped {
				t.Errorf("%s: the job's context had ended: %v, want %v", name, stoppedEarly, c.stopped)
			}
		})
	}
}

func TestDrainNamesTheJobsThatAreLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drain := adapter.NewDrain(time.Second)
		a, b := &worker.Delivery{ID: "a"}, &worker.Delivery{ID: "b"}
		endA, _ := drain.Begin(a)
		_, _ = drain.Begin(b)
		endA()
		var left *worker.DrainError
		if err := drain.Stop(); !errors.As(err, &left) || len(left.Jobs) != 1 || left.Jobs[0].ID != "b" {
			t.Errorf("got %v", err)
		}
	})
}

// Nobody has called Stop yet: the goroutine that waits for the end of ctx has not run.
func TestDrainBeginsNothingAfterTheEndOfItsContext(t *testing.T) {
	t.Parallel()
	drain := adapter.NewDrain(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	drain.Until(ctx)
	end, ok := drain.Begin(&worker.Delivery{ID: "id-1"})
	if !ok {
		t.Fatal("not begun before the end")
	}
	cancel()
	if _, ok := drain.Begin(&worker.Delivery{ID: "id-2"}); ok {
		t.Error("begun after the end")
	}
	end()
	if err := drain.Stop(); err != nil {
		t.Error(err)
	}
}
