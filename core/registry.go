package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Registry is the worker half: the handlers by task name, and the middleware
// around them. One registry may serve several workers. It is safe for
// concurrent use. A nil *Registry knows no task of its own and takes no
// middleware.
type Registry struct {
	handlers   map[string]*Handler
	mu         sync.Mutex // serialises Use
	middleware atomic.Pointer[[]Middleware]
}

// Middleware runs around every handler of a [Registry]: it calls next, or not,
// and returns what the job's answer is to be. [JobFrom] tells it which job.
// Call next once; what it panics with passes through.
type Middleware func(ctx context.Context, next func(context.Context) error) error

// NewRegistry makes a registry of handlers. Everything that is wrong with any
// of them is reported at once, joined: bad tasks, nil functions, and two
// handlers for one task are [ErrInvalid].
func NewRegistry(handlers ...Handler) (*Registry, error) {
	r := &Registry{handlers: make(map[string]*Handler, len(handlers))}
	var errs []error
	for i := range handlers {
		h := handlers[i]
		switch {
		case h.err != nil:
			errs = append(errs, h.err)
		case h.call == nil:
			errs = append(errs, invalidf("zero Handler: handlers are made by Handle or Task.Handler"))
		case r.handlers[h.name] != nil:
			errs = append(errs, invalidf("task %s: two handlers", clip(h.name)))
		default:
			r.handlers[h.name] = &h
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// Tasks returns the names of all tasks that have a handler, sorted, for workers
// that must name their tasks to the queue.
func (r *Registry) Tasks() []string {
	if r == nil {
		return nil
	}
	names := make([]string, 0, len(r.handlers))
	for name := range r.handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Handles reports whether the task has a handler.
func (r *Registry) Handles(task string) bool {
	return r != nil && r.handlers[task] != nil
}

// Check returns nil if every intent can be run here: its task has a handler in
// the registry, or it came from a task of [NewTask]. Otherwise it returns the
// answer of an executor that refuses the call (duty 3 of [Executor]): the
// intents that cannot be run are Rejected with [ErrNoHandler], the others
// NotSent. For executors that run jobs in this process.
func (r *Registry) Check(intents ...Intent) error {
	var out []Outcome
	good := "" // a task name that has a handler here: most batches are of one task
	for i := range intents {
		in := &intents[i]
		switch own := in.held().handler; {
		case own != nil && own.name == in.Task:
		case good != "" && in.Task == good:
		case r.Handles(in.Task):
			good = in.Task
		default:
			out = reject(out, intents, i, &noHandlerError{in.Task})
		}
	}
	return Combine(out)
}

// Use adds middleware. The first one added is the outermost. Jobs that already
// run are not affected. A nil middleware is [ErrInvalid], and then none of the
// call is added.
func (r *Registry) Use(middleware ...Middleware) error {
	if r == nil {
		return invalidf("nil Registry")
	}
	if slices.ContainsFunc(middleware, func(m Middleware) bool { return m == nil }) {
		return invalidf("nil middleware")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Concat(r.stack(), middleware)
	r.middleware.Store(&all)
	return nil
}

func (r *Registry) stack() []Middleware {
	if r == nil {
		return nil
	}
	if p := r.middleware.Load(); p != nil {
		return *p
	}
	return nil
}

// Perform runs one delivery and says what to do with the job. It is the one
// place where a payload is decoded, Timeout and Deadline are applied, [JobFrom]
// gets its answer, and panics and runtime.Goexit are contained; an adapter only
// maps a delivery in and a verdict out.
//
// Perform returns when the handler has: a handler that ignores its context
// keeps it waiting. Unknown tasks and payloads that cannot be decoded are Dead
// at once, as is a job whose deadline is past. A handler that succeeds is Done,
// even if its time was up. A context that is done already is a Retry without
// the handler being called.
func (r *Registry) Perform(ctx context.Context, d Delivery) Verdict {
	if err := checkContext(ctx); err != nil {
		return Verdict{Action: Retry, Err: err}
	}
	h := r.lookup(&d)
	if h == nil {
		return Verdict{Action: Dead, Err: &noHandlerError{d.Task}}
	}
	if !d.startableAfter(0) {
		return Verdict{Action: Dead, Err: d.pastDeadline(nil)}
	}
	if ctx.Err() != nil {
		return Verdict{Action: Retry, After: d.Backoff.Wait(max(d.Attempt, 1)), Err: contextError(ctx)}
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	if !d.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.Deadline)
		defer cancel()
	}
	ctx = context.WithValue(ctx, jobKey{}, &Job{
		ID: d.ID, Task: d.Task, Queue: d.Queue, Headers: d.Headers,
		Attempt: max(d.Attempt, 1), MaxAttempts: d.MaxAttempts,
	})
	if d.OwnGoroutine {
		return d.judge(r.call(ctx, h, d.Payload))
	}
	return d.judge(r.callApart(ctx, h, d.Payload))
}

func (r *Registry) lookup(d *Delivery) *Handler {
	if r != nil {
		if h := r.handlers[d.Task]; h != nil {
			return h
		}
	}
	if d.handler != nil && d.handler.name == d.Task && d.handler.call != nil {
		return d.handler
	}
	return nil
}

// call runs the middleware and the handler, and contains their panics.
func (r *Registry) call(ctx context.Context, h *Handler, payload []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	stack := r.stack()
	if len(stack) == 0 {
		return h.call(ctx, h.codec, payload)
	}
	next := func(ctx context.Context) error { return h.call(ctx, h.codec, payload) }
	for _, m := range slices.Backward(stack) {
		inner := next
		next = func(ctx context.Context) error { return m(ctx, inner) }
	}
	return next(ctx)
}

// callApart is call on a goroutine of its own, which a Goexit may end.
func (r *Registry) callApart(ctx context.Context, h *Handler, payload []byte) error {
	answer := make(chan error, 1)
	go func() {
		returned := false
		defer func() {
			if !returned {
				answer <- errGoexit
			}
		}()
		err := r.call(ctx, h, payload)
		returned = true
		answer <- err
	}()
	return <-answer
}

// Exited returns the verdict on a run whose handler ended its goroutine with
// runtime.Goexit. It is for workers that set OwnGoroutine: Perform does not
// return to them then.
func (d Delivery) Exited() Verdict { return d.judge(errGoexit) }

// errGoexit is the answer of a handler that ended its goroutine.
var errGoexit = fmt.Errorf("airlock: the handler ended its goroutine with runtime.Goexit")

// Job tells a handler what it is running. See [JobFrom].
type Job struct {
	ID          string // the intent's ID; the same in every attempt
	Task        string
	Queue       string // "" if the backend has none
	Attempt     int    // which run this is, from 1
	MaxAttempts int    // runs in all; 0 if unknown here
	Headers     Headers
}

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
