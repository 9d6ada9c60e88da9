package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// Action says what a worker does with a job after a run.
type Action uint8

// The actions of a [Verdict].
const (
	Done    Action = iota // acknowledge it: the work is done
	Retry                 // run it again as the next attempt
	Dead                  // do not run it again: keep it with the failed jobs
	Snoozed               // run it again without counting this run as an attempt
	// Parked: this worker does not know the task, or cannot read the job. Keep it
	// for a worker that does, without counting an attempt or blocking other jobs.
	Parked
	// Interrupted: the worker's own context has ended. Put the job back without
	// counting an attempt.
	Interrupted
)

var actionNames = [...]string{
	Done: "done", Retry: "retry", Dead: "dead", Snoozed: "snoozed", Parked: "parked", Interrupted: "interrupted",
}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Verdict is the result of a run and says what the worker does with the job.
type Verdict struct {
	Action Action
	// After is how long to wait before the next run, for Retry and Snoozed. For a
	// Retry, 0 means that the job has no backoff and the backend's own applies.
	After time.Duration
	// Err is the handler's error, a [*core.PanicError], or the reason why the handler
	// was not called. Nil if Done.
	Err error
}

// Permanent marks an error as one that running again cannot fix. The job is dead,
// even if it has attempts left, and even if err is a [Snooze]. Permanent(nil) is
// nil. [IsPermanent] finds the mark in wrapped errors too.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked with
// [Permanent].
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Snooze returns an error for a handler that waits for something. The job runs
// again after d at the earliest, and this run does not count as an attempt. d is
// more than 0 and at most 100 years, otherwise the attempt has failed. The
// documentation of an executor says if its backend cannot keep the count.
func Snooze(d time.Duration) error { return &snoozeError{d} }

type snoozeError struct{ wait time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("airlock: snooze for %v", e.wait) }

// IsSnooze reports whether err, or an error that it wraps, was made by [Snooze], and
// its duration.
func IsSnooze(err error) (d time.Duration, ok bool) {
	var s *snoozeError
	if errors.As(err, &s) {
		return s.wait, true
	}
	return 0, false
}

// maxSnooze is the longest delay that core allows.
const maxSnooze = 100 * 365 * 24 * time.Hour

// verdict returns the verdict for a handler's error. ctx is the worker's, without
// the job's Timeout and Deadline.
func (d *Delivery) verdict(ctx context.Context, err error) Verdict {
	if err == nil {
		return Verdict{Action: Done}
	}
	err = core.Sound(err)
	permanent := IsPermanent(err) || errors.Is(err, core.ErrMalformed)
	if after, ok := IsSnooze(err); ok && !permanent {
		switch {
		case after <= 0 || after > maxSnooze:
			err = invalidf("task %s: snooze for %v, want more than 0 and at most %v", d.Task, after, maxSnooze)
		case d.startableAfter(after):
			return Verdict{Action: Snoozed, After: after, Err: err}
		default:
			return Verdict{Action: Dead, Err: d.pastDeadline(err)}
		}
	}
	switch wait := d.Backoff.Wait(max(d.Attempt, 1)); {
	case permanent:
		return Verdict{Action: Dead, Err: err}
	case ctx.Err() != nil && context.Cause(ctx) != ErrCanceled:
		return Verdict{Action: Interrupted, Err: err}
	case d.MaxAttempts > 0 && d.Attempt >= d.MaxAttempts:
		return Verdict{Action: Dead, Err: err}
	case !d.startableAfter(wait):
		return Verdict{Action: Dead, Err: d.pastDeadline(err)}
	default:
		return Verdict{Action: Retry, After: wait, Err: err}
	}
}

// startableAfter reports whether a run may still start after wait.
func (d *Delivery) startableAfter(wait time.Duration) bool {
	return d.Deadline.IsZero() || time.Now().Add(wait).Before(d.Deadline)
}

func (d *Delivery) pastDeadline(err error) error {
	past := fmt.Errorf("airlock: task %s: no run after the deadline %s: %w",
		d.Task, d.Deadline.Format(time.RFC3339), context.DeadlineExceeded)
	if err == nil {
		return past
	}
	return fmt.Errorf("%w, after %w", past, err)
}
