// Package poolexec runs jobs in the background, on goroutines of this process.
//
//	pool, err := poolexec.New(&poolexec.Options{Registry: registry})
//	…
//	err = airlock.Run(ctx, pool.Execute, func(ctx context.Context) error { … })
//	…
//	err = pool.Stop(ctx)
//
// A pool needs no server, and its jobs end with the process. Use it for side
// effects that may be lost, in programs that have no queue yet, and in tests where
// jobs should run as they do on a queue.
//
// # Mapping
//
//	Queue        always true here: one pool runs the jobs of every queue. The
//	             handler sees the name, and it is part of a unique key's scope
//	Priority     strict, ten levels; 5 if unset
//	Delay, At    exact to the nanosecond, never early by the wall clock
//	MaxAttempts  25 runs if unset
//	Backoff      if unset: 1 s after the first attempt, doubled after each further
//	             one, at most 10 min
//	Timeout      ends the context of the attempt
//	Deadline     ends the context of the attempt; the job is neither started nor
//	             retried later
//	ID           one job per ID that waits, runs, or is among the last
//	             Options.RememberIDs that succeeded. The ID of a dead job is free
//	Unique       one unfinished job per task, queue and key, from dispatch until
//	             the job is done or dead
//	Header       passed to the handler
//
// # Delivery
//
// At most once: an accepted job runs, and runs again if it fails, but it is lost
// if the process ends. Jobs of one priority start in the order of dispatch. A job
// that was delayed or failed goes to the end of its priority when it is due.
//
// A handler does not see its producer's context. Its own context ends after the
// job's Timeout, at its Deadline, and when the context given to Stop has ended. A
// panic and runtime.Goexit are a failed attempt.
//
// A job that died is gone: see Options.OnDone. Every run is logged, see
// Options.Logger.
//
//	Delivery.Native  nil
//	worker.Done      the job is over
//	worker.Retry     it waits for its backoff
//	worker.Snoozed   it waits as long as the handler asked; no attempt is counted
//	worker.Dead      the job is over
//
// # Errors
//
//   - [core.ErrNoHandler] (Rejected): neither Options.Registry nor [core.NewTask]
//     knows the task. Nothing of the call is taken.
//   - [core.ErrDuplicate]: there is a job of this chosen ID or unique key. The
//     same intent again is Accepted, and no second job, if its ID was generated
//     and it has no unique key.
//   - The context's error (NotSent): the pool was full until the context ended.
//     The intents before are Accepted. With Options.RefuseWhenFull a full pool is
//     [core.ErrUnavailable] at once, for every intent of the call.
//   - [core.ErrClosed] (NotSent): the pool has been stopped.
//   - [*StopError], from Stop: accepted jobs have not run to their end.
//   - [core.ErrInvalid], [core.ErrUnsupported]: see adapter.Guard.
//
// No outcome is Unknown or Failed.
//
// # Concurrency
//
// Everything is safe for concurrent use. At most Options.Workers jobs run at a
// time, each on a goroutine that runs one job after the other and ends when no job
// is due. An idle pool has no goroutine, and a timer only while jobs are delayed.
//
// A handler may call Execute with the context that it was given, also when the pool
// is full. A handler that calls Execute with another context on a full pool, or
// waits for another job, occupies its worker meanwhile: if all workers wait in this
// way, none of them ever continues.
//
// # Refused
//
// Native options of other executors. The pool has none of its own.
package poolexec

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/ids"
)

// Executor runs jobs on goroutines of this process. It is made by [New], ended by
// [Executor.Stop], and safe for concurrent use. It has no goroutine while no job
// is due.
type Executor struct {
	opts    Options
	caps    core.Capabilities
	guarded core.Executor
	jobs    context.Context         // the parent of every handler's context
	cancel  context.CancelCauseFunc // ends jobs
	stopped chan struct{}           // closed when stopErr is final
	stopErr error

	mu      sync.Mutex    // guards everything below
	inbox   []core.Intent // due, in the order of dispatch, IDs not yet in known; see sortInbox
	levels  [11]queue     // due, by priority from 1
	due     int           // jobs in inbox and levels
	delayed delayedJobs   // not due yet
	seq     uint64        // of the last delayed job
	timer   *time.Timer   // of delayed; nil until the first one
	known   *ids.Set      // the IDs of all jobs, but for those in inbox
	unique  map[uniqueKey]struct{}
	waiters []*waiter // calls that wait for room, in the order of the calls
	workers []*slot   // each with a goroutine
	closed  bool      // Stop was called
	aborted error     // the error of the first Stop whose context ended
	ended   bool      // stopErr is final
	unrun   []core.Intent
}

// uniqueKey is a unique key with its scope.
type uniqueKey struct{ task, queue, key string }

func uniqueKeyOf(in *core.Intent) uniqueKey {
	return uniqueKey{in.Task, in.Options.Queue, in.Options.Unique}
}

// poolKey is the key of the pool in the context of each of its jobs.
type poolKey struct{}

// New makes a pool. It starts no goroutine: they start with the jobs. A nil opts is
// the zero [Options]. A negative Workers or Capacity is [core.ErrInvalid].
func New(opts *Options) (*Executor, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Executor{
		opts: o, caps: capabilities(&o), stopped: make(chan struct{}),
		known: ids.New(o.RememberIDs), unique: make(map[uniqueKey]struct{}),
	}
	e.jobs, e.cancel = context.WithCancelCause(context.WithValue(context.Background(), poolKey{}, e))
	e.guarded = adapter.GuardHandlers(e.caps, o.Registry, e.dispatch)
	return e, nil
}

// Execute takes intents into the pool. It is a [core.Executor]. Nil means that
// every job will run, unless the process ends or Stop is called. The package
// comment lists the other answers under Errors.
//
// If the pool is full the call waits, see [Options.RefuseWhenFull]. A call with the
// context of a job of the same pool never waits, since the job would wait for
// itself: it may exceed the capacity.
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return adapter.Invalid(errNotMade)(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

// Capabilities returns what this pool does with each option. The result is the
// caller's to change.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

var (
	errNotMade = fmt.Errorf("airlock: pool: nil or zero Executor, want one made by New: %w", core.ErrInvalid)
	errStopped = fmt.Errorf("airlock: pool: stopped: %w", core.ErrClosed)
)
