package asynq_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// An ID is one job per queue. asynq's heartbeat knows running tasks by their ID alone. When a second task of the ID began or
// ended, it forgot the lease of the first. The first then ran again, sometimes before its first run had ended.
func TestJobsOfOneIDInTwoQueuesKeepTheirLeases(t *testing.T) {
	t.Parallel()
	for name, long := range map[string][2]time.Duration{
		"the second ends first": {3 * time.Minute, time.Second},
		"the first ends first":  {time.Minute, 3 * time.Minute},
		"both at the same time": {2 * time.Minute, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(w *testEnv) {
				var runs, overlaps, running [2]atomic.Int32
				task := core.NewTask("test.queues", func(ctx context.Context, i int) error {
					runs[i].Add(1)
					if running[i].Add(1) > 1 {
						overlaps[i].Add(1)
					}
					defer running[i].Add(-1)
					select {
					case <-time.After(long[i]):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				reg, err := worker.NewRegistry(worker.Handle(task, task.Func()))
				w.Must(err)
				o := slowWorker
				o.Queues = []string{"a", "b"}
				w.runOn(w.connect(), reg, &o)
				for i, queue := range []string{"a", "b"} {
					in, err := task.Intent(i, core.ID("x"), core.Queue(queue))
					w.Must(err)
					w.Want("accepted", in)
					time.Sleep(time.Second)
				}
				time.Sleep(10 * time.Minute)
				for i, queue := range []string{"a", "b"} {
					if n, o := runs[i].Load(), overlaps[i].Load(); n != 1 || o != 0 {
						t.Errorf("the job of queue %s ran %d times, and %d runs began before another had ended", queue, n, o)
					}
					if state := w.state(queue, "x"); state != "completed" && state != "gone" {
						t.Errorf("the job of queue %s is %s", queue, state)
					}
				}
			})
		})
	}
}
