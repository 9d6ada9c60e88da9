package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// maxErrorText bounds the error text that is stored with a job, in bytes.
const maxErrorText = 16 << 10

// answer is a verdict as the error that asynq's handler returns.
type answer struct {
	text   string
	cause  error
	action worker.Action
	after  time.Duration // until the next run; 0 for the server's own schedule
}

func (a *answer) Error() string { return a.text }

func (a *answer) Unwrap() []error {
	if a.action == worker.Dead {
		return []error{a.cause, asynq.SkipRetry}
	}
	return []error{a.cause}
}

// atNoCost reports whether the run was no attempt.
func (a *answer) atNoCost() bool {
	return a.action == worker.Snoozed || a.action == worker.Parked || a.action == worker.Interrupted
}

// feasible returns the verdict as far as asynq can obey it. Parked gets its wait.
func (s *settings) feasible(ctx context.Context, v worker.Verdict, d *worker.Delivery) worker.Verdict {
	switch {
	case v.Action == worker.Retry && ownSentinel(v.Err):
		return worker.Verdict{Action: worker.Dead, Err: v.Err}
	case v.Action == worker.Parked:
		v.After = s.parkFor
	case v.Action != worker.Snoozed:
		return v
	}
	if !hasSlack(ctx) {
		return worker.Verdict{Action: worker.Dead, Err: fmt.Errorf(
			"airlock: asynq: task %s: asynq cannot keep a task in the last attempt that its MaxRetry allows: %w", d.Task, v.Err)}
	}
	return v
}

// ownSentinel returns whether a handler's error is one with which a native handler
// makes asynq not try again.
func ownSentinel(err error) bool {
	return errors.Is(err, asynq.SkipRetry) || errors.Is(err, asynq.RevokeTask)
}

// apply returns the verdict as asynq's handler answers it, nil if the job is done.
func (s *settings) apply(ctx context.Context, v worker.Verdict) error {
	if v.Action == worker.Done {
		return nil
	}
	if ownSentinel(v.Err) { // asynq would obey it and not the verdict
		v.Err = errors.New(adapter.ErrorText(v.Err, maxErrorText))
	}
	if v.Action == worker.Interrupted && !hasSlack(ctx) {
		// Any answer would archive the task. asynq itself puts it back, as a job that
		// has not ended in time, and then ends ctx.
		s.omitPutBack(ctx)
		<-ctx.Done()
	}
	// asynq calls Error where a panic would end the process, and cannot store a
	// message that is not UTF-8: the job would hang until its lease is over.
	return &answer{text: adapter.ErrorText(v.Err, maxErrorText), cause: v.Err, action: v.Action, after: v.After}
}

// omitPutBack leaves out asynq's lines about a job that it puts back, which was logged.
func (s *settings) omitPutBack(ctx context.Context) {
	if id, ok := asynq.GetTaskID(ctx); ok && s.log != nil {
		s.log.omit(asynq.WarnLevel, lineQuitting+id)
		s.log.omit(asynq.InfoLevel, fmt.Sprintf(linePushed, id))
	}
}

// waitFor returns how long a job waits for its next run, or false if that is for
// the server's own schedule. asynq asks when a handler has answered, and also when
// a lease is over; n is how many retries there have been.
func waitFor(n int, err error, t *asynq.Task) (time.Duration, bool) {
	var a *answer
	if errors.As(err, &a) {
		return a.after, a.after > 0 || a.action == worker.Interrupted
	}
	envelope, own := t.Headers()[envelopeHeader]
	if !own {
		return 0, false
	}
	env, bad := adapter.DecodeEnvelope([]byte(envelope))
	if bad != nil {
		return 0, false
	}
	if env.MaxAttempts > 0 && n+1 >= env.MaxAttempts {
		return 0, true // it will not be run again, only archived
	}
	wait := env.Backoff.Wait(n + 1)
	return wait, wait > 0
}
