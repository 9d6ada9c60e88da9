package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goairlock/airlock/core"
)

// Registry has what is needed to run jobs: the handlers by task name, the
// middleware around them and the observers of every run. [NewRegistry] makes it,
// and it never changes. Several workers may share a registry. It is safe for
// concurrent use. A nil *Registry has no handlers.
type Registry struct {
	handlers   map[string]*Handler
	middleware []Middleware
	observers  []Observer
}

// Part is a part of a [Registry]: a [Handler], a [Middleware] or an [Observer].
type Part interface{ addTo(*Registry) error }

// Middleware runs around every handler of a [Registry]. It calls next at most once
// and returns the result of the run. [JobFrom] returns the job. A panic of next
// passes through the middleware. The first middleware of a registry is the
// outermost.
type Middleware func(ctx context.Context, next func(context.Context) error) error

// NewRegistry makes a registry from handlers, middleware and observers. Bad tasks,
// nil functions and two handlers for one task are [core.ErrInvalid]. It returns all
// errors joined.
func NewRegistry(parts ...Part) (*Registry, error) {
	r := &Registry{handlers: make(map[string]*Handler, len(parts))}
	var errs []error
	for _, p := range parts {
		if p == nil {
			errs = append(errs, invalidf("nil Part of a Registry"))
			continue
		}
		if err := p.addTo(r); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

func (h Handler) addTo(r *Registry) error {
	switch {
	case h.err != nil:
		return h.err
	case h.call == nil:
		return invalidf("zero Handler: handlers are made by Handle")
	case r.handlers[h.task] != nil:
		return invalidf("task %s: two handlers", h.task)
	}
	r.handlers[h.task] = &h
	return nil
}

func (m Middleware) addTo(r *Registry) error {
	if m == nil {
		return invalidf("nil Middleware")
	}
	r.middleware = append(r.middleware, m)
	return nil
}

func (o Observer) addTo(r *Registry) error {
	if o == nil {
		return invalidf("nil Observer")
	}
	r.observers = append(r.observers, o)
	return nil
}

// Tasks returns the names of all tasks that have a handler, sorted. Some workers
// must name their tasks to the queue.
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

// Queues returns the queues in the tasks' default options, sorted and without
// repetition. A task without a default queue adds none.
func (r *Registry) Queues() []string {
	if r == nil {
		return nil
	}
	var names []string
	for _, h := range r.handlers {
		if h.queue != "" {
			names = append(names, h.queue)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Handles reports whether the task has a handler.
func (r *Registry) Handles(task string) bool {
	return r != nil && r.handlers[task] != nil
}

// Check returns nil if every intent can be run here: its task has a handler in the
// registry, or the intent is from a task of [core.NewTask]. Otherwise it returns a
// [*core.DispatchError] (duty 3 of [core.Executor]): intents that cannot be run are
// Rejected with [core.ErrNoHandler], and the others are NotSent. It is for
// executors that run jobs in this process.
func (r *Registry) Check(intents ...core.Intent) error {
	var out []core.Outcome
	good := "" // a task that has a handler: most calls have one task
	for i := range intents {
		in := &intents[i]
		switch {
		case good != "" && in.Task == good:
		case r.Handles(in.Task):
			good = in.Task
		case in.Func() != nil:
		default:
			out = core.Reject(out, intents, i, core.NoHandlerError(in.Task))
		}
	}
	return core.Combine(out)
}

// Handler is a task's name and the function that runs its jobs. [Handle] makes it.
type Handler struct {
	task  string
	queue string // of the task's defaults
	err   error
	call  func(ctx context.Context, payload []byte) error
}

// Handle makes a handler that runs a task's jobs with fn. [NewRegistry] reports an
// invalid task and a nil fn. For a task of [core.NewTask], pass task.Func() as fn.
//
// fn returns nil if the work is done, an error if the job should run again, a
// [Permanent] error if running again is useless, and [Snooze] to run again later
// without using up an attempt. The result counts even after the job's time is
// over. The context of fn ends at the job's Timeout and Deadline, and when the
// worker stops. [JobFrom] returns the job and the attempt. fn must be safe for
// concurrent use. It must also be safe to run again, because a queue may deliver a
// job more than once.
//
// If the arguments are not in the codec's format, the job is dead. If a value does
// not fit the type A, the attempt has failed and the job runs again: during a
// rolling deploy, a worker of the other version may be able to read it.
func Handle[A any](t core.Task[A], fn func(ctx context.Context, args A) error) Handler {
	h := Handler{task: t.Name(), queue: t.Defaults().Queue, err: t.Validate()}
	if h.err == nil && fn == nil {
		h.err = invalidf("task %s: nil handler", h.task)
	}
	h.call = func(ctx context.Context, payload []byte) error {
		args, err := t.Decode(payload)
		if err != nil {
			return err
		}
		return fn(ctx, args)
	}
	return h
}

// Task returns the name of the handler's task.
func (h Handler) Task() string { return h.task }

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
