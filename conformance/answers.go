package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// answer is one way in which a handler ends.
type answer struct {
	name string
	give func(ctx context.Context) error
}

var (
	succeeds  = answer{"nil", func(context.Context) error { return nil }}
	fails     = answer{"an error", func(context.Context) error { return errOnPurpose }}
	permanent = answer{"a permanent error", func(context.Context) error { return worker.Permanent(errOnPurpose) }}
)

func snoozes(d time.Duration) answer {
	return answer{fmt.Sprintf("a snooze for %v", d), func(context.Context) error { return worker.Snooze(d) }}
}

// someAnswers has one answer for each thing that a worker may do with a job.
func someAnswers(wait time.Duration) []answer {
	return []answer{succeeds, fails, permanent, snoozes(wait)}
}

// manyAnswers are further answers. An adapter that compares errors, instead of
// asking worker.Registry.Perform, takes some of them for something else.
func manyAnswers(wait time.Duration) []answer {
	returns := func(name string, err error) answer {
		return answer{name, func(context.Context) error { return err }}
	}
	panicsWith := func(name string, v any) answer {
		return answer{"a panic with " + name, func(context.Context) error { panic(v) }}
	}
	var typedNil *typedError
	outer := func(err error) error { return fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", err)) }
	broken := core.Combine([]core.Outcome{{ID: "other", State: core.NotSent, Err: core.ErrUnavailable}})
	return []answer{
		returns("an error without text", errors.New("")),
		returns("a typed nil pointer", typedNil),
		returns("io.EOF", io.EOF),
		returns("joined errors", errors.Join(io.EOF, errOnPurpose)),
		returns("context.Canceled", context.Canceled),
		returns("context.DeadlineExceeded", context.DeadlineExceeded),
		returns("a wrapped context.Canceled", outer(context.Canceled)),
		returns("a joined context.DeadlineExceeded", errors.Join(errOnPurpose, context.DeadlineExceeded)),
		{"the error of a context of its own", func(ctx context.Context) error {
			own, cancel := context.WithCancelCause(ctx)
			cancel(errOnPurpose)
			return core.ContextError(own)
		}},
		returns("core.ErrClosed", core.ErrClosed),
		returns("core.ErrDuplicate", outer(core.ErrDuplicate)),
		returns("core.ErrNoHandler", outer(core.ErrNoHandler)),
		returns("core.ErrInvalid", outer(core.ErrInvalid)),
		returns("core.ErrMalformed", outer(core.ErrMalformed)),
		returns("worker.ErrLaterVersion", outer(worker.ErrLaterVersion)),
		returns("the error of a dispatch", outer(broken)),
		returns("a wrapped permanent error", outer(worker.Permanent(errOnPurpose))),
		returns("a joined permanent error", errors.Join(io.EOF, worker.Permanent(errOnPurpose))),
		returns("a permanent context.Canceled", worker.Permanent(context.Canceled)),
		returns("a permanent snooze", worker.Permanent(worker.Snooze(wait))),
		returns("a snooze joined with a permanent error", errors.Join(worker.Snooze(wait), worker.Permanent(io.EOF))),
		returns("a wrapped snooze", outer(worker.Snooze(wait))),
		returns("a joined snooze", errors.Join(errOnPurpose, worker.Snooze(wait))),
		returns("a snooze with context.Canceled", errors.Join(context.Canceled, worker.Snooze(wait))),
		returns("a snooze for no time", worker.Snooze(0)),
		returns("a snooze for 200 years", worker.Snooze(200*365*24*time.Hour)),
		panicsWith("nil", nil),
		panicsWith("a string", "on purpose"),
		panicsWith("an error", errOnPurpose),
		panicsWith("a struct", struct{ n int }{}),
		panicsWith("a pointer", new(int)),
		panicsWith("context.Canceled", context.Canceled),
		panicsWith("a permanent error", worker.Permanent(errOnPurpose)),
		panicsWith("a snooze", worker.Snooze(wait)),
		{"a runtime error", func(context.Context) error { var none []int; _ = none[len(none)]; return nil }},
		{"a Goexit", func(context.Context) error { runtime.Goexit(); return nil }},
	}
}

// failure returns one of the answers with which an attempt has failed.
func (p *probe) failure() answer {
	d := worker.Delivery{Attempt: 1, MaxAttempts: 2}
	var failures []answer
	for _, a := range append(manyAnswers(time.Second), fails) {
		if a.verdictOf(d).Action == worker.Retry {
			failures = append(failures, a)
		}
	}
	return failures[p.rand.IntN(len(failures))]
}

// verdictOf is what Perform wants done with a job that a handler has answered in this
// way. It calls the answer.
func (a answer) verdictOf(d worker.Delivery) worker.Verdict {
	d.Task, d.Payload = "conformance.expected", []byte(`{}`)
	task := core.NewTask(d.Task, func(ctx context.Context, _ jobArgs) error { return a.give(ctx) })
	reg, err := worker.NewRegistry(worker.Handle(task, task.Func()))
	if err != nil {
		return worker.Verdict{Err: err}
	}
	return reg.Perform(context.Background(), d)
}

// script has the answers of a job's runs, in order. After the last one it succeeds.
type script []answer

func (sc script) at(ordinal int) answer {
	if ordinal <= len(sc) {
		return sc[ordinal-1]
	}
	return succeeds
}

func (sc script) handler(r *run) error { return sc.at(r.ordinal).give(r.ctx) }

func (sc script) String() string {
	text := ""
	for i, a := range sc {
		if i > 0 {
			text += ", then "
		}
		text += a.name
	}
	return text
}

// step is one run that a script leads to.
type step struct {
	attempt int
	before  worker.Verdict // of the run before; a Done before the first
}

// predict returns the runs of a job that has this first delivery, and the verdict of
// the last one. An executor that runs jobs itself has no later run after a snooze.
func (sc script) predict(d worker.Delivery, inline bool) (steps []step, last worker.Verdict) {
	for ordinal := 1; ; ordinal++ {
		steps = append(steps, step{d.Attempt, last})
		last = sc.at(ordinal).verdictOf(d)
		switch {
		case last.Action == worker.Retry:
			d.Attempt++
		case last.Action == worker.Snoozed && !inline:
		default:
			return steps, last
		}
	}
}
