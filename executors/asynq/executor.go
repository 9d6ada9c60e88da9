// Package asynqexec dispatches to [github.com/hibiken/asynq] v0.26.0 and runs the
// jobs, on a Redis or a Redis Cluster.
//
// What is stored is an ordinary asynq task, made by asynq's own client and its
// own scripts. The payload is the encoded arguments and nothing else. So native
// handlers can run our jobs, native producers can feed our handlers, and asynq's
// tools show both.
//
// # Mapping
//
//	Queue        asynq.Queue; "default" without it. See Options.QueueNames
//	Priority     a lane: 8–10 go to the queue "<queue>}high", 1–3 to "<queue>}low",
//	             4–7 and jobs without a priority to the queue itself. Refused
//	             unless Options.Lanes is set
//	Delay, At    asynq.ProcessAt, rounded up to the second. A worker looks for
//	             what is due every Config.DelayedTaskCheckInterval, 5 s by default
//	MaxAttempts  the envelope, and the same number as asynq.MaxRetry; 25 without it
//	Backoff      the envelope, rounded up to the second; without it
//	             Config.RetryDelayFunc
//	Timeout      the envelope. asynq.Timeout is always 100 years, which is none
//	Deadline     the envelope: a job that is late is archived without being run
//	ID           asynq.TaskID, and asynq.Retention of Options.IDWindow, so that the
//	             ID is remembered for a while after the job has succeeded
//	Unique       a lock that names the job. It holds while the job is stored and
//	             neither completed nor archived, and needs no release. The envelope
//	             has the key too, so that an Inspector can lock it again
//	Header       the task's headers
//	Native       asynq.Retention and asynq.Group
//
// The envelope is one more header, Airlock-Envelope. Lanes and unique keys need a
// few lines of Lua, which run in front of asynq's own script, in the same call.
//
// asynq's own time limit takes a job away while its handler still runs, so that
// two runs of one job overlap and the handler's answer is lost. This is why asynq
// gets none. Likewise asynq archives a job in its last attempt before it asks
// whether the run has failed at all. So asynq may retry a job once more than
// MaxAttempts says, and our worker counts. A native worker runs a job of ours
// without a time limit and once more, and asynq's tools show one retry too many.
//
// # Delivery
//
// At least once. Jobs of one queue and lane start in the order of dispatch, apart
// from delays and retries. A call with more than one intent is sent as one
// pipeline for each 1000 intents or 8 MiB (on a cluster, one for each node that
// serves one of the queues), which is enough for a new queue and an empty script
// cache too. If a pipeline fails, those after it are not sent.
//
// A handler finds its task as a [*asynq.Task] in worker.Job.Native.
//
// A job that is dead is in asynq's archive, which keeps 10 000 jobs of a queue for
// 90 days. A job that is parked, snoozed or failed waits in asynq's retry set. The
// last attempt of a task that asynq's own client has enqueued cannot be parked or
// snoozed: such a task is archived, with an error that says so.
//
// The job of a worker that crashed is found after 30 s of its lease, 30 s that
// asynq allows for clocks and up to a minute until asynq looks. The attempt counts.
// If it was the last one, the job is archived without being run again, with an
// error that says that the attempts are used up. A reply of Redis that is lost
// while a worker fetches a job has the same effect: the job has begun.
//
// A worker whose lease is over no longer decides about the job.
//
// [Executor.CheckServer] reports a Redis that may drop what it has acknowledged.
// One danger it cannot see: if Redis is killed while it writes a script to its
// append-only file, the file may end in the middle of a transaction. With
// aof-load-truncated yes, the default, the next start loads such a file, appends to
// it, and the start after that runs half of the script: a job can then be stored
// twice, or run again (valkey PR 4342). After a crash of Redis run
// redis-check-aof --fix before the start, or BGREWRITEAOF after it.
//
// # Errors
//
// An intent is NotSent if it was never written to a connection: Redis could not be
// reached ([core.ErrUnavailable]), the connection failed during its handshake, the
// pool was exhausted, or a hook refused the call. It is NotSent as well if Redis
// refused the command, with a client that does not retry. All else is Unknown.
//
// With a client that retries (MaxRetries other than -1, on a cluster MaxRedirects
// other than -1) an earlier try may have been stored. So an error after the first
// byte is Unknown, and an ID that the caller chose may be a Duplicate of itself,
// if the reply of an earlier try was lost. The best client for dispatch is one with
// MaxRetries -1 under compose.WithRetry.
//
// # Concurrency
//
// Safe for concurrent use. go-redis does not notice that a context is cancelled
// while it waits for a reply. So a goroutine waits for it, which ends with the
// client's own time limits, and the call returns at once.
//
// # Refused
//
// Priority without Options.Lanes, native options other than Retention and Group
// (the others have a portable form, or break one), Group together with Delay or
// At, of which asynq v0.26.0 drops the group, and a queue whose native name
// Options.QueueNames has given to another one.
//
// [github.com/hibiken/asynq]: https://pkg.go.dev/github.com/hibiken/asynq
package asynqexec

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const (
	name            = "asynq"
	defaultIDWindow = 5 * time.Minute
	longest         = 100 * 365 * 24 * time.Hour // what core allows a duration to be
)

