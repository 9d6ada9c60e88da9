package riverexec

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// Retry makes a job available. See [inspect.Controller].
func (i *Inspector[TTx]) Retry(ctx context.Context, queue, id string) error {
	row, err := i.find(ctx, queue, id)
	if err != nil {
		return err
	}
	return i.retry(ctx, row, id)
}

// retry tries again as long as the row changes meanwhile.
func (i *Inspector[TTx]) retry(ctx context.Context, row *rivertype.JobRow, id string) error {
	for {
		done, err := i.retryIn(ctx, row, id)
		if done || err != nil {
			return err
		}
		if row, err = i.client.JobGet(ctx, row.ID); err != nil {
			return i.rowError(ctx, "retry", id, err)
		}
	}
}

// retryIn makes a row available if it is still in its state.
func (i *Inspector[TTx]) retryIn(ctx context.Context, row *rivertype.JobRow, id string) (done bool, err error) {
	if stateOf(row) == inspect.Dead && i.jobOf(row).Unreadable != "" {
		return false, i.rowError(ctx, "retry", id, inspect.ErrUnreadable)
	}
	set := "state = 'available', finalized_at = NULL, scheduled_at = " + i.now()
	switch state := stateOf(row); state {
	case inspect.Waiting:
		return true, nil
	case inspect.Running:
		return false, i.rowError(ctx, "retry", id, inspect.ErrRunning)
	case inspect.Done:
		return false, i.rowError(ctx, "retry", id, inspect.ErrDone)
	case inspect.Dead:
		// A worker would take an earlier request to cancel the job for one of its own.
		set += ", attempt = 0, metadata = " + i.dialect("metadata - 'cancel_attempted_at'", "jsonb_remove(metadata, '$.cancel_attempted_at')")
	}
	var changed int64
	err = i.table.exec.QueryRow(ctx, fmt.Sprintf("UPDATE %s SET %s WHERE id = %s1 AND state = '%s' RETURNING id",
		i.table.name(), set, i.table.mark, row.State), row.ID).Scan(&changed)
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, i.rowError(ctx, "retry", id, err)
	}
	return true, nil
}

// rowError returns the error of an action on one job.
func (i *Inspector[TTx]) rowError(ctx context.Context, action, id string, err error) error {
	text := fmt.Sprintf("airlock: river: %s job %q", action, id)
	switch {
	case errors.Is(err, rivertype.ErrNotFound):
		err = inspect.ErrNotFound
	case errors.Is(err, rivertype.ErrJobRunning):
		err = inspect.ErrRunning
	case sqlState(err) == "23505", isUniqueSQLite(err):
		return fmt.Errorf("%s: another unfinished job holds its unique key: %w", text, core.ErrDuplicate)
	case errors.Is(err, inspect.ErrRunning), errors.Is(err, inspect.ErrDone), errors.Is(err, inspect.ErrUnreadable):
	default:
		return inspectError(ctx, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// isUniqueSQLite reports SQLite's error for a value that must be unique.
func isUniqueSQLite(err error) bool {
	return sqliteCode(err)&0xff == sqliteConstraint && strings.Contains(err.Error(), "unique_key")
}

// RetryAll retries dead jobs, in the order in which they were stored. See
// [inspect.Controller].
func (i *Inspector[TTx]) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	q := inspect.Query{Queue: s.Queue, State: inspect.Dead, Task: s.Task, Limit: inspect.MaxLimit}
	return inspect.RetryEach(s, inspect.All(ctx, i, q), func(job inspect.Job) error { return i.Retry(ctx, s.Queue, job.ID) })
}

// Discard deletes a job. See [inspect.Controller].
func (i *Inspector[TTx]) Discard(ctx context.Context, queue, id string) error {
	row, err := i.find(ctx, queue, id)
	if err != nil {
		return err
	}
	if _, err := i.client.JobDelete(ctx, row.ID); err != nil {
		return i.rowError(ctx, "discard", id, err)
	}
	return nil
}

// Pause pauses a queue. River keeps a pause with what its workers announce, so a queue
// that none has worked is [inspect.ErrNotFound].
func (i *Inspector[TTx]) Pause(ctx context.Context, queue string) error {
	native, err := i.native(ctx, queue)
	if err != nil {
		return err
	}
	return i.queueError(ctx, native, i.client.QueuePause(ctx, native, nil))
}

// Resume ends a pause. The error for a queue that no worker has worked is that of
// Pause.
func (i *Inspector[TTx]) Resume(ctx context.Context, queue string) error {
	native, err := i.native(ctx, queue)
	if err != nil {
		return err
	}
	return i.queueError(ctx, native, i.client.QueueResume(ctx, native, nil))
}

func (i *Inspector[TTx]) queueError(ctx context.Context, native string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rivertype.ErrNotFound):
		return fmt.Errorf("airlock: river: queue %q has had no worker: %w", native, inspect.ErrNotFound)
	}
	return inspectError(ctx, err)
}

// portable returns the portable names of queues, sorted.
func (i *Inspector[TTx]) portable(native []string) []string {
	queues := make([]string, 0, len(native))
	for _, queue := range native {
		queues = append(queues, i.queues.Portable(queue))
	}
	slices.Sort(queues)
	return queues
}
