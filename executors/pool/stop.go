package poolexec

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// StopError says that a pool was stopped before all jobs that it had accepted were
// over, and lists them. They are lost with the pool, unless the caller dispatches
// them elsewhere. Returned by [Executor.Stop].
type StopError struct {
	// Waiting were not running: they never started, or waited for another attempt.
	// Jobs that were due are first, in the order in which they would have started.
	Waiting []core.Intent
	// Running were still running when Stop returned, because their handlers ignored
	// the end of their contexts. They may still succeed.
	Running []core.Intent

	cause error
}

func (e *StopError) Error() string {
	text := fmt.Sprintf("airlock: pool: stopped with %d jobs not run", len(e.Waiting))
	if len(e.Running) > 0 {
		text += fmt.Sprintf(" and %d still running", len(e.Running))
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// MarshalJSON returns the error's text. A log must not have the arguments of the jobs;
// to keep the jobs, marshal Waiting and Running.
func (e *StopError) MarshalJSON() ([]byte, error) { return json.Marshal(e.Error()) }

// Unwrap returns the error of the context that ended before the jobs did. It is nil
// if only jobs that were not due are left.
func (e *StopError) Unwrap() error { return e.cause }

// grace is how long Stop waits for handlers whose contexts it has ended.
const grace = 100 * time.Millisecond

// Stop ends the pool and waits for its goroutines. At once it accepts no more
// intents (core.ErrClosed), gives up jobs that are not due, and lets no failed
// attempt be followed by another one. Jobs that are due still run. When ctx ends,
// Stop starts no further job, ends the contexts of the running ones with the cause
// worker.ErrStopping, and returns within 100 ms.
//
// If jobs are left, the error is a [*StopError] that lists them. Every call of Stop
// waits and returns the same error; of several contexts the first that ends counts.
// A job of the pool that calls Stop waits for itself, until ctx ends. A nil ctx and
// a nil or zero Executor are core.ErrInvalid.
func (e *Executor) Stop(ctx context.Context) error {
	switch {
	case e == nil || e.guarded == nil:
		return errNotMade
	case ctx == nil:
		return fmt.Errorf("airlock: pool: Stop: nil context: %w", core.ErrInvalid)
	}
	e.close()
	select {
	case <-e.stopped:
		return e.stopErr
	default: // else a ctx that is done could win although nothing is left
	}
	select {
	case <-e.stopped:
		return e.stopErr
	case <-ctx.Done():
	}
	e.abort(ctx.Err())
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-e.stopped:
	case <-timer.C:
		e.mu.Lock()
		e.end()
		e.mu.Unlock()
	}
	return e.stopErr
}

// close refuses further intents and gives up what is not due.
func (e *Executor) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	e.unrun = e.takeDelayed()
	for _, w := range e.waiters {
		if !w.woken {
			w.woken = true
			w.wake <- struct{}{}
		}
	}
	if len(e.workers) == 0 {
		e.end()
	}
}

// abort gives up what is due and ends the contexts of what runs.
func (e *Executor) abort(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.aborted != nil || e.ended {
		return
	}
	e.aborted = cause
	left := make([]core.Intent, 0, e.due+len(e.unrun))
	for j, ok := e.pop(); ok; j, ok = e.pop() {
		left = append(left, j.in)
	}
	e.unrun = append(left, e.unrun...)
	e.cancel(worker.ErrStopping)
}

// end makes the result of Stop final.
func (e *Executor) end() {
	if e.ended {
		return
	}
	e.ended = true
	e.cancel(worker.ErrStopping)
	left := &StopError{Waiting: e.unrun, cause: e.aborted}
	for _, s := range e.workers {
		if s.running {
			left.Running = append(left.Running, s.in)
		}
	}
	if len(left.Waiting) > 0 || len(left.Running) > 0 {
		e.stopErr = left
	}
	close(e.stopped)
}
