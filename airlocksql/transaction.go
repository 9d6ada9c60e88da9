package airlocksql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/sqlstate"
)

// commitLimit bounds COMMIT.
const commitLimit = 10 * time.Second

// transaction is a transaction that ends with the context of RunTx until COMMIT. With
// the context itself, database/sql and drivers such as that of pgx would cut off a
// COMMIT that is under way.
type transaction struct {
	*sql.Tx
	release func() bool // from the end of the context; false if it has ended
	end     context.CancelCauseFunc
}

func begin(ctx context.Context, db Beginner, opts *sql.TxOptions) (*transaction, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("airlock: airlocksql: begin: %w", core.ContextError(ctx))
	}
	inside, end := context.WithCancelCause(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	tx, err := db.BeginTx(inside, opts)
	if err != nil {
		release()
		end(nil)
		err = adapter.Masked(err)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, core.ContextError(ctx))
		}
		return nil, fmt.Errorf("airlock: airlocksql: begin: %w", err)
	}
	return &transaction{tx, release, end}, nil
}

// close rolls back, for a panic. After the end of the transaction it does nothing.
func (t *transaction) close() {
	_ = t.Rollback()
	t.release()
	t.end(nil)
}

// commit commits unless ctx is done.
func (t *transaction) commit(ctx context.Context, intents []core.Intent, stored bool) error {
	if !t.release() || ctx.Err() != nil {
		return rollback(t.Tx, fmt.Errorf("airlock: airlocksql: not committed: %w", core.ContextError(ctx)))
	}
	timer := time.AfterFunc(commitLimit, func() { t.end(context.DeadlineExceeded) })
	defer timer.Stop()
	switch err := t.Commit(); {
	case err == nil:
		return nil
	case sqlstate.RefusedCommit(err):
		return fmt.Errorf("airlock: airlocksql: the database refused COMMIT, nothing was committed or sent: %w", adapter.Masked(err))
	default:
		// If fn has ended the transaction, nothing was stored.
		return &CommitError{Intents: intents, Stored: stored && !errors.Is(err, sql.ErrTxDone), Err: err}
	}
}

// rollback rolls back and returns why, and also what went wrong with the rollback.
// It leaves out [sql.ErrTxDone]: the end of the context, or fn, has ended the
// transaction before.
func rollback(tx *sql.Tx, why error) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return errors.Join(why, fmt.Errorf("airlock: airlocksql: roll back: %w", adapter.Masked(err)))
	}
	return why
}
