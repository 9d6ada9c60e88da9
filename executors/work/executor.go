// Package workexec dispatches to [github.com/gocraft/work] v0.5.1 on Redis and runs
// the jobs on the library's own worker pools.
//
// What is stored is an ordinary job in the library's public format, so that pools
// of any earlier program can work our jobs, their producers can feed our handlers,
// and the library's web interface shows both. The encoded arguments are one string,
// the job's argument airlock_payload, because the library's scripts damage numbers
// and empty arrays of every job that is delayed or retried; see [Payload]. With
// Options.PlainArgs they are the job's arguments, and what would be damaged is
// refused.
//
// # Mapping
//
//	Queue        a namespace of its own, see [Namespace]: the library's own queues
//	             are the job names, and any pool of a namespace buries jobs whose
//	             names it does not know
//	Priority     a lane: 8–10 go to the job name "<task>!high", 1–3 to "<task>!low",
//	             4–7 and jobs without it to the task's own. Refused unless
//	             Options.Lanes is set, for handlers elsewhere do not see the lanes
//	Delay, At    the library's scheduled jobs, rounded up to the second. It looks
//	             for what is due once a second, and idle workers look for jobs
//	             every 5 seconds
//	MaxAttempts  our handlers; without it 4 runs, which is the library's own limit
//	Backoff      our handlers, rounded up to the second; without it the library's
//	             own schedule: the number of failures to the fourth power, and 15 to
//	             45 seconds and more
//	Timeout      the handler's context
//	Deadline     the handler's context; a job that is late is dead without being run
//	ID           the job's ID, and a marker that lives for Options.IDWindow
//	Unique       a lock that names its job. Our workers delete it when the job has
//	             finished. What another worker has finished, or a person has
//	             deleted, is noticed at the next dispatch of the key: the lock counts
//	             only while its job waits, runs, is scheduled or to be retried. For
//	             that at most 10000 jobs are looked at, and if these are not enough
//	             the key counts as taken. A lock ends 7 days after its job was due
//	             or last tried
//	Header       the envelope
//
// Backoff, Deadline, Header, MaxAttempts, Timeout and the unique key travel in the
// job's argument airlock, as one string.
//
// # Delivery
//
// At least once. Jobs of one task and lane start in the order of dispatch, apart
// from delays and retries; among tasks a worker chooses by lot. A call is one
// script for each 1000 intents or 8 MiB, which stores all of them or none, and of
// which each intent has an outcome of its own. If a script fails, those after it
// are not sent. The script takes a second round trip when Redis has forgotten it.
//
// An ID is remembered for Options.IDWindow after the dispatch or the time at which
// the job is due: a job that waits longer for a worker, and is then sent again, is
// stored twice. Markers and locks are keys with a time to live: a Redis that evicts
// such keys (any maxmemory-policy but noeviction) forgets them early.
//
// A job that fails for good is among the library's dead jobs, where nobody removes
// it. A task that no pool of its namespace knows waits. The job of a process that
// crashes runs again when a pool of the namespace finds that out: 10 seconds after
// it was started, or at one of the looks that it takes every 10 minutes.
//
// # Errors
//
// When no connection can be had nothing is sent: NotSent, with
// [core.ErrUnavailable] where it could not be made and [core.ErrClosed] where the
// pool is closed. NotSent are also the intents of a command that Redis refuses to
// begin. All else is Unknown, so the best executor is one under compose.WithRetry.
//
// # Concurrency
//
// Safe for concurrent use. The context ends a call at once, by closing its
// connection. A pool whose Dial or TestOnBorrow takes no context is waited for by
// a goroutine, which ends with the pool's own time limits.
//
// # Refused
//
// Priority without Options.Lanes, native options (there are none), with PlainArgs
// what they would damage, and Redis Cluster, which the library's own scripts do not
// work on.
//
// [github.com/gocraft/work]: https://pkg.go.dev/github.com/gocraft/work
package workexec

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Namespace is that of the queue "default" in Redis: what the library's worker
	// pools are given. See [Namespace] for the other queues. It has no ":queue:" in
	// it. "" means "work", as for the library's own commands.
	Namespace string

	// IDWindow is for how long an ID is remembered, counted from the dispatch or,
	// with a delay, from the time at which the job is due. Each takes some 150
	// bytes of Redis for that long. It is rounded up to the millisecond. 0 means 5
	// minutes; there is no less than a millisecond, and at most 100 years.
	IDWindow time.Duration

	// Lanes honours core.Priority with two more job names beside each task's own.
	// Jobs in them are out of sight of handlers that are not of [Register], whose
	// options must name lanes too.
	Lanes bool

	// PlainArgs stores arguments that encode to a JSON object as the library does,
	// for handlers that read job.ArgInt64("user_id"). The library's own scripts
	// damage some of these when a job is delayed or retried: numbers of more than
	// 14 digits, empty arrays, half a surrogate pair, deep nesting. Arguments with
	// such a value, with a key twice, or with a key that is ours (airlock,
	// airlock_payload, airlock_base64) are refused, with core.ErrInvalid. Keys may
	// come back in another order, and numbers written otherwise. Arguments that
	// are no object are stored as without PlainArgs.
	PlainArgs bool
}

const (
	name             = "work"
	defaultNamespace = "work"
	defaultIDWindow  = 5 * time.Minute
	longest          = 100 * 365 * 24 * time.Hour // what core allows a duration to be
)

// Executor dispatches to gocraft/work. It is made by [New].
type Executor struct {
	pool      *redis.Pool
	namespace string
	prefix    string // of the keys of the queue "default"
	window    time.Duration
	plain     bool

	guarded core.Executor
	caps    core.Capabilities
}

// New returns an executor on the caller's pool of connections, which it does not
// close. Nil opts are the zero [Options]. A nil pool, and options that are not what
// their comments say, are [core.ErrInvalid]. The pool should have time limits for dialling, reading and
// writing: they bound what a call without a context waits for.
func New(pool *redis.Pool, opts *Options) (*Executor, error) {
	if pool == nil {
		return nil, invalid("nil redis pool")
	}
	if opts == nil {
		opts = &Options{}
	}
	window := opts.IDWindow
	if window == 0 {
		window = defaultIDWindow
	}
	switch {
	case strings.Contains(opts.Namespace, queueInfix):
		return nil, invalid("Options.Namespace: %q has %q in it, which stands before a queue", opts.Namespace, queueInfix)
	case window < 0 || window > longest:
		return nil, invalid("Options.IDWindow: %v, want more than 0 and at most %v", window, longest)
	}
	e := &Executor{
		pool: pool, namespace: opts.Namespace, plain: opts.PlainArgs,
		window: time.Duration(milliseconds(window)) * time.Millisecond,
	}
	if e.namespace == "" {
		e.namespace = defaultNamespace
	}
	e.prefix = prefixOf(e.namespace)
	e.caps = capabilities(e.window, opts.Lanes, opts.PlainArgs)
	e.guarded = core.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute stores the intents' jobs. It is a [core.Executor].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option.
func (e *Executor) Capabilities() core.Capabilities { return e.caps }

func invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: work: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
