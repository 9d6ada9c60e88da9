package poolexec

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// StopError says that a pool was stopped before every job that it had accepted
// was over, and which are not: they are gone with the pool, unless the caller
// sends them again elsewhere. Returned by [Executor.Stop].
type StopError struct {
	// Waiting were not running: never started, or waiting for a further attempt.
	// Due ones come first, in the order in which they would have started.
	Waiting []core.Intent
	// Running were still running when Stop returned, because their handlers did
	// not heed that their context had ended. They may still succeed.
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

// Unwrap returns the error of the context that ended before the jobs did, nil if
// only jobs that were not due are left.
func (e *StopError) Unwrap() error { return e.cause }

// grace is how long Stop waits for handlers whose context it has ended: those
// that heed it need no more than a moment.
const grace = 100 * time.Millisecond

// Stop ends the pool and waits for its goroutines. From its start on nothing is
// accepted any more (core.ErrClosed), nothing that is not due is waited for, and
// no attempt is followed by another one; jobs that are due are run, and jobs
// that run finish. When ctx ends, no further job is started, the contexts of
// those that run end too, and Stop returns within 100 ms.
//
// If jobs are left over, the error is a [*StopError] that lists them. Every call
// waits and gets the same answer; of several contexts the first to end counts.
// Called by a job of the pool itself it waits for that job, until ctx ends.
func (e *Executor) Stop(ctx context.Context) error {
	switch {
	case ctx == nil:
		return fmt.Errorf("airlock: pool: Stop: nil context: %w", core.ErrInvalid)
	case e == nil || e.guarded == nil:
		return nil
	}
	e.close()
	select {
	case <-e.stopped:
		return e.stopErr
	default:
	}
	select {
	case <-e.stopped:
		return e.stopErr
	case <-ctx.Done():
	}
	e.abort(ctx.Err())
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-e.stopped:
	case <-patience.C:
		e.mu.Lock()
		e.end()
		e.mu.Unlock()
	}
	return e.stopErr
}

// close refuses what comes and gives up what is not due.
func (e *Executor) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.closed = true
	e.unrun = e.takeDelayed()
	for _, c := range e.callers {
		if !c.called {
			c.called = true
			c.room <- struct{}{}
		}
	}
	if len(e.staffed) == 0 {
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
	for j := new(job); e.pop(j); {
		left = append(left, j.in)
	}
	e.unrun = append(left, e.unrun...)
	e.cancel(errStopped)
}

// end makes Stop's answer final.
func (e *Executor) end() {
	if e.ended {
		return
	}
	e.ended = true
	e.cancel(errStopped)
	left := &StopError{Waiting: e.unrun, cause: e.aborted}
	for _, w := range e.staffed {
		if w.running {
			left.Running = append(left.Running, w.in)
		}
	}
	if len(left.Waiting) > 0 || len(left.Running) > 0 {
		e.stopErr = left
	}
	close(e.stopped)
}