// Executor dispatches to asynq. It is made by [New].
type Executor struct {
	rdb     redis.UniversalClient
	retries bool // the client may send a command twice
	lanes   bool
	names   adapter.QueueNames

	single *asynq.Client // for one intent: passes commands on
	batch  *asynq.Client // for many: keeps commands back for a pipeline

	retention time.Duration // of a job that asks for less; 0 for none
	window    asynq.Option  // the same as an option
	guarded   core.Executor // nil for the zero Executor
	caps      core.Capabilities
}

// New returns an executor on the caller's client: a *redis.Client, also one for
// Sentinel, or a *redis.ClusterClient, which it neither dials nor closes. Another
// kind of client counts as one that retries. Nil opts are the zero [Options]. A
// nil client, a window of more than 100 years, and queue names that are impossible
// or name one native queue twice are [core.ErrInvalid].
func New(rdb redis.UniversalClient, opts *Options) (*Executor, error) {
	if isNil(rdb) {
		return nil, invalid("nil redis client")
	}
	if opts == nil {
		opts = &Options{}
	}
	window := opts.IDWindow
	switch {
	case window == 0:
		window = defaultIDWindow
	case window < 0:
		window = 0
	case window > longest:
		return nil, invalid("Options.IDWindow: %v, want at most %v", window, longest)
	}
	names, err := newQueueNames(opts.QueueNames)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		rdb: rdb, retries: mayRetry(rdb), lanes: opts.Lanes, names: names,
		caps: capabilities(window, opts.Lanes, names),
	}
	if window > 0 {
		// asynq counts from the second in which the job completed.
		e.retention = adapter.RoundUp(window, time.Second) + time.Second
		e.window = asynq.Retention(e.retention)
	}
	interceptor := &clientInterceptor{UniversalClient: rdb}
	// Two clients, since each remembers which queues it has announced to Redis,
	// and those of a batch are announced with its pipeline.
	e.single, e.batch = asynq.NewClientFromRedisClient(interceptor), asynq.NewClientFromRedisClient(interceptor)
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

// Capabilities returns what the executor does with each option. The caller may
// change the result.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

func isNil(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case nil:
		return true
	case *redis.Client:
		return c == nil
	case *redis.ClusterClient:
		return c == nil
	case *redis.Ring:
		return c == nil
	}
	return false
}

// mayRetry reports whether the client may send a command twice. go-redis stores a
// MaxRetries or MaxRedirects of -1 as 0. MaxRetries of a cluster is that of its
// nodes' clients, whose single commands the cluster client sends itself.
func mayRetry(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().MaxRetries != 0
	case *redis.ClusterClient:
		return c.Options().MaxRedirects != 0
	}
	return true
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: asynq: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
