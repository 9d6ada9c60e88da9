package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

// parkFor is how long a job waits for a server that knows its task.
const parkFor = time.Minute

// Handler returns the handler for an asynq.Server that works jobs with the
// registry: those that an [Executor] has dispatched, and those of native producers.
// Tasks are found by their exact names, unlike in an asynq.ServeMux, which takes
// prefixes. A task that the registry does not know is parked: tried again every
// minute, at the cost of no attempt. The last attempt of such a job is archived.
//
// The server's Config must have been through [Configure]; without it every job
// fails with an error that says so.
//
// A handler's [core.Snooze] costs no attempt. In a job's last attempt asynq cannot
// keep it: the job is archived, with an error that says so.
func Handler(reg *core.Registry) asynq.Handler { return Middleware(reg)(nil) }

// Middleware is [Handler] beside native handlers: tasks that the registry does not
// know go to the next handler, such as an asynq.ServeMux. Without a next handler
// they are parked.
func Middleware(reg *core.Registry) asynq.MiddlewareFunc {
	return func(next asynq.Handler) asynq.Handler { return &worker{reg, next} }
}

type worker struct {
	reg  *core.Registry
	next asynq.Handler // may be nil
}

// ProcessTask runs one delivery.
func (w *worker) ProcessTask(ctx context.Context, t *asynq.Task) error {
	if w.next != nil && !w.reg.Handles(t.Type()) {
		return w.next.ProcessTask(ctx, t)
	}
	if _, served := asynq.GetTaskID(ctx); served && ctx.Value(configured{}) == nil {
		return errNotConfigured
	}
	d, err := delivery(ctx, t)
	if err != nil {
		return verdictOf(core.Verdict{Action: core.Dead, Err: err}, d)
	}
	return verdictOf(w.reg.Perform(withoutLimit(ctx), d), d)
}

var errNotConfigured = errors.New("airlock: asynq: the server's Config has not been through asynqexec.Configure")

// delivery is the task as the registry takes it. Its error is one of the envelope.
func delivery(ctx context.Context, t *asynq.Task) (core.Delivery, error) {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	d := core.Delivery{ID: id, Task: t.Type(), Queue: queueOf(queue), Payload: t.Payload(), Attempt: retried + 1}
	if most, ok := asynq.GetMaxRetry(ctx); ok {
		d.MaxAttempts = most + 1
	}
	headers := t.Headers()
	envelope, own := headers[envelopeHeader]
	if !own {
		d.Headers = core.NewHeaders(headers)
		return d, nil
	}
	given := make(map[string]string, len(headers))
	for k, v := range headers {
		if k != envelopeHeader {
			given[k] = v
		}
	}
	d.Headers = core.NewHeaders(given)
	env, err := core.DecodeEnvelope([]byte(envelope))
	d.Backoff, d.Timeout, d.Deadline = env.Backoff, env.Timeout, env.Deadline
	return d, err
}

// answer is what a handler's verdict looks like to asynq.
type answer struct {
	text   string
	cause  error
	action core.Action
	after  time.Duration // until the next run; 0 for the server's own schedule
}

func (a *answer) Error() string { return a.text }

func (a *answer) Unwrap() []error {
	if a.action == core.Dead {
		return []error{a.cause, asynq.SkipRetry}
	}
	return []error{a.cause}
}

// verdictOf returns nil for a job that is done.
func verdictOf(v core.Verdict, d core.Delivery) error {
	if v.Action == core.Done {
		return nil
	}
	last := d.MaxAttempts > 0 && d.Attempt >= d.MaxAttempts
	a := &answer{cause: v.Err, action: v.Action, after: v.After}
	switch {
	case v.Unhandled() && !last:
		a.action, a.after = core.Snoozed, parkFor
	case v.Action == core.Snoozed && last:
		a.action = core.Dead
		a.cause = fmt.Errorf("airlock: asynq: task %s: asynq keeps no snooze in the last attempt: %w", d.Task, v.Err)
	}
	// asynq calls Error where a panic would end the process, and cannot store a
	// message that is not UTF-8: the job would hang until its lease is over.
	a.text = strings.ToValidUTF8(fmt.Sprintf("%v", a.cause), "\uFFFD")
	return a
}

// withoutLimit hides the time limit that stands for none.
func withoutLimit(ctx context.Context) context.Context {
	if end, ok := ctx.Deadline(); ok && time.Until(end) > longest/2 {
		return limitless{ctx}
	}
	return ctx
}

type limitless struct{ context.Context }

func (limitless) Deadline() (time.Time, bool) { return time.Time{}, false }
