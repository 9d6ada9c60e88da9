package celeryexec

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// recordFor is how long verdicts may take to be recorded when the worker stops.
const recordFor = 5 * time.Second

var (
	errUsedUp   = errors.New("airlock: celery: attempts used up; the last worker never answered")
	errStopping = errors.New("airlock: celery: the worker stops before the job has begun")
)

// crew is what a worker is on every broker: jobs that run in slots, and verdicts.
type crew struct {
	reg    *worker.Registry
	opts   WorkerOptions
	slots  chan struct{}
	drain  *adapter.Drain
	loops  sync.WaitGroup
	ending adapter.Tally // verdicts that are being recorded
}

func newCrew(reg *worker.Registry, o WorkerOptions) crew {
	return crew{reg: reg, opts: o, slots: make(chan struct{}, o.Concurrency), drain: adapter.NewDrain(o.DrainTimeout)}
}

// perform runs a job, unless its attempts are used up, and logs it. It returns the
// verdict with the wait that will be used.
func (c *crew) perform(recording context.Context, d *worker.Delivery) worker.Verdict {
	v, took := c.attempt(d)
	v = c.planned(v, d.Attempt)
	adapter.LogRun(recording, c.opts.Logger, worker.Run{Delivery: *d, Verdict: v, Took: took})
	return v
}

func (c *crew) attempt(d *worker.Delivery) (worker.Verdict, time.Duration) {
	if d.Attempt > d.MaxAttempts && d.EnvelopeErr == nil {
		v := worker.Verdict{Action: worker.Dead, Err: errUsedUp}
		c.reg.Report(c.drain.Context(), worker.Run{Delivery: *d, Verdict: v})
		return v, 0
	}
	began := time.Now()
	v := c.reg.Perform(c.drain.Context(), *d)
	return v, time.Since(began)
}

// planned returns the verdict with the wait that will be used.
func (c *crew) planned(v worker.Verdict, attempt int) worker.Verdict {
	switch {
	case v.Action == worker.Parked:
		v.After = c.opts.ParkFor
	case v.Action == worker.Retry && v.After <= 0:
		v.After = c.opts.Backoff.Wait(attempt)
	}
	return v
}

// record begins to record a verdict, unless the worker has waited long enough for that.
func (c *crew) record(apply func()) {
	if recorded, ok := c.ending.Begin(); ok {
		go func() {
			apply()
			recorded()
		}()
	}
}

// stop drains the worker. It waits until all verdicts are recorded, which closes
// ended, but not for longer than recordFor.
func (c *crew) stop() (ended <-chan struct{}, err error) {
	err = c.drain.Stop()
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		c.loops.Wait()
		c.ending.Wait()
	}()
	timer := time.NewTimer(recordFor)
	defer timer.Stop()
	select {
	case <-recorded:
	case <-timer.C:
	}
	return recorded, err
}
