// Package airlocksql puts a scope around a database/sql transaction: what the
// transaction's code enqueues leaves after the COMMIT, and never if there was
// none.
//
//	err := airlocksql.RunTx(ctx, db, nil, exec, func(ctx context.Context, tx *sql.Tx) error {
//		if _, err := tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", id); err != nil {
//			return err
//		}
//		return airlock.Enqueue(ctx, SendReceipt, Receipt{Order: id})
//	})
//
// # This is not an outbox
//
// Between the COMMIT and the end of the flush lies a gap. A process that is
// killed in it has committed its data and loses its jobs, and nothing will tell.
// What this package rules out is the opposite, and more frequent, mistake: jobs
// of transactions that were rolled back, and jobs that run before the data they
// need can be seen. Where a job must not be lost, write it in the transaction:
// with riverexec.InTx, or with [core.EncodeIntent] into a table of your own.
package airlocksql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// DefaultFlushLimit bounds the flush after the COMMIT, which the end of the
// context does not cut. [airlock.FlushLimit] among the options sets another.
const DefaultFlushLimit = 10 * time.Second

// Beginner begins transactions: a [*sql.DB] or a [*sql.Conn].
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// CommitError says that COMMIT returned an error, so that nobody here knows
// whether the transaction was committed. Nothing was sent. Whoever finds out
// that it was committed can send the intents.
type CommitError struct {
	Intents []core.Intent // what was enqueued, in order; no policy has dropped any yet
	Err     error         // what COMMIT returned
}

func (e *CommitError) Error() string {
	return fmt.Sprintf("airlock: commit of unknown fate, %d intents not sent: %v", len(e.Intents), e.Err)
}

// Unwrap returns what COMMIT returned.
func (e *CommitError) Unwrap() error { return e.Err }

// RunTx begins a transaction and a scope, calls fn with both, and then commits
// and flushes, in this order. If fn returns an error, panics or ends its
// goroutine, or if ctx is done before the COMMIT, the transaction is rolled back
// and nothing is sent; a panic goes on. A nil txOpts is the driver's default; for
// a nil exec see [airlock.Begin]: in another scope the intents wait for its end.
//
// The flush is not cut by the end of ctx, for the data are committed, but takes
// at most [DefaultFlushLimit].
//
// Errors are fn's own, the database's, a [*CommitError] if the fate of the
// COMMIT is unknown, which includes an fn that ended the transaction itself, and
// an [*airlock.FlushError], after which the data are committed and not all jobs
// sent. [airlock.ShouldFlush] has no say: nothing is sent without a COMMIT.
func RunTx(ctx context.Context, db Beginner, txOpts *sql.TxOptions, exec core.Executor,
	fn func(ctx context.Context, tx *sql.Tx) error, opts ...airlock.Option,
) error {
	switch {
	case db == nil, db == (*sql.DB)(nil), db == (*sql.Conn)(nil):
		return fmt.Errorf("airlock: RunTx with a nil database: %w", core.ErrInvalid)
	case fn == nil:
		return fmt.Errorf("airlock: RunTx with a nil function: %w", core.ErrInvalid)
	}
	opts = append([]airlock.Option{airlock.FlushLimit(DefaultFlushLimit)}, opts...)
	inside, scope, err := airlock.Begin(ctx, exec, opts...)
	if err != nil {
		return err
	}
	defer scope.Discard()
	tx, err := db.BeginTx(ctx, txOpts)
	if err != nil {
		return fmt.Errorf("airlock: begin transaction: %w", err)
	}
	defer tx.Rollback() // for a panic; after the end of the transaction it does nothing
	if err := fn(inside, tx); err != nil {
		return rollback(tx, err)
	}
	if ctx.Err() != nil {
		return rollback(tx, fmt.Errorf("airlock: not committed: %w", ended(ctx)))
	}
	if err := tx.Commit(); err != nil {
		return &CommitError{Intents: scope.Intents(), Err: err}
	}
	return scope.Flush(ctx)
}

// rollback returns why, and what went wrong with it beside. It leaves out what
// only says that the transaction has ended before: by the end of its context, or
// by fn.
func rollback(tx *sql.Tx, why error) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return errors.Join(why, fmt.Errorf("airlock: roll back: %w", err))
	}
	return why
}

func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}
