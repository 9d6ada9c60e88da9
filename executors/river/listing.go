package riverexec

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// List returns a page of the jobs of a queue, in the order in which they were stored.
func (i *Inspector[TTx]) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	native, err := i.native(ctx, q.Queue)
	if err != nil {
		return inspect.Page{}, err
	}
	if q.State == inspect.Parked {
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list parked jobs",
			Reason: "River stores them like other jobs that are available: list those that are waiting"}
	}
	after := int64(0)
	if q.Cursor != "" {
		if after, err = strconv.ParseInt(q.Cursor, 10, 64); err != nil {
			return inspect.Page{}, fmt.Errorf("airlock: river: the cursor is malformed: %w", core.ErrInvalid)
		}
	}
	where, args := "queue = @queue AND id > @after AND "+i.where(q.State), map[string]any{"queue": native, "after": after}
	if q.Task != "" {
		where += " AND kind = @task"
		args["task"] = q.Task
	}
	rows, err := i.rows(ctx, where, args, q.Limit)
	if err != nil {
		return inspect.Page{}, err
	}
	var page inspect.Page
	for _, row := range rows {
		job := i.jobOf(row)
		job.State = q.State // by the clock of the database
		page.Jobs = append(page.Jobs, job)
	}
	if len(rows) == q.Limit {
		page.Next = strconv.FormatInt(rows[len(rows)-1].ID, 10)
	}
	return page, nil
}

func (i *Inspector[TTx]) rows(ctx context.Context, where string, args map[string]any, most int) ([]*rivertype.JobRow, error) {
	rows, err := i.table.exec.JobList(ctx, &riverdriver.JobListParams{
		Max: int32(most), NamedArgs: args, OrderByClause: "id", Schema: i.table.schema, WhereClause: where,
	})
	if err != nil {
		return nil, inspectError(ctx, err)
	}
	return rows, nil
}

// jobOf returns a row as a job.
func (i *Inspector[TTx]) jobOf(row *rivertype.JobRow) inspect.Job {
	e := readEnvelope(row)
	w := jobWorker{queues: i.queues}
	d := w.deliveryOf(context.Background(), row, e)
	job := inspect.Job{
		ID: d.ID, Task: d.Task, Queue: d.Queue, State: stateOf(row), Attempts: row.Attempt, MaxAttempts: row.MaxAttempts,
		Enqueued: row.CreatedAt, Deadline: d.Deadline, Native: !e.ours, Headers: d.Headers,
	}
	if job.State == inspect.Delayed {
		job.Due = row.ScheduledAt
	}
	if n := len(row.Errors); n > 0 {
		// River stores the text of its own error type, which is around a Permanent one.
		job.Error, job.FailedAt = strings.TrimPrefix(row.Errors[n-1].Error, "JobCancelError: "), row.Errors[n-1].At
	}
	if d.EnvelopeErr != nil {
		job.Unreadable = d.EnvelopeErr.Error()
	}
	return job.WithPayload(d.Payload)
}

func stateOf(row *rivertype.JobRow) inspect.State {
	switch row.State {
	case rivertype.JobStateRunning:
		return inspect.Running
	case rivertype.JobStateCompleted:
		return inspect.Done
	case rivertype.JobStateDiscarded, rivertype.JobStateCancelled:
		return inspect.Dead
	case rivertype.JobStateAvailable:
		if !row.ScheduledAt.After(time.Now()) {
			return inspect.Waiting
		}
	}
	return inspect.Delayed
}

// Get returns a job.
func (i *Inspector[TTx]) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	row, err := i.find(ctx, queue, id)
	if err != nil {
		return inspect.Job{}, err
	}
	return i.jobOf(row), nil
}

// find returns the newest row of a job. Of a job of ours with a unique key only the
// metadata have the ID.
func (i *Inspector[TTx]) find(ctx context.Context, queue, id string) (*rivertype.JobRow, error) {
	native, err := i.native(ctx, queue)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		number = -1
	}
	rows, err := i.rows(ctx, "queue = @queue AND (id = @number OR "+i.dialect(
		"metadata -> '"+metadataKey+"' ->> 'id'", "json_extract(metadata, '$."+metadataKey+".id')")+" = @id)",
		map[string]any{"queue": native, "number": number, "id": id}, inspect.MaxLimit)
	if err != nil {
		return nil, err
	}
	for n := len(rows) - 1; n >= 0; n-- {
		if i.jobOf(rows[n]).ID == id {
			return rows[n], nil
		}
	}
	return nil, fmt.Errorf("airlock: river: job %q in queue %q: %w", id, native, inspect.ErrNotFound)
}
