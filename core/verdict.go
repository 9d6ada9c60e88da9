package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Delivery is one run of a job, as an adapter's worker half received it from
// the queue. Printed or logged it shows identity and attempt, never payload or
// headers.
type Delivery struct {
	ID      string  // the job's ID, from the Envelope or else the queue's own
	Task    string  // the task's name
	Queue   string  // "" if the backend has none
	Payload []byte  `json:"-"` // the encoded arguments; not changed by Perform
	Headers Headers // what the producer attached

	Attempt     int           // which run this is, from 1; less counts as 1
	MaxAttempts int           // runs in all; 0 if the backend counts, or nobody does
	Backoff     BackoffPolicy // between attempts; zero for the backend's own
	Timeout     time.Duration // of this attempt; 0 for none
	Deadline    time.Time     // neither started nor retried after it; zero for none

	// OwnGoroutine says that Perform runs on a goroutine that the worker made
	// for running jobs and whose end by runtime.Goexit it notices and survives.
	// Perform then calls the handler right there. Otherwise it starts a
	// goroutine for the handler, since a Goexit cannot be stopped.
	OwnGoroutine bool

	handler *Handler // of NewTask, when the job never left the process
}

// String returns task, ID and queue.
func (d Delivery) String() string { return identity(d.Task, d.ID, d.Queue) }

// Format prints the same as String for every verb.
func (d Delivery) Format(s fmt.State, _ rune) { io.WriteString(s, d.String()) } // fmt keeps it

// LogValue logs ID, task and queue.
func (d Delivery) LogValue() slog.Value { return identityValue(d.Task, d.ID, d.Queue) }

// Action is what a worker is to do with a job that has run.
type Action uint8

// The actions of a [Verdict].
const (
	Done    Action = iota // acknowledge: the work is done
	Retry                 // run it again, as a further attempt
	Dead                  // never again: keep it where failed jobs are kept
	Snoozed               // run it again, and do not count this run as an attempt
)

var actionNames = [...]string{Done: "done", Retry: "retry", Dead: "dead", Snoozed: "snooze"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// Verdict is what became of one run, and so what the worker is to do.
type Verdict struct {
	Action Action
	// After is how long to wait before the next run, for Retry and Snooze. For a
	// Retry 0 means that the job brought no backoff and the backend's own holds.
	After time.Duration
	// Err is why: the handler's own error, a [*PanicError], or what kept the
	// handler from being called. Nil if Done.
	Err error
}

// Unhandled reports that nobody here knows the task. An adapter keeps such a
// job where a worker that knows it can still get it, if the backend has such a
// place.
func (v Verdict) Unhandled() bool {
	_, ok := v.Err.(*noHandlerError)
	return ok
}

type noHandlerError struct{ task string }

func (e *noHandlerError) Error() string {
	return fmt.Sprintf("airlock: no handler for task %s", clip(e.task))
}
func (e *noHandlerError) Is(target error) bool { return target == ErrNoHandler }

// Permanent marks an error as one that trying again cannot mend: the job is
// dead at once, whatever attempts it has left, and even if err is a [Snooze].
// Permanent(nil) is nil. [IsPermanent] finds the mark through every wrapping.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked by
// [Permanent].
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Snooze is what a handler returns to be called again after d, at the earliest,
// without this run having been an attempt: what it waits for is not there yet.
// d is more than 0 and at most 100 years; anything else counts as a failure of
// the attempt. Where the backend cannot keep the count, the executor says so.
func Snooze(d time.Duration) error { return &snoozeError{d} }

type snoozeError struct{ wait time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("airlock: snooze for %v", e.wait) }

// judge turns the handler's answer into a verdict.
func (d *Delivery) judge(err error) Verdict {
	if err == nil {
		return Verdict{Action: Done}
	}
	err = sound(err)
	var snooze *snoozeError
	if errors.As(err, &snooze) && !IsPermanent(err) {
		bad := checkSpan("snooze", snooze.wait)
		if bad == nil && d.startableAfter(snooze.wait) {
			return Verdict{Action: Snoozed, After: snooze.wait, Err: err}
		}
		if bad == nil {
			return Verdict{Action: Dead, Err: d.pastDeadline(err)}
		}
		err = about("task "+d.Task, bad)
	}
	switch wait := d.Backoff.Wait(max(d.Attempt, 1)); {
	case IsPermanent(err):
		return Verdict{Action: Dead, Err: err}
	case d.MaxAttempts > 0 && d.Attempt >= d.MaxAttempts:
		return Verdict{Action: Dead, Err: err}
	case !d.startableAfter(wait):
		return Verdict{Action: Dead, Err: d.pastDeadline(err)}
	default:
		return Verdict{Action: Retry, After: wait, Err: err}
	}
}

// startableAfter reports whether a run that starts after wait is in time.
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
