// Package workexec dispatches to [github.com/gocraft/work] v0.5.1 on Redis, and
// runs its jobs.
//
// What is stored is an ordinary job in the library's public format. Worker pools of
// any other program can run our jobs, other producers can feed our handlers, and
// the library's web interface shows both. The encoded arguments are one string, the
// job's argument airlock_payload, because the library's scripts damage numbers and
// empty arrays of every job that is delayed or retried: see [Payload]. With
// Options.PlainArgs they are the job's arguments, and what would be damaged is
// refused.
//
// [NewWorker] runs jobs with a loop of its own on the same lists, sorted sets and
// heartbeats as the library's pools. [Register] adds tasks to a work.WorkerPool
// that has native handlers as well. Job.Native is a *work.Job.
//
// # Mapping
//
//	Queue        a namespace, see [Namespace] and Options.QueueNames. The library's
//	             own queues are the job names
//	Priority     a lane: 8–10 go to the job name "<task>!high", 1–3 to "<task>!low",
//	             4–7 and jobs without a priority to the task's own name. Refused
//	             unless Options.Lanes is set, because only workers with
//	             WorkerOptions.Lanes look there
//	Delay, At    the library's scheduled jobs, rounded up to the second. Workers look
//	             for due jobs once a second
//	MaxAttempts  the envelope; 25 if unset. Our workers keep it. A job that another
//	             producer stored without an envelope has the library's 4
//	Backoff      the envelope, rounded up to the second. If unset, the library's
//	             schedule: the number of failures to the fourth power, plus 15
//	             seconds, plus a random part
//	Timeout      the envelope; the handler's context
//	Deadline     the envelope; the handler's context. A job that is late is dead
//	             without a run
//	ID           the job's ID, and a marker that lives for Options.IDWindow. An ID is
//	             one job per queue
//	Unique       a lock that names its job. Our workers delete it when the job has
//	             finished. If another worker finished the job, or a person deleted
//	             it, the next dispatch of the key notices: the lock counts only while
//	             its job waits, runs, is scheduled or is to be retried. The dispatch
//	             looks at no more than 10000 jobs for that, and takes the job for
//	             unfinished if these are not enough. A lock ends 7 days after its job
//	             was due or last tried
//	Header       the envelope
//
// The envelope is one string, the job's argument airlock.
//
// # Delivery
//
// At least once. Jobs of one task and lane start in the order of dispatch, apart
// from delays and retries. Among tasks a worker chooses at random. A call is one
// script for each 1000 intents or 8 MiB. A script stores all of its intents or none,
// and each intent has its own outcome. If a script fails, those after it are not
// sent. The script takes a second round trip when Redis has forgotten it.
//
// A worker that fetches a job moves it to a list of its own, the in-progress list,
// in the same step. What becomes of the job is applied in one script that first makes sure that
// the job is still there. A worker that was frozen, and whose job was given to
// another one meanwhile, can neither bury, repeat nor delay it, and logs that.
//
// An attempt counts when it begins. If a worker sends no heartbeat for 10 seconds,
// the others take back what it had in progress and count an attempt for each job. A
// job without attempts left is then dead, with the reason "attempts used up; the last
// worker never answered".
//
// A job that failed for good is among the library's dead jobs. Dead jobs are kept
// until an operator removes them. Jobs of a task that no worker knows are parked: they
// wait in their list at no attempt's cost, and are reported every
// WorkerOptions.ParkFor. Jobs with an envelope of a later version are parked among the
// retries.
//
// # Redis
//
// An ID is remembered for Options.IDWindow after the dispatch, or after the time at
// which the job is due. A job that waits longer for a worker and is then sent again
// is stored twice. Markers and locks are keys with a time to live: a Redis that may
// evict keys forgets them early. [Executor.CheckServer] reports that.
//
// With an append-only file, a kill of Redis in the middle of a script can leave half
// of the script's commands in the file. Redis cuts off only the last one when it
// starts, and executes the rest after the next restart: jobs are doubled or lost. Run
// redis-check-aof --fix on the last file before the start, or BGREWRITEAOF after it.
// Valkey fixed this in pull request 4342.
//
// The pool of connections should have limits for dialling, reading and writing,
// because they bound a call without a context and a dial without one. It needs as
// many connections as calls are made at a time: a worker makes up to Concurrency,
// and five for itself. TestOnBorrow is not needed: if Redis answers
// READONLY, LOADING, MASTERDOWN or NOAUTH, the connection is closed, and the next one
// may reach a server that was promoted. (A connection type of the caller's own must
// have DoContext or DoWithTimeout for that.)
//
// # Errors
//
// If no connection can be had nothing is sent: the outcome is NotSent, with
// [core.ErrUnavailable] where the connection could not be made and
// [core.ErrClosed] where the pool is closed. Intents of a command that Redis refuses
// to begin are NotSent too. Everything else is Unknown. Sending the same intent again
// is harmless within the ID window, so use the executor under compose.WithRetry.
//
// # Concurrency
//
// Everything here is safe for concurrent use. The context ends a call at once, by
// closing its connection. If the pool's Dial or TestOnBorrow takes no context, a
// goroutine waits for it, which ends with the pool's own time limits.
//
// # Refused
//
// Priority without Options.Lanes. Native options (there are none). With PlainArgs,
// arguments that would be damaged. Redis Cluster, on which the library's own scripts
// do not work.
//
// [github.com/gocraft/work]: https://pkg.go.dev/github.com/gocraft/work
package workexec

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const name = "work" // of the executor

// Executor dispatches to gocraft/work. It is made by [New].
type Executor struct {
	backend backend
	spaces  namespaces
	window  time.Duration
	plain   bool

	guarded core.Executor
	caps    core.Capabilities
}

// New returns an executor on the caller's pool of connections, which it does not
// close. It does no I/O. Nil opts are the zero [Options]. A nil pool, and options that
// are not what their comments say, are [core.ErrInvalid].
func New(pool *redis.Pool, opts *Options) (*Executor, error) {
	if pool == nil {
		return nil, invalid("nil redis pool")
	}
	if opts == nil {
		opts = &Options{}
	}
	window, err := opts.window()
	if err != nil {
		return nil, err
	}
	spaces, err := newNamespaces(opts.Namespace, opts.QueueNames)
	if err != nil {
		return nil, err
	}
	e := &Executor{backend: newBackend(pool), spaces: spaces, window: window, plain: opts.PlainArgs}
	e.caps = capabilities(e.window, opts.Lanes, opts.PlainArgs)
	e.guarded = adapter.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute stores the intents' jobs. It is a [core.Executor]. A nil or zero
// Executor answers with [core.ErrInvalid].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return zeroExecutor(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

var (
	errZeroExecutor = invalid("zero Executor: executors are made by New")
	zeroExecutor    = adapter.Invalid(errZeroExecutor)
)

// Capabilities returns what the executor does with each option. The result belongs
// to the caller.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: work: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
