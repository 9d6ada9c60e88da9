// Package airlockpgx puts a scope around a pgx transaction. What the transaction's
// code enqueues leaves after the COMMIT, and never without one. With an outbox it
// is stored in the transaction, so that no crash can lose it.
//
//	err := airlockpgx.RunTx(ctx, pool, pgx.TxOptions{}, queue.Execute, func(ctx context.Context, tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, "UPDATE orders SET paid = true WHERE id = $1", id); err != nil {
//			return err
//		}
//		return airlock.Enqueue(ctx, SendReceipt, Receipt{Order: id})
//	}, airlockpgx.Outbox(box))
//
// [DB] and [Tx] adapt pgx for package outbox.
//
// # Without the option Outbox a crash loses jobs
//
// Between the COMMIT and the end of the flush there is a gap. A process that dies in
// the gap has committed its data and has lost its jobs, and nobody finds out. The
// same holds if the queue is away after the COMMIT and the program does not keep the
// intents of the [airlock.FlushError].
//
// # Inside another scope
//
// The outermost scope decides. RunTx without an outbox, inside another scope, hands
// its intents to that scope after the COMMIT. With an outbox the COMMIT alone
// decides, and so it does with the option [airlock.Independent].
//
// # Savepoints
//
// The Begin of a pgx.Tx makes a savepoint, of which RunTx does not know. An intent that
// was enqueued after it leaves with the COMMIT, also if the savepoint was rolled back.
// Put a scope around the savepoint, which discards the intents if its function fails:
//
//	err := airlock.Run(ctx, nil, func(ctx context.Context) error {
//		return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
//			return addGift(ctx, tx) // which writes and enqueues
//		})
//	})
package airlockpgx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/misplaced"
	"github.com/goairlock/airlock/internal/sqlstate"
	"github.com/goairlock/airlock/outbox"
)

// DefaultFlushLimit bounds the flush after the COMMIT. The flush goes on if the
// context ends. [airlock.FlushLimit] among the options sets another limit.
const DefaultFlushLimit = 10 * time.Second

// endLimit bounds COMMIT and ROLLBACK, which do not end with the context: the fate
// of a COMMIT that was cut off is unknown.
const endLimit = 10 * time.Second

