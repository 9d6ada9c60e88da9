// Package asynqexec dispatches to [github.com/hibiken/asynq] and runs the jobs
// on an ordinary asynq.Server, on a Redis or a Redis Cluster.
//
// What is stored is an ordinary asynq task, made by asynq's own client and its
// own scripts: the payload is the encoded arguments and nothing else, so that
// native handlers can work our jobs, native producers can feed our handlers, and
// asynq's tools show both.
//
// # Mapping
//
//	Queue        asynq.Queue; "default" without it
//	Priority     a lane: 8–10 go to the queue "<queue>}high", 1–3 to "<queue>}low",
//	             4–7 and jobs without it to the queue itself. Refused unless
//	             Options.Lanes is set, for a server works only the queues that it
//	             lists: see Lanes
//	Delay, At    asynq.ProcessAt, rounded up to the second. A server looks for
//	             what is due every Config.DelayedTaskCheckInterval, 5 s by default
//	MaxAttempts  asynq.MaxRetry, one less; 26 runs without it
//	Backoff      Config.RetryDelayFunc, as Configure sets it, rounded up to the
//	             second; without it the server's own
//	Timeout      asynq.Timeout, rounded up to the second; our handlers keep it
//	             exactly. Without it there is none: asynq's 30 minutes are
//	             defeated by a time-out of 100 years
//	Deadline     our handlers: a job that is late is archived without being run
//	ID           asynq.TaskID, and asynq.Retention of Options.IDWindow, so that the
//	             ID outlives the job for a while
//	Unique       a lock that names the job and counts while the job is stored and
//	             neither completed nor archived. Nobody has to release it
//	Header       the task's headers
//	Native       asynq.Retention and asynq.Group
//
// Backoff, Deadline and the fraction of a Timeout travel in one more header,
// Airlock-Envelope. Lanes and unique keys need a few lines of Lua, which run in
// front of asynq's own script, in the same call.
//
// # Delivery
//
// At least once. Jobs of one queue and lane start in the order of dispatch,
// apart from delays and retries. A call with more than one intent is sent as one
// pipeline for each 1000 intents or 8 MiB (on a cluster, one for each node that
// serves one of the queues), which is enough for a new queue and an empty script
// cache too. If a pipeline fails, those after it are not sent.
//
// A Redis that may drop what it has acknowledged, because its memory is full, is
// told by [Executor.CheckServer].
//
// A job that fails for good is in asynq's archive, which keeps 10 000 jobs of a
// queue for 90 days. A task that no handler knows is tried again every minute and
// uses up no attempt, so that a server that knows it can have it. A job whose worker
// crashed is found after 30 s of its lease, 30 s that asynq allows for clocks and up
// to a minute until asynq looks; that attempt counts.
//
// # Errors
//
// With a client that does not retry by itself, an error of the dial, of the
// connection pool, or one with which Redis refuses a command is NotSent, the first
// with [core.ErrUnavailable]. All else is Unknown. With a client that does retry
// (MaxRetries other than -1, on a cluster MaxRedirects other than -1) every error
// is Unknown, because an earlier try may have been stored; and an ID that the
// caller chose may be called a Duplicate of itself, when the reply of an earlier
// try was lost. So the best client is one with MaxRetries -1 under
// compose.WithRetry.
//
// # Concurrency
//
// Safe for concurrent use. go-redis does not notice that a context is cancelled
// while it waits for a reply, so the waiting is done by a goroutine that ends
// with the client's own time limits, and the call returns at once.
//
// # Refused
//
// Priority without Options.Lanes, native options other than Retention and Group
// (the others have a portable form, or break one), and Group together with Delay
// or At, of which asynq v0.26.0 drops the group.
//
// [github.com/hibiken/asynq]: https://pkg.go.dev/github.com/hibiken/asynq
package asynqexec

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// IDWindow is for how long after its success a job's ID is remembered, so that
	// the same intent sent again is no second job. It is stored as the job's
	// retention, rounded up to the second, unless [Native] asks for a longer one:
	// that long a completed job takes memory in Redis. 0 means 5 minutes. Less
	// than 0 means that an ID is remembered only until the job has succeeded; a
	// reply that is lost can then mean a second run.
	IDWindow time.Duration

	// Lanes honours core.Priority with two more queues beside each queue. Every
	// server that works these queues must list them too, see [Lanes]. Executors
	// that share a queue should agree about it: one without Lanes does not see an
	// ID or a unique key that is in a lane.
	Lanes bool
}

const (
	name            = "asynq"
	defaultIDWindow = 5 * time.Minute
	longest         = 100 * 365 * 24 * time.Hour // what core allows a duration to be
)

// Executor dispatches to asynq. It is made by [New].
type Executor struct {
	rdb     redis.UniversalClient
	retries bool // the client sends again by itself
	lanes   bool

	direct   *asynq.Client // for one intent: passes commands on
	recorder *asynq.Client // for many: keeps commands back for a pipeline

	retention time.Duration // of a job that asks for less; 0 for none
	window    asynq.Option  // the same as an option
	guarded   core.Executor
	caps      core.Capabilities
}

// New returns an executor on the caller's client: a *redis.Client, also one for
// Sentinel, or a *redis.ClusterClient, which it neither dials nor closes. Another
// kind of client is taken to retry by itself. Nil opts are the zero [Options]. A
// nil client, or a window of more than 100 years, is [core.ErrInvalid].
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
	e := &Executor{rdb: rdb, retries: retriesItself(rdb), lanes: opts.Lanes, caps: capabilities(window, opts.Lanes)}
	if window > 0 {
		// asynq counts from the second in which the job completed.
		e.retention = wholeSeconds(window) + time.Second
		e.window = asynq.Retention(e.retention)
	}
	t := &tap{UniversalClient: rdb}
	// Two clients, since each remembers which queues it has announced to Redis,
	// and the recorder's announcements are only recorded.
	e.direct, e.recorder = asynq.NewClientFromRedisClient(t), asynq.NewClientFromRedisClient(t)
	e.guarded = core.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute stores the intents' jobs. It is a [core.Executor].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option.
func (e *Executor) Capabilities() core.Capabilities { return e.caps }

func isNil(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case nil:
		return true
	case *redis.Client:
		return c == nil
	case *redis.ClusterClient:
		return c == nil
	}
	return false
}

// retriesItself reports whether the client may send a command twice. go-redis
// stores a MaxRetries or MaxRedirects of -1 as 0. MaxRetries of a cluster is that
// of its nodes' clients, whose single commands the cluster client sends itself.
func retriesItself(rdb redis.UniversalClient) bool {
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
