package riverexec

import (
	"context"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// stage is how far a call had come when it failed.
type stage int

const (
	beginning stage = iota
	inserting
	committing
)

// inTransaction calls fn with the caller's transaction or with one that it begins
// and commits. River's InsertMany does the same, but an error of it does not say
// at which stage it failed.
func (e *Executor[TTx]) inTransaction(ctx context.Context, tx *TTx, b *batch, fn func(TTx) error) (stage, error) {
	if tx != nil {
		return inserting, e.inSavepoint(ctx, *tx, b, fn)
	}
	driver := e.client.Driver()
	own, err := driver.GetExecutor().Begin(ctx)
	if err != nil {
		return beginning, err
	}
	if err := fn(driver.UnwrapTx(own)); err != nil {
		rollback(ctx, own)
		return inserting, err
	}
	if ctx.Err() != nil { // the last moment at which nothing is stored for certain
		rollback(ctx, own)
		return inserting, ctx.Err()
	}
	if err := own.Commit(ctx); err != nil {
		rollback(ctx, own) // gives the connection back
		return committing, err
	}
	return committing, nil
}

// inSavepoint calls fn with the caller's transaction. It does so in a savepoint if a
// COPY may fail, and as long as the client is not known to have our hook, so that jobs
// without an identity do not remain.
func (e *Executor[TTx]) inSavepoint(ctx context.Context, tx TTx, b *batch, fn func(TTx) error) error {
	if e.configured.Load() && !(b.fast && b.keyed && e.database != sqlite) {
		return fn(tx)
	}
	driver := e.client.Driver()
	savepoint, err := driver.UnwrapExecutor(tx).Begin(ctx)
	if err != nil {
		return err
	}
	if err := fn(driver.UnwrapTx(savepoint)); err != nil {
		rollback(ctx, savepoint)
		return err
	}
	return savepoint.Commit(ctx)
}

// rollback ends a transaction also after its context has ended. What it cannot roll
// back the server does when the connection ends.
func rollback(ctx context.Context, tx riverdriver.ExecutorTx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}
