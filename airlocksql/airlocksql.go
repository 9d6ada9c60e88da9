// Package airlocksql puts a scope around a database/sql transaction. What the
// transaction's code enqueues leaves after the COMMIT, and never without one.
//
//	err := airlocksql.RunTx(ctx, db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
//		if _, err := tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", id); err != nil {
//			return err
//		}
//		return airlock.Enqueue(ctx, SendReceipt, Receipt{Order: id})
//	})
//
// # After the COMMIT only: a crash loses jobs
//
// WITHOUT THE OPTION [Outbox] THIS IS NOT AN OUTBOX. Between the COMMIT and the end
// of the flush there is a gap. A process that dies in the gap has committed its data and has lost its jobs,
// and nobody finds out. The same holds if the queue is away after the COMMIT and
// the program does not keep the intents of the [airlock.FlushError].
//
// This package prevents the opposite mistake, which is more frequent: jobs of
// transactions that were rolled back, and jobs that run before their data are
// visible. If a job must not be lost, write it in the transaction, with the option
// [Outbox] or with riverexec.InTx.
//
// # Inside another scope
//
// The outermost scope decides. Inside another scope, such as that of a request,
// RunTx hands its intents to that scope after the COMMIT, even if it has an executor
// of its own. If the outer scope then fails, the intents are discarded although the
// data are committed. With the option [airlock.Independent] the COMMIT alone
// decides. With the option [Outbox] the intents are rows of the transaction and leave
// with its COMMIT, whatever becomes of the scopes around it.
//
// # Savepoints
//
// RunTx does not know what happens to savepoints. An intent that was enqueued after a
// savepoint leaves with the COMMIT, also if the transaction was rolled back to the
// savepoint. Put a scope around the savepoint, which discards the intents if its
// function fails:
//
//	err := airlock.Run(ctx, nil, func(ctx context.Context) error {
//		if _, err := tx.ExecContext(ctx, "SAVEPOINT gift"); err != nil {
//			return err
//		}
//		err := addGift(ctx, tx) // which writes and enqueues
//		if err != nil {
//			_, back := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT gift")
//			return errors.Join(err, back)
//		}
//		return nil
//	})
package airlocksql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// DefaultFlushLimit bounds the flush after the COMMIT. The flush goes on if the
// context ends. [airlock.FlushLimit] among the options sets another limit.
const DefaultFlushLimit = 10 * time.Second

// Beginner begins transactions: a [*sql.DB] or a [*sql.Conn].
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// CommitError is the error of RunTx, here and in package airlockpgx, if nobody knows
// whether the transaction was committed: COMMIT
// returned an error that may mean either. Nothing was sent. If you find out that it
// was committed, send the intents, unless they are Stored.
type CommitError struct {
	Intents []core.Intent // what was enqueued, in order, also what policies would drop
	Stored  bool          // see Outbox: if it was committed, they are rows that a relay sends
	Err     error         // what COMMIT returned
}

func (e *CommitError) Error() string {
	what := "not sent"
	if e.Stored {
		what = "in the outbox if it has"
	}
	return fmt.Sprintf("airlock: nobody knows whether COMMIT has succeeded, %d intents %s: %v", len(e.Intents), what, adapter.Masked(e.Err))
}

// Unwrap returns what COMMIT returned.
func (e *CommitError) Unwrap() error { return e.Err }

// RunTx begins a transaction and a scope, calls fn with both, then commits and then
// flushes. If fn returns an error, panics or ends its goroutine, or if ctx is done
// before the COMMIT, it rolls back and sends nothing; a panic goes on. A nil txOpts
// is the driver's default. For exec see [airlock.Begin]. What exec would refuse is
// refused in fn, by [airlock.Enqueue], before anything is committed.
//
// COMMIT and flush do not end with ctx: if COMMIT was cut off, nobody would know its
// fate. COMMIT takes at most 10 seconds, and the flush [DefaultFlushLimit].
//
// RunTx returns
//
//   - fn's own error, or an error of the database: nothing was committed or sent.
//     This includes a COMMIT that the database has refused, such as a serialization
//     failure or a deferred constraint. The drivers pgx, lib/pq,
//     go-sql-driver/mysql, modernc.org/sqlite and mattn/go-sqlite3 show that.
//   - a [*CommitError] if nobody knows whether COMMIT has succeeded, or if fn has
//     ended the transaction itself: nothing was sent.
//   - an [*airlock.FlushError]: the data are committed and not every intent was sent.
func RunTx(ctx context.Context, db Beginner, txOpts *sql.TxOptions, exec core.Executor,
	fn func(ctx context.Context, tx *sql.Tx) error, opts ...airlock.Option,
) error {
	switch {
	case db == nil, db == (*sql.DB)(nil), db == (*sql.Conn)(nil):
		return fmt.Errorf("airlock: airlocksql: RunTx with a nil database: %w", core.ErrInvalid)
	case fn == nil:
		return fmt.Errorf("airlock: airlocksql: RunTx with a nil function: %w", core.ErrInvalid)
	}
	if box, rest, ok := takeOutbox(opts); ok {
		return runWithOutbox(ctx, db, txOpts, exec, box, fn, rest)
	}
	opts = append([]airlock.Option{airlock.FlushLimit(DefaultFlushLimit)}, opts...)
	inside, scope, err := airlock.Begin(ctx, exec, opts...)
	if err != nil {
		return err
	}
	defer scope.Discard()
	tx, err := begin(ctx, db, txOpts)
	if err != nil {
		return err
	}
	defer tx.close()
	if err := fn(inside, tx.Tx); err != nil {
		return rollback(tx.Tx, err)
	}
	if err := tx.commit(ctx, scope.Intents(), false); err != nil {
		return err
	}
	return scope.Flush(ctx)
}
