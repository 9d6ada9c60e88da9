// Package riverexec hands intents to River (github.com/riverqueue/river), a job
// queue in PostgreSQL or SQLite, and works its jobs with a [core.Registry].
//
// The caller's own client comes in. Its Config must have been given to
// [Configure] before the client was made: identity and unique keys need a hook
// that cannot be added later. [InTx] dispatches inside the caller's
// transaction, so that jobs commit or roll back with the data.
//
// # Mapping
//
//	Queue        InsertOpts.Queue; "default" without it
//	Priority     InsertOpts.Priority: 10 to 8 → 1, 7 to 5 → 2, 4 to 3 → 3, 2 to 1 → 4;
//	             unset stays unset, which is River's 1, its highest
//	Delay, At    InsertOpts.ScheduledAt, rounded up to a millisecond. Up to 5 s ahead
//	             the job is stored as available, so that it is at most one
//	             FetchPollInterval (1 s) late; River's scheduler may take 5 s more
//	MaxAttempts  InsertOpts.MaxAttempts, at most 32767
//	Backoff      in the metadata; our worker half's NextRetry reads it, to 1 ms
//	Timeout      in the metadata; our worker half applies it, exact
//	Deadline     in the metadata; our worker half applies it, exact
//	ID           unique_key over all states, a UUID's 16 bytes or a hash; and in
//	             the metadata
//	Unique       unique_key of task, queue and key, over the unfinished states
//	Header       in the metadata
//	Native       a function of *river.InsertOpts, for the rest: tags, pending …
//
// The arguments are the payload itself, and what is ours stands in the metadata
// under the key "airlock", so native workers can work these jobs and native
// producers can feed ours. A native worker ignores Backoff, Timeout and
// Deadline, and a job without our metadata has the client's JobTimeout and
// RetryPolicy.
//
// # Delivery
//
// At least once, first in first out within queue and priority. A call is one
// InsertMany, atomic, in three round trips however many intents it has (one in
// the caller's transaction). More than 128 MiB are sent in several.
//
// An ID is remembered as long as River keeps the job's row, by default 24 hours
// after it was completed or cancelled and 7 days after it was discarded. A job
// has one unique_key: with [core.Unique] that key takes it, and a generated ID
// is remembered only until the job has finished. After a crash River's rescuer
// runs a job again, by default after an hour (Config.RescueStuckJobsAfter); a
// job without a Timeout must not run longer than that, else it runs twice. A
// client that may become leader discards stuck jobs of kinds that it does not
// know: give every client the same workers, or set LeaderElectionDisabled.
//
// # Payloads
//
// River stores arguments as jsonb. A payload that is not JSON is
// [core.ErrInvalid], unless Options.Wrap is set. PostgreSQL also has no place
// for the escape \u0000, for half a surrogate pair, for numbers of more than
// 131072 digits before the point or 16383 after it, and SQLite none for nesting
// deeper than 998: these are refused before anything is sent. PostgreSQL gives
// back equal JSON, not equal bytes: keys in another order, no space, the last
// of equal keys, 0 for -0, and numbers without an exponent.
//
// # Errors
//
// A connection that could not be made, or broke before anything was written, is
// [core.ErrUnavailable], as is a server that is shutting down, starting, or out of
// connections. A statement that the database refused is NotSent, or Rejected if
// its data were at fault. A COMMIT without an answer, and any other broken
// connection, is Unknown. In a
// transaction of the caller's every error other than a refusal leaves that
// transaction to be rolled back. The database's own error stays reachable.
//
// # Concurrency
//
// Any number of calls at once; each takes a connection of the client's pool. A
// transaction serves one call at a time.
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

	"github.com/goairlock/airlock/core"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// NoIdentity dispatches by COPY (InsertManyFast), which is about twice as
	// fast. Generated IDs are then not remembered: an intent that is sent again
	// after a lost answer is a second job. Chosen IDs and Unique keys still hold;
	// a call with one of them is not that fast.
	NoIdentity bool

	// Wrap stores a payload that the database has no place for, because it is
	// not JSON or has what jsonb refuses, as a JSON string of its base64. Our
	// worker half unwraps it; a native worker sees the string.
	Wrap bool
}

// Executor dispatches to River. It is made by [New]. TTx is the transaction of
// the client's driver: pgx.Tx or *sql.Tx.
type Executor[TTx any] struct {
	client     *river.Client[TTx]
	options    Options
	database   database
	caps       core.Capabilities
	guarded    core.Executor
	configured atomic.Bool // the client is known to have our hook
}

// New returns an executor on the client, which stays the caller's. A client that
// only inserts needs neither queues nor workers. Nil opts are the zero
// [Options]; a nil client is [core.ErrInvalid].
//
// Whether the client's Config was given to [Configure] shows at the first
// dispatch, which is rejected with [core.ErrInvalid] if it was not.
func New[TTx any](client *river.Client[TTx], opts *Options) (*Executor[TTx], error) {
	if client == nil {
		return nil, fmt.Errorf("airlock: river: nil client: %w", core.ErrInvalid)
	}
	if opts == nil {
		opts = &Options{}
	}
	e := &Executor[TTx]{client: client, options: *opts, database: database(client.Driver().DatabaseName())}
	e.caps = capabilities(e.options, e.database)
	e.guarded = core.Guard(e.caps, func(ctx context.Context, intents ...core.Intent) error {
		if !client.Driver().PoolIsSet() {
			return fmt.Errorf("airlock: river: the client has no connection pool, dispatch with InTx: %w", core.ErrInvalid)
		}
		return e.dispatch(ctx, nil, intents)
	})
	return e, nil
}

// Execute stores the intents' jobs in one transaction of its own. It is a
// [core.Executor].
func (e *Executor[TTx]) Execute(ctx context.Context, intents ...core.Intent) error {
	return e.guarded(ctx, intents...)
}

// Capabilities returns what the executor does with each option. They hold for
// [InTx] as well. DefaultAttempts is River's own default, which the client's
// Config.MaxAttempts may replace.
func (e *Executor[TTx]) Capabilities() core.Capabilities { return e.caps }

// InTx returns an executor that stores jobs inside tx: they exist when tx has
// committed, and never if it is rolled back. It commits nothing itself. With a
// scope around the work
//
//	err = airlock.Run(ctx, riverexec.InTx(exec, tx), func(ctx context.Context) error { … })
//
// is followed by tx.Commit, or by tx.Rollback if err is not nil. The scope is a
// boundary of its own, also inside a request's scope. A nil executor or a nil
// tx is [core.ErrInvalid] at each call.
func InTx[TTx any](e *Executor[TTx], tx TTx) core.Executor {
	switch {
	case e == nil:
		return refusing("nil executor")
	case isNil(tx):
		return refusing("nil transaction")
	}
	return core.Guard(e.caps, func(ctx context.Context, intents ...core.Intent) error {
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

func refusing(what string) core.Executor {
	return func(_ context.Context, intents ...core.Intent) error {
		return fmt.Errorf("airlock: river: InTx with a %s: %w", what, core.ErrInvalid)
	}
}
