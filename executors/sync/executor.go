// Package syncexec runs jobs in the caller's goroutine, at once: for tests, for
// programs without a queue, and for the day on which the queue is down.
//
// Jobs run through [core.Registry.Perform], as the jobs of every queue do, so
// what passes here passes there: arguments are encoded and decoded again, the
// handler sees a [core.Job] and none of its producer's context values, and a
// panic is a failed attempt.
//
// # Mapping
//
//	Queue        holds by itself: there is one goroutine, and no queue
//	Priority     holds by itself: nothing waits
//	Delay, At    refused: the caller would wait
//	MaxAttempts  attempts follow each other in the call; 1 without it
//	Backoff      the caller sleeps between attempts; without it there is no wait
//	Timeout      of each attempt, exact
//	Deadline     exact
//	ID           remembered while the job runs and after it succeeded
//	Unique       holds by itself: when the call returns no job is unfinished, and
//	             while it runs a second job of the key is a Duplicate
//	Header       seen by the handler
//
// # Delivery
//
// Once, in the order given, before the call returns. A job that fails for good
// ends the call: it is Failed with the handler's own error, and the intents
// after it are NotSent. [core.Snooze] fails the job, for there is no later.
//
// # Errors
//
// A task without a handler is Rejected with [core.ErrNoHandler] before anything
// runs. When the context ends, the attempt that is under way ends as its handler
// sees fit, and no further one is made.
//
// # Concurrency
//
// Calls run side by side, each in its own caller's goroutine. The handler itself
// is called on a goroutine of its own, for which the caller waits, so that a
// handler that ends its goroutine does not end the caller's.
//
// # Refused
//
// Delay and At, and the native options of other executors.
package syncexec

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/ids"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Registry has the handlers. Nil, or for a task that it does not know, the
	// handler that [core.NewTask] was given is called.
	Registry *core.Registry

	// RememberIDs is how many IDs of jobs that succeeded are remembered, so that
	// the same intent sent again is not run again. 0 means 10 000. Less than 0
	// remembers none.
	RememberIDs int
}

const (
	name               = "sync"
	defaultRememberIDs = 10_000
)

// Executor runs jobs in the caller's goroutine. It is made by [New].
type Executor struct {
	registry *core.Registry
	guarded  core.Executor
	caps     core.Capabilities

	mu     sync.Mutex
	known  *ids.Set           // guarded by mu
	unique map[uniqueKey]bool // guarded by mu; of jobs that run
}

type uniqueKey struct{ task, queue, key string }

// New returns an executor. Nil opts are the zero [Options]. The error is always
// nil; it is there so that all executors are made alike.
func New(opts *Options) (*Executor, error) {
	if opts == nil {
		opts = &Options{}
	}
	remember := opts.RememberIDs
	switch {
	case remember == 0:
		remember = defaultRememberIDs
	case remember < 0:
		remember = 0
	}
	e := &Executor{
		registry: opts.Registry,
		caps:     capabilities(remember),
		known:    ids.New(remember),
		unique:   make(map[uniqueKey]bool),
	}
	e.guarded = core.Guard(e.caps, e.run)
	return e, nil
}

// Execute runs the intents' jobs in order and returns when the last one has
// ended, or the first one has failed for good. It is a [core.Executor].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option.
func (e *Executor) Capabilities() core.Capabilities { return e.caps }

