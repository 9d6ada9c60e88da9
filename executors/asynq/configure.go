package asynqexec

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

// Configure prepares a server's configuration for [Handler], before it is given to
// asynq.NewServer. What it already says goes on to hold for native jobs:
//
//   - RetryDelayFunc keeps core.Backoff and core.Snooze, rounded up to the second,
//     and asks the one that was there for every other job.
//   - IsFailure says that a snoozed or parked job has not failed.
//   - ErrorHandler is not told of a snooze.
//   - BaseContext tells the handler that the configuration has been here.
//
// A nil cfg is [core.ErrInvalid]; there is no other error. For lanes see [Lanes].
func Configure(cfg *asynq.Config) error {
	if cfg == nil {
		return invalid("Configure: nil asynq.Config")
	}
	delay, failure, handler, base := cfg.RetryDelayFunc, cfg.IsFailure, cfg.ErrorHandler, cfg.BaseContext
	if delay == nil {
		delay = asynq.DefaultRetryDelayFunc
	}
	cfg.RetryDelayFunc = func(n int, err error, t *asynq.Task) time.Duration {
		if wait := waitFor(n, err, t); wait > 0 {
			return untilSecond(time.Now(), wait)
		}
		return delay(n, err, t)
	}
	cfg.IsFailure = func(err error) bool {
		if isSnooze(err) {
			return false
		}
		return failure == nil || failure(err)
	}
	if handler != nil {
		cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
			if !isSnooze(err) || errors.Is(err, core.ErrNoHandler) {
				handler.HandleError(ctx, t, err)
			}
		})
	}
	cfg.BaseContext = func() context.Context {
		ctx := context.Background()
		if base != nil {
			ctx = base()
		}
		return context.WithValue(ctx, configured{}, true)
	}
	return nil
}

// configured is the key of a context value that says that Configure was called.
type configured struct{}

func isSnooze(err error) bool {
	var a *answer
	return errors.As(err, &a) && a.action == core.Snoozed
}

// waitFor is how long a job waits for its next run, 0 if that is the server's
// choice. asynq asks when a handler has answered, and also when a time-out or a
// lease is over; n is how many retries there have been.
func waitFor(n int, err error, t *asynq.Task) time.Duration {
	var a *answer
	if errors.As(err, &a) && a.after > 0 {
		return a.after
	}
	envelope, ok := t.Headers()[envelopeHeader]
	if !ok {
		return 0
	}
	env, bad := core.DecodeEnvelope([]byte(envelope))
	if bad != nil {
		return 0
	}
	return env.Backoff.Wait(n + 1)
}

// untilSecond makes a wait end on a full second: asynq cuts the fraction of the
// time off, and the job would be early.
func untilSecond(now time.Time, wait time.Duration) time.Duration {
	return nextSecond(now.Add(wait)).Sub(now)
}
