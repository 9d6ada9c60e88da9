package adapter

import (
	"context"
	"sync"
	"time"

	"github.com/goairlock/airlock/worker"
)

// DefaultDrainTimeout is how long a worker that stops waits for its jobs by
// default.
const DefaultDrainTimeout = 20 * time.Second

// drainGrace is how long a handler may take to return after its context has ended.
const drainGrace = 5 * time.Second

// Drain keeps track of the jobs that a worker runs, so that the worker can stop: it
// waits for the jobs, then ends their contexts, then gives up. It is safe for
// concurrent use. [NewDrain] makes it.
type Drain struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timeout time.Duration

	mu      sync.Mutex
	until   context.Context               // guarded by mu; of Until, or nil
	running map[*worker.Delivery]struct{} // guarded by mu
	idle    chan struct{}                 // guarded by mu; closed when stopping and nothing runs
	stopped bool                          // guarded by mu
}

// NewDrain returns a Drain that gives jobs the time timeout to end after Stop is
// called. 0 means [DefaultDrainTimeout]. A negative timeout means no time.
func NewDrain(timeout time.Duration) *Drain {
	if timeout == 0 {
		timeout = DefaultDrainTimeout
	}
	d := &Drain{timeout: timeout, running: make(map[*worker.Delivery]struct{}), idle: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	return d
}

// Until makes Begin refuse jobs from the end of ctx on. That is the context of the
// worker's Run. A busy machine may take its time until the goroutine runs that waits for
// the end and calls Stop, and meanwhile each slot could begin one job after the other.
func (d *Drain) Until(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = ctx
}

// Context returns the context under which jobs run. It ends, with the cause
// [worker.ErrStopping], when the time for draining is over.
func (d *Drain) Context() context.Context { return d.ctx }

// Begin registers a running job. It returns a function to call when the job has
// ended. It returns false if the worker is stopping, see Stop and Until. The job must
// then be put back.
func (d *Drain) Begin(job *worker.Delivery) (end func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || d.until != nil && d.until.Err() != nil {
		return nil, false
	}
	d.running[job] = struct{}{}
	return func() { d.end(job) }, true
}

func (d *Drain) end(job *worker.Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, job)
	if d.stopped && len(d.running) == 0 {
		d.closeIdle()
	}
}

func (d *Drain) closeIdle() {
	select {
	case <-d.idle:
	default:
		close(d.idle)
	}
}

// Stop waits for the running jobs, for at most the timeout of the Drain. Then it
// ends their contexts and waits for 5 more seconds. It returns nil if all jobs have
// ended, otherwise a [*worker.DrainError].
func (d *Drain) Stop() error {
	d.mu.Lock()
	d.stopped = true
	if len(d.running) == 0 {
		d.closeIdle()
	}
	d.mu.Unlock()
	if d.wait(d.timeout) {
		d.cancel(worker.ErrStopping)
		return nil
	}
	d.cancel(worker.ErrStopping)
	if d.wait(drainGrace) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.running) == 0 {
		return nil
	}
	left := &worker.DrainError{}
	for job := range d.running {
		left.Jobs = append(left.Jobs, *job)
	}
	return left
}

// wait reports whether all jobs have ended within limit.
func (d *Drain) wait(limit time.Duration) bool {
	timer := time.NewTimer(max(limit, 0))
	defer timer.Stop()
	select {
	case <-d.idle:
		return true
	case <-timer.C:
		return false
	}
}
