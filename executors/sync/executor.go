// Package syncexec runs jobs at once, while the caller waits: for tests, for programs
// without a queue, and as a fallback when the queue is down.
//
// Jobs run through [worker.Registry.Perform], as the jobs of every queue do.
// Arguments are encoded and decoded again, the handler sees a [worker.Job] and none
// of its producer's context values, and a panic is a failed attempt.
//
// # Mapping
//
//	Queue        always true here: there is no queue to wait in. The handler sees
//	             the name, and it is part of a unique key's scope
//	Priority     always true here: no job waits
//	Delay, At    refused: the caller would have to wait
//	MaxAttempts  the call makes the attempts, one after the other; 1 if unset
//	Backoff      the call waits between attempts; no wait if unset
//	Timeout      exact, for each attempt
//	Deadline     exact
//	ID           remembered while the job runs and after it has succeeded, see
//	             Options.RememberIDs. The ID of a failed job is free
//	Unique       always true here: no job is unfinished when the call returns. While
//	             a job runs, a second one of its key is a Duplicate
//	Header       passed to the handler
//
// # Delivery
//
// Once, in the order given, before the call returns. A job that fails in its last
// attempt ends the call: it is Failed with the handler's own error, and the intents
// after it are NotSent. [worker.Snooze] fails the job, because there is no later run.
//
//	Delivery.Native  nil
//
// # Errors
//
//   - [core.ErrNoHandler] (Rejected): neither Options.Registry nor [core.NewTask]
//     knows the task. No job of the call runs.
//   - [core.ErrDuplicate]: a job of this chosen ID runs or has succeeded, or a job
//     of this unique key runs. The same intent again is Accepted, and not run again,
//     if its ID was generated and it has no unique key.
//   - The handler's own error (Failed).
//   - The context's error: no attempt begins after the context has ended. A job that
//     is between two attempts then, or fails, is Failed with the context's error and
//     the handler's own. Intents whose turn has not come are NotSent.
//   - [core.ErrInvalid], [core.ErrUnsupported]: see adapter.Guard.
//
// # Concurrency
//
// Safe for concurrent use. Each call runs its own jobs. The handler runs on a
// goroutine that the call waits for, so that a handler which ends its goroutine does
// not end the caller's.
//
// # Refused
//
// Delay and At, and the native options of other executors.
package syncexec

import (
	"context"
	"fmt"
	"sync"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/ids"
	"github.com/goairlock/airlock/worker"
)

// Executor runs jobs while the caller waits. It is made by [New] and safe for
// concurrent use.
type Executor struct {
	registry *worker.Registry
	guarded  core.Executor
	caps     core.Capabilities

	mu     sync.Mutex
	known  *ids.Set               // guarded by mu
	unique map[uniqueKey]struct{} // guarded by mu; of running jobs
}

// New returns an executor. A nil opts is the zero [Options]. The error is always nil;
// it is there because every executor's New has one.
func New(opts *Options) (*Executor, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	switch {
	case o.RememberIDs == 0:
		o.RememberIDs = defaultRemember
	case o.RememberIDs < 0:
		o.RememberIDs = 0
	}
	e := &Executor{
		registry: o.Registry,
		caps:     capabilities(&o),
		known:    ids.New(o.RememberIDs),
		unique:   make(map[uniqueKey]struct{}),
	}
	e.guarded = adapter.GuardHandlers(e.caps, e.registry, e.dispatch)
	return e, nil
}

// Execute runs the intents' jobs in order. It returns when the last one has ended, or
// the first one has failed for good. It is a [core.Executor].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return adapter.Invalid(errNotMade)(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option. The result is the
// caller's to change.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

var errNotMade = fmt.Errorf("airlock: sync: nil or zero Executor, want one made by New: %w", core.ErrInvalid)
