// Package riverexec hands intents to River (github.com/riverqueue/river), a job
// queue in PostgreSQL or SQLite, and works its jobs with a [worker.Registry].
//
// The caller's own client comes in. Its Config must have been given to
// [ConfigureClient] before the client was made: identity and unique keys need a
// hook that cannot be added later. [InTx] dispatches inside the caller's
// transaction, so that jobs commit or roll back with the data. [NewWorker] makes a
// worker. [AddWorkers] adds the registry's tasks to a client with native workers.
//
// # Mapping
//
//	Queue        InsertOpts.Queue; "default" without it. Options.QueueNames
//	             translates names
//	Priority     InsertOpts.Priority: 10 to 8 → 1, 7 to 5 → 2, 4 to 3 → 3, 2 to 1 → 4;
//	             unset ranks as 5, which is River's 2
//	Delay, At    InsertOpts.ScheduledAt, rounded up to a millisecond. Up to 5 s ahead
//	             the job is stored as available, so that it is at most one
//	             FetchPollInterval (1 s) late. River's scheduler may take 5 s more
//	MaxAttempts  InsertOpts.MaxAttempts, at most 32767; 25 without it, also if
//	             the client's Config.MaxAttempts is another
//	Backoff      in the metadata; our worker applies it, to 1 ms
//	Timeout      in the metadata; our worker applies it, exact
//	Deadline     in the metadata; our worker applies it, exact
//	ID           unique_key over all states, a UUID's 16 bytes or a hash; and in
//	             the metadata
//	Unique       unique_key of task, queue and key, over the unfinished states
//	Header       in the metadata
//	Native       a function of *river.InsertOpts, for the rest: tags, pending …
//
// The arguments are the payload itself. Everything of ours is in the metadata
// under the key "airlock". So native workers can work these jobs, and native
// producers can feed our workers. A native worker ignores Backoff, Timeout and
// Deadline, and a job without our metadata has the client's JobTimeout and
// RetryPolicy.
//
// River's own jobs have priority 1 unless they say otherwise. They start before our
// jobs without a priority, and rank with our 8 to 10. Give both explicit
// priorities where they share a queue.
//
// [worker.Job.Native] is the [*rivertype.JobRow].
//
// # Delivery
//
// At least once, first in first out within queue and priority. A call is one
// insert, atomic, in three statements however many intents it has: BEGIN, the insert
// and COMMIT. In the caller's transaction it is the insert alone. More than 128 MiB are
// sent in several inserts.
//
// On PostgreSQL two or more intents with generated IDs are inserted by COPY, which is
// 1.3 to 3 times as fast as an INSERT. In the caller's transaction that is so from 100
// intents, in a savepoint. If one of them has been sent before, COPY fails with a unique
// violation, which PostgreSQL logs. It is rolled back, and the call is made again as an
// INSERT that skips what exists. Hooks and middleware of the client's are then called a
// second time. A call with a chosen ID, a Unique key or UniqueOpts is always an INSERT.
//
// An ID is remembered as long as River keeps the job's row, by default 24 hours
// after it was completed or cancelled and 7 days after it was discarded. A job
// has one unique_key. [core.Unique] takes it, and a generated ID is then
// remembered only until the job has finished.
//
// River writes completions in batches, up to 250 ms later. A worker process that
// is killed loses the unwritten ones, and those jobs run again. Under a load of
// 20 000 jobs, 12 kills of a worker made 232 of 19 842 jobs run again, and 115
// kills 2117 of 19 565. [CompleteTx] has none of this: it completes the job in the
// transaction of the handler's own data.
//
// An attempt counts when it begins. After a crash River's rescuer runs the job
// again, by default after an hour (Config.RescueStuckJobsAfter). If that was the
// last attempt, the rescuer discards the job, although the attempt never ended.
// Our worker renews the row's attempted_at while a handler runs. So the rescuer
// does not take a job from a worker that is alive, and RescueStuckJobsAfter may be
// much shorter, such as a minute. Use the same value in all clients. A worker that
// was frozen for longer than that has lost its job: it discards the handler's
// answer and logs that at Warn.
//
// A job whose task a worker does not know stays available for one that does.
// Native clients need Config.FetchOnlyKnownKinds for that. If such a job's worker
// crashed, a [Worker] that is River's leader puts it back, and any other client
// that is the leader discards it. So give clients that share a database the same
// workers, use [NewWorker] for all of them, or set LeaderElectionDisabled on the
// others.
//
// # Payloads
//
// River stores arguments as jsonb. A payload that is not JSON is
// [core.ErrInvalid], unless Options.Wrap is set. PostgreSQL also refuses the escape
// \u0000, half a surrogate pair, and numbers of more than 131072 digits before the
// point or 16383 after it. SQLite refuses nesting deeper than 998. All of these are
// found before anything is sent. PostgreSQL gives back equal JSON, not equal bytes:
// keys in another order, no space, the last of equal keys, 0 for -0, and numbers
// without an exponent.
//
// # Errors
//
// Nothing is stored before COMMIT, so only a COMMIT without an answer is Unknown.
// Everything before it is NotSent, or Rejected if the database refused the data.
// If it refuses a batch, the rows are tried one by one, in a transaction that is
// rolled back, to find which are at fault. In a transaction of the caller's that
// is not possible, and the whole batch is NotSent. It is [core.ErrUnavailable] if no
// connection came about, and if the server is shutting down, starting, read-only,
// or out of connections, memory or disk space. What a hook or middleware of the
// client's returns is NotSent, or Rejected if it wraps [core.ErrInvalid]. After any
// error in the caller's transaction, roll that transaction back. The database's
// own error stays reachable with errors.As.
//
// # Concurrency
//
// Any number of calls at once; each takes a connection of the client's pool. A
// transaction serves one call at a time. A worker has Concurrency slots in each of its
// queues.
//
// # Refused
//
// An ID together with a Unique key, either of them together with UniqueOpts of a
// native option, and the native options of other executors.
package riverexec

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Executor dispatches to River. It is made by [New]. TTx is the transaction of
// the client's driver: pgx.Tx or *sql.Tx.
type Executor[TTx any] struct {
	client     *river.Client[TTx]
	options    Options
	queues     adapter.QueueNames
	database   database
	caps       core.Capabilities
	guarded    core.Executor
	configured atomic.Bool // the client is known to have our hook
}

