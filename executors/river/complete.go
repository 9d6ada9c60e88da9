package riverexec

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// CompleteTx completes the job that a handler is running, inside the handler's own
// transaction. So the job is done exactly when the handler's data are committed, and
// a crash cannot make it run twice. Commit the transaction and return nil after it.
//
// The error is [core.ErrInvalid] outside a handler of River, or with a transaction of
// another driver than the client's. If another worker has taken the job over, it is
// another error. Roll the transaction back after any error.
//
// It does what river.JobCompleteTx does, and also checks that this worker still has
// the job.
func CompleteTx[TTx any](ctx context.Context, tx TTx) error {
	job, _ := worker.JobFrom(ctx)
	row, ok := job.Native.(*rivertype.JobRow)
	if !ok {
		return fmt.Errorf("airlock: river: CompleteTx outside a handler: %w", core.ErrInvalid)
	}
	client, err := river.ClientFromContextSafely[TTx](ctx)
	if err != nil || isNil(tx) {
		return fmt.Errorf("airlock: river: CompleteTx needs a transaction of the client's driver: %w", core.ErrInvalid)
	}
	table := tableOf(client)
	table.exec = client.Driver().UnwrapExecutor(tx)
	if err := table.renew(ctx, row); err != nil {
		return wrap(err)
	}
	if _, err := river.JobCompleteTx[riverdriver.Driver[TTx]](ctx, tx, &river.Job[arguments]{JobRow: row}); err != nil {
		return wrap(err)
	}
	return nil
}