// Beginner begins transactions: a [*pgxpool.Pool] or a [*pgx.Conn].
type Beginner interface {
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// CommitError is the error of RunTx if nobody knows whether the transaction was
// committed. It is that of package airlocksql, so that a program with both looks for
// one type.
type CommitError = airlocksql.CommitError

// Outbox makes [RunTx] store the intents in the transaction, as rows of an outbox.
// After the COMMIT they are sent from memory. Whatever happens to the process or to
// the queue, a relay sends what was committed, see [outbox.NewRelay]. RunTx then
// returns no [*airlock.FlushError] after a COMMIT.
//
// exec may be nil. Otherwise it must be the executor that the box is for: if both
// say which executor they are and it is not the same, RunTx returns
// [core.ErrInvalid]. The intents leave with the COMMIT, also inside another scope: a
// request that fails after the COMMIT does not take them back.
//
// Everywhere else, also in [airlock.WithDefaults], the option is [core.ErrInvalid].
//
// The dispatch after the COMMIT takes at most [DefaultFlushLimit], or what
// [airlock.FlushLimit] among the options says, and ends before the lease of the rows
// does. What was not sent by then is sent by a relay.
//
// A [*CommitError] has Stored set: if the transaction was committed, a relay sends
// the intents when their lease has ended.
func Outbox(box *outbox.Box) airlock.Option {
	return outboxOption{misplacedOutbox, box}
}

// misplacedOutbox is what Outbox is to everybody but RunTx, which takes it out of
// the list.
var misplacedOutbox = misplaced.Option(fmt.Errorf("airlock: airlockpgx: Outbox is an option of airlockpgx.RunTx only: %w", core.ErrInvalid)).(airlock.Option)

type outboxOption struct {
	airlock.Option
	box *outbox.Box
}

// RunTx begins a transaction and a scope, calls fn with both, then commits and then
// flushes. If fn returns an error, panics or ends its goroutine, or if ctx is done
// before the COMMIT, it rolls back and sends nothing; a panic goes on. For exec see
// [airlock.Begin]. What exec would refuse is refused in fn, by [airlock.Enqueue],
// before anything is committed. With [Outbox] the flush stores the intents before
// the COMMIT.
//
// COMMIT and flush do not end with ctx. The flush takes at most [DefaultFlushLimit].
//
// RunTx returns
//
//   - fn's own error, or an error of the database: nothing was committed or sent.
//     This includes a COMMIT that the database has refused, such as a serialization
//     failure or a deferred constraint.
//   - a [*CommitError] if nobody knows whether COMMIT has succeeded, or if fn has
//     ended the transaction itself: nothing was sent.
//   - an [*airlock.FlushError], only without an outbox: the data are committed and
//     not every intent was sent.
func RunTx(ctx context.Context, db Beginner, txOpts pgx.TxOptions, exec core.Executor,
	fn func(ctx context.Context, tx pgx.Tx) error, opts ...airlock.Option,
) error {
	switch {
	case db == nil, db == (*pgxpool.Pool)(nil), db == (*pgx.Conn)(nil):
		return fmt.Errorf("airlock: airlockpgx: RunTx with a nil database: %w", core.ErrInvalid)
	case fn == nil:
		return fmt.Errorf("airlock: airlockpgx: RunTx with a nil function: %w", core.ErrInvalid)
	case ctx == nil:
		return fmt.Errorf("airlock: airlockpgx: RunTx with a nil context: %w", core.ErrInvalid)
	}
	box, opts, err := takeOutbox(exec, opts)
	if err != nil {
		return err
	}
	if box == nil {
		return runAfterCommit(ctx, db, txOpts, exec, fn, opts)
	}
	opts, limit := takeFlushLimit(opts)
	tx, err := db.BeginTx(ctx, txOpts)
	if err != nil {
		return fmt.Errorf("airlock: airlockpgx: begin: %w", adapter.Masked(err))
	}
	defer rollback(ctx, tx, nil) // for a panic; after the end of the transaction it does nothing
	held := box.Hold(Tx(tx))
	held.NoSavepoints()
	inside, scope, err := airlock.Begin(ctx, held.Execute, opts...)
	if err != nil {
		return rollback(ctx, tx, err)
	}
	defer scope.Discard()
	if err := call(ctx, inside, tx, fn); err != nil {
		return err
	}
	intents := scope.Intents()
	if err := scope.Flush(ctx); errors.Is(err, pgx.ErrTxClosed) && ctx.Err() == nil {
		return &CommitError{Intents: intents, Err: err} // fn has ended the transaction
	} else if err != nil {
		return rollback(ctx, tx, fmt.Errorf("airlock: airlockpgx: not committed, the outbox could not store the intents: %w", err))
	}
	if err := commit(ctx, tx, intents, len(intents) > 0); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	held.Committed(limited)
	return nil
}

func runAfterCommit(ctx context.Context, db Beginner, txOpts pgx.TxOptions, exec core.Executor,
	fn func(ctx context.Context, tx pgx.Tx) error, opts []airlock.Option,
) error {
	opts = append([]airlock.Option{airlock.FlushLimit(DefaultFlushLimit)}, opts...)
	inside, scope, err := airlock.Begin(ctx, exec, opts...)
	if err != nil {
		return err
	}
	defer scope.Discard()
	tx, err := db.BeginTx(ctx, txOpts)
	if err != nil {
		return fmt.Errorf("airlock: airlockpgx: begin: %w", adapter.Masked(err))
	}
	defer rollback(ctx, tx, nil)
	if err := call(ctx, inside, tx, fn); err != nil {
		return err
	}
	if err := commit(ctx, tx, scope.Intents(), false); err != nil {
		return err
	}
	return scope.Flush(ctx)
}

// takeOutbox returns the last outbox among the options, or nil, and the other options.
func takeOutbox(exec core.Executor, opts []airlock.Option) (box *outbox.Box, rest []airlock.Option, err error) {
	found := false
	for _, o := range opts {
		if own, ok := o.(outboxOption); ok {
			box, found = own.box, true
		} else {
			rest = append(rest, o)
		}
	}
	if !found {
		return nil, rest, nil
	}
	if box == nil || box.Capabilities().Options == nil {
		return nil, nil, fmt.Errorf("airlock: airlockpgx: Outbox with a nil or zero Box: %w", core.ErrInvalid)
	}
	if exec != nil {
		caps, _ := exec.Capabilities()
		if want := box.Capabilities().Executor; want != "" && caps.Executor != "" && want != caps.Executor {
			return nil, nil, fmt.Errorf("airlock: airlockpgx: the executor is %s, the outbox is for %s: %w", caps.Executor, want, core.ErrInvalid)
		}
	}
	return box, rest, nil
}

// takeFlushLimit returns the last [airlock.FlushLimit] among the options, and the other
// options. The flush into the transaction ends with the context.
func takeFlushLimit(opts []airlock.Option) (rest []airlock.Option, limit time.Duration) {
	limit = DefaultFlushLimit
	for _, o := range opts {
		if d, ok := misplaced.FlushLimit(o); ok {
			limit = d
		} else {
			rest = append(rest, o)
		}
	}
	return rest, limit
}

// call calls fn, and rolls back if there is nothing to commit.
func call(ctx, inside context.Context, tx pgx.Tx, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if err := fn(inside, tx); err != nil {
		return rollback(ctx, tx, err)
	}
	if ctx.Err() != nil {
		return rollback(ctx, tx, fmt.Errorf("airlock: airlockpgx: not committed: %w", core.ContextError(ctx)))
	}
	return nil
}

func commit(ctx context.Context, tx pgx.Tx, intents []core.Intent, stored bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	err := tx.Commit(ctx)
	switch {
	case err == nil:
		return nil
	case sqlstate.RefusedCommit(err):
		return fmt.Errorf("airlock: airlockpgx: the database refused COMMIT, nothing was committed or sent: %w", adapter.Masked(err))
	}
	// If fn has ended the transaction, nothing was stored.
	return &CommitError{Intents: intents, Stored: stored && !errors.Is(err, pgx.ErrTxClosed), Err: err}
}

// rollback rolls back and returns why, and also what went wrong with the rollback.
// It leaves out [pgx.ErrTxClosed]: the end of the context, or fn, has ended the
// transaction before.
func rollback(ctx context.Context, tx pgx.Tx, why error) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	err := tx.Rollback(limited)
	if err == nil || errors.Is(err, pgx.ErrTxClosed) || tx.Conn().IsClosed() {
		return why // a connection that is lost rolls back too
	}
	return errors.Join(why, fmt.Errorf("airlock: airlockpgx: roll back: %w", adapter.Masked(err)))
}
