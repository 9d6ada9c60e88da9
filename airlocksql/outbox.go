package airlocksql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/misplaced"
	"github.com/goairlock/airlock/outbox"
)

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
var misplacedOutbox = misplaced.Option(fmt.Errorf("airlock: airlocksql: Outbox is an option of airlocksql.RunTx only: %w", core.ErrInvalid)).(airlock.Option)

type outboxOption struct {
	airlock.Option
	box *outbox.Box
}

// takeOutbox returns the last outbox among the options, and the other options.
func takeOutbox(opts []airlock.Option) (box *outbox.Box, rest []airlock.Option, found bool) {
	for _, o := range opts {
		if own, ok := o.(outboxOption); ok {
			box, found = own.box, true
		} else {
			rest = append(rest, o)
		}
	}
	return box, rest, found
}

// runWithOutbox is RunTx with an outbox. The scope flushes into the transaction.
func runWithOutbox(ctx context.Context, db Beginner, txOpts *sql.TxOptions, exec core.Executor, box *outbox.Box,
	fn func(ctx context.Context, tx *sql.Tx) error, opts []airlock.Option,
) error {
	if ctx == nil {
		return fmt.Errorf("airlock: airlocksql: RunTx with a nil context: %w", core.ErrInvalid)
	}
	if box == nil || box.Capabilities().Options == nil {
		return fmt.Errorf("airlock: airlocksql: Outbox with a nil or zero Box: %w", core.ErrInvalid)
	}
	if exec != nil {
		caps, _ := exec.Capabilities()
		if want := box.Capabilities().Executor; want != "" && caps.Executor != "" && want != caps.Executor {
			return fmt.Errorf("airlock: airlocksql: the executor is %s, the outbox is for %s: %w", caps.Executor, want, core.ErrInvalid)
		}
	}
	opts, limit := takeFlushLimit(opts)
	tx, err := begin(ctx, db, txOpts)
	if err != nil {
		return err
	}
	defer tx.close()
	held := box.Hold(outbox.SQL(tx.Tx))
	held.NoSavepoints()
	inside, scope, err := airlock.Begin(ctx, held.Execute, opts...)
	if err != nil {
		return rollback(tx.Tx, err)
	}
	defer scope.Discard()
	if err := fn(inside, tx.Tx); err != nil {
		return rollback(tx.Tx, err)
	}
	if ctx.Err() != nil {
		return rollback(tx.Tx, fmt.Errorf("airlock: airlocksql: not committed: %w", core.ContextError(ctx)))
	}
	intents := scope.Intents()
	if err := scope.Flush(ctx); errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil {
		return &CommitError{Intents: intents, Err: err} // fn has ended the transaction
	} else if err != nil {
		return rollback(tx.Tx, fmt.Errorf("airlock: airlocksql: not committed, the outbox could not store the intents: %w", err))
	}
	if err := tx.commit(ctx, intents, len(intents) > 0); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	held.Committed(limited)
	return nil
}

// takeFlushLimit returns the last [airlock.FlushLimit] among the options, and the other
// options. The flush into the transaction ends with the context, as the transaction
// does.
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