// New returns an executor on the client, which stays the caller's. A client that
// only inserts needs neither queues nor workers. Nil opts are the zero
// [Options]. A nil client and bad Options.QueueNames are [core.ErrInvalid].
//
// The first dispatch is rejected with [core.ErrInvalid] if the client's Config was
// not given to [ConfigureClient].
func New[TTx any](client *river.Client[TTx], opts *Options) (*Executor[TTx], error) {
	if client == nil {
		return nil, fmt.Errorf("airlock: river: nil client: %w", core.ErrInvalid)
	}
	if opts == nil {
		opts = &Options{}
	}
	queues, err := newQueueNames(opts.QueueNames)
	if err != nil {
		return nil, err
	}
	e := &Executor[TTx]{client: client, options: *opts, queues: queues, database: database(client.Driver().DatabaseName())}
	e.caps = capabilities(e.options, e.queues, e.database)
	e.guarded = adapter.Guard(e.caps, func(ctx context.Context, intents ...core.Intent) error {
		if !client.Driver().PoolIsSet() {
			return fmt.Errorf("airlock: river: the client has no connection pool, dispatch with InTx: %w", core.ErrInvalid)
		}
		return e.dispatch(ctx, nil, intents)
	})
	return e, nil
}

// Execute stores the intents' jobs in one transaction of its own. It is a
// [core.Executor]. A nil or zero Executor answers with [core.ErrInvalid].
func (e *Executor[TTx]) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return zeroExecutor(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

var (
	errZeroExecutor = fmt.Errorf("airlock: river: zero Executor: executors are made by New: %w", core.ErrInvalid)
	zeroExecutor    = adapter.Invalid(errZeroExecutor)
)

// Capabilities returns a copy of what the executor does with each option.
// Executors of [InTx] are Transactional as well.
func (e *Executor[TTx]) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

// InTx returns an executor that stores jobs inside tx: they exist when tx has
// committed, and never if it is rolled back. It commits nothing itself. With a
// scope around the work
//
//	err = airlock.Run(ctx, riverexec.InTx(exec, tx), func(ctx context.Context) error { … })
//
// is followed by tx.Commit, or by tx.Rollback if err is not nil. Its capabilities
// say Transactional, so the scope flushes at once, also inside a request's scope. A
// nil executor or a nil tx is [core.ErrInvalid] at each call.
func InTx[TTx any](e *Executor[TTx], tx TTx) core.Executor {
	switch {
	case e == nil || e.guarded == nil:
		return zeroExecutor
	case isNil(tx):
		return adapter.Invalid(fmt.Errorf("airlock: river: InTx with a nil transaction: %w", core.ErrInvalid))
	}
	caps := e.caps.Clone()
	caps.Transactional = true
	return adapter.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		return e.dispatch(ctx, &tx, intents)
	})
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}