func capabilities(remember int) core.Capabilities {
	itself := func(why string) core.Claim { return core.Claim{Support: core.NotApplicable, Reason: why} }
	exact := core.Claim{Support: core.Native, Granularity: time.Nanosecond}
	window := core.Window{Kind: core.StoredWindow, Count: remember}
	if remember == 0 {
		window = core.Window{Kind: core.UnfinishedWindow}
	}
	return core.Capabilities{
		Executor: name,
		Options: map[core.OptionName]core.Claim{
			core.OptionQueue:       itself("every job runs at once, in its caller's goroutine"),
			core.OptionPriority:    itself("no job waits for another"),
			core.OptionDelay:       {Reason: "the caller would wait"},
			core.OptionMaxAttempts: {Support: core.Native},
			core.OptionBackoff:     exact,
			core.OptionTimeout:     exact,
			core.OptionDeadline:    exact,
			core.OptionID:          {Support: core.Native},
			core.OptionUnique:      itself("no job is left unfinished when the call returns"),
			core.OptionHeader:      {Support: core.Native},
		},
		Delivery:        core.AtMostOnce,
		Durability:      core.InProcess,
		Order:           core.FIFO,
		Batch:           core.PartialBatch,
		IDWindow:        window,
		DefaultAttempts: 1,
	}
}

// run is Execute behind the guard.
func (e *Executor) run(ctx context.Context, intents ...core.Intent) error {
	if err := e.registry.Check(intents...); err != nil {
		return err
	}
	out := core.OutcomesOf(nil, intents)
	for i := range intents {
		out[i].State, out[i].Err = e.one(ctx, &intents[i])
		if s := out[i].State; s == core.Accepted || s == core.Duplicate {
			continue
		}
		for j := i + 1; j < len(intents); j++ {
			out[j].State, out[j].Err = core.NotSent, errAfterFailure
			if ctx.Err() != nil {
				out[j].Err = ended(ctx)
			}
		}
		break
	}
	return core.Combine(out)
}

var errAfterFailure = fmt.Errorf("airlock: sync: an earlier intent of the call failed: %w", core.ErrNotSent)

// ended is the context's error, with its cause where it was given one.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// one runs the job of one intent to its end.
func (e *Executor) one(ctx context.Context, in *core.Intent) (core.State, error) {
	if ctx.Err() != nil {
		return core.NotSent, ended(ctx)
	}
	key := uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
	if state, done := e.begin(in, key); done {
		return state, nil
	}
	state := core.Failed // unless attempts returns to say otherwise
	defer func() { e.end(in, key, state) }()
	var err error
	state, err = e.attempts(ctx, in)
	return state, err
}

// begin notes that the job runs, unless it is known or its key is taken.
func (e *Executor) begin(in *core.Intent, key uniqueKey) (state core.State, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.known.State(in.ID) != ids.Unknown && (in.ChosenID() || key.key != ""):
		return core.Duplicate, true
	case e.known.State(in.ID) != ids.Unknown:
		return core.Accepted, true
	case key.key != "" && e.unique[key]:
		return core.Duplicate, true
	}
	e.known.Add(in.ID)
	if key.key != "" {
		e.unique[key] = true
	}
	return 0, false
}

func (e *Executor) end(in *core.Intent, key uniqueKey, state core.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if state == core.Accepted {
		e.known.Succeed(in.ID)
	} else {
		e.known.Release(in.ID)
	}
	delete(e.unique, key)
}

// attempts performs the job as often as it may be.
func (e *Executor) attempts(ctx context.Context, in *core.Intent) (core.State, error) {
	d := in.Delivery()
	d.MaxAttempts = max(d.MaxAttempts, 1)
	jobCtx := core.WithoutValues(ctx)
	for {
		v := e.registry.Perform(jobCtx, d)
		switch v.Action {
		case core.Done:
			return core.Accepted, nil
		case core.Dead:
			return core.Failed, v.Err
		case core.Snoozed:
			return core.Failed, fmt.Errorf("airlock: sync: task %s: there is no later to snooze to: %w", in.Task, v.Err)
		}
		if !wait(ctx, v.After) {
			return core.Failed, fmt.Errorf("airlock: sync: task %s: %w after attempt %d of %d: %w",
				in.Task, ended(ctx), d.Attempt, d.MaxAttempts, v.Err)
		}
		d.Attempt++
	}
}

// wait sleeps, and reports whether ctx lasted.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
