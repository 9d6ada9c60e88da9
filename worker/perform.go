package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// Perform runs one delivery, calls the observers, and returns what to do with the
// job. It decodes the payload, applies Timeout and Deadline, sets the job that
// [JobFrom] returns, and recovers panics. A handler that calls runtime.Goexit
// fails. An adapter only makes the delivery and acts on the verdict.
//
// Perform returns when the handler returns, even if the handler ignores the end of
// its context. The handler's result counts even after its time is over: nil is
// [Done], [Permanent] is [Dead], [Snooze] is [Snoozed]. If ctx has ended, any other
// error is [Interrupted] and not a failed attempt. If ctx has ended before the
// call, the verdict is Interrupted and the handler is not called.
//
// A task without a handler and an envelope of a later version are [Parked]. A job
// whose deadline has passed is Dead without a run.
func (r *Registry) Perform(ctx context.Context, d Delivery) Verdict {
	v, took := r.perform(ctx, &d)
	r.Report(ctx, Run{Delivery: d, Verdict: v, Took: took})
	return v
}

func (r *Registry) perform(ctx context.Context, d *Delivery) (Verdict, time.Duration) {
	if ctx == nil {
		return Verdict{Action: Retry, Err: invalidf("nil context")}, 0
	}
	call := r.lookup(d)
	switch {
	case errors.Is(d.EnvelopeErr, ErrLaterVersion):
		return Verdict{Action: Parked, Err: d.EnvelopeErr}, 0
	case d.EnvelopeErr != nil:
		return Verdict{Action: Dead, Err: d.EnvelopeErr}, 0
	case call == nil:
		return Verdict{Action: Parked, Err: core.NoHandlerError(d.Task)}, 0
	case !d.startableAfter(0):
		return Verdict{Action: Dead, Err: d.pastDeadline(nil)}, 0
	case ctx.Err() != nil:
		return Verdict{Action: Interrupted, Err: core.ContextError(ctx)}, 0
	}
	start := time.Now()
	jobCtx := ctx
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		jobCtx, cancel = context.WithTimeout(jobCtx, d.Timeout)
		defer cancel()
	}
	if !d.Deadline.IsZero() {
		var cancel context.CancelFunc
		jobCtx, cancel = context.WithDeadline(jobCtx, d.Deadline)
		defer cancel()
	}
	jobCtx = context.WithValue(jobCtx, jobKey{}, &Job{
		ID: d.ID, Task: d.Task, Queue: d.Queue, Headers: d.Headers,
		Attempt: max(d.Attempt, 1), MaxAttempts: d.MaxAttempts, Native: d.Native,
	})
	var err error
	if d.OwnGoroutine {
		err = r.call(jobCtx, call)
	} else {
		err = r.callApart(jobCtx, call)
	}
	took := time.Since(start)
	return d.verdict(ctx, err), took
}

// Run performs the intent once and waits for it. It returns the answer of an
// executor that runs jobs itself: nil if the job is done, else a
// [*core.DispatchError] whose outcome is Failed with the handler's own error, or
// Rejected with [core.ErrNoHandler]. A Retry, a Snooze and an interruption are
// failures too, since there is no later run. The handler sees ctx end, but none of
// its values. With Run an executor of this process is one line:
//
//	adapter.Each(caps, registry.Run)
func (r *Registry) Run(ctx context.Context, in core.Intent) error {
	v := r.Perform(core.WithoutValues(ctx), FirstDelivery(&in))
	switch v.Action {
	case Done:
		return nil
	case Parked:
		return core.Combine([]core.Outcome{in.Outcome(core.Rejected, v.Err)})
	}
	return core.Combine([]core.Outcome{in.Outcome(core.Failed, v.Err)})
}

// lookup returns a function that calls the delivery's handler, or nil if there is
// none.
func (r *Registry) lookup(d *Delivery) func(context.Context) error {
	if r != nil {
		if h := r.handlers[d.Task]; h != nil {
			return func(ctx context.Context) error { return h.call(ctx, d.Payload) }
		}
	}
	if d.fnTask != d.Task {
		return nil
	}
	return d.fn
}

// knows reports whether lookup finds a function for the delivery.
func (r *Registry) knows(d *Delivery) bool {
	return r != nil && r.handlers[d.Task] != nil || d.fn != nil && d.fnTask == d.Task
}

// call runs the middleware and the handler, and recovers their panics.
func (r *Registry) call(ctx context.Context, next func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	if r != nil {
		for _, m := range slices.Backward(r.middleware) {
			inner := next
			next = func(ctx context.Context) error { return m(ctx, inner) }
		}
	}
	return next(ctx)
}

// callApart is call on a new goroutine, which a Goexit may end.
func (r *Registry) callApart(ctx context.Context, next func(context.Context) error) error {
	answer := make(chan error, 1)
	go func() {
		returned := false
		defer func() {
			if !returned {
				answer <- errGoexit
			}
		}()
		err := r.call(ctx, next)
		returned = true
		answer <- err
	}()
	return <-answer
}

// Exited returns the verdict for a run whose handler ended its goroutine with
// runtime.Goexit. It is for workers that set OwnGoroutine. Perform then does not
// return and calls no observer, so the worker calls [Registry.Report].
func (d Delivery) Exited() Verdict { return d.verdict(context.Background(), errGoexit) }

var errGoexit = fmt.Errorf("airlock: the handler ended its goroutine with runtime.Goexit")

// Job is the job that a handler is running. [JobFrom] returns it. Printed or logged
// it shows task, ID and queue, and never headers or Native.
type Job struct {
	ID          string // the intent's ID; the same in every attempt
	Task        string
	Queue       string // "" if the backend has none
	Attempt     int    // which run this is, from 1
	MaxAttempts int    // runs in all; 0 if unknown here
	Headers     core.Headers
	Native      any `json:"-"` // the queue's own job value; nil if it has none
}

// String returns the job's task and ID, and its queue if it has one.
func (j Job) String() string { return identity(j.Task, j.ID, j.Queue) }

// Format prints the same as String for every verb.
func (j Job) Format(s fmt.State, _ rune) { io.WriteString(s, j.String()) } // fmt keeps the error

// LogValue logs task, ID, queue and attempt.
func (j Job) LogValue() slog.Value { return identityValue(j.Task, j.ID, j.Queue, j.Attempt) }

type jobKey struct{}

// JobFrom returns the job that ctx belongs to, inside a handler or middleware.
func JobFrom(ctx context.Context) (Job, bool) {
	if ctx == nil {
		return Job{}, false
	}
	if job, ok := ctx.Value(jobKey{}).(*Job); ok {
		return *job, true
	}
	return Job{}, false
}
