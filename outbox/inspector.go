package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/internal/sqlstate"
)

// Inspector looks at the rows of one destination and acts on them, as an
// [inspect.Inspector]. [NewInspector] makes it. A row is a job that has not reached its
// queue. The states are
//
//	Waiting  a relay may take it now
//	Delayed  kept until its delay is over, or it waits after a failed attempt
//	Running  leased by a relay, or by the process that wrote it
//	Dead     refused, failed for good or not decodable; also ambiguous rows, whose
//	         Job.Error begins with "ambiguous: ", see [Hold]
//	Parked   unknown: a row of a later version is Delayed, and Job.Unreadable says why
//	Done     not kept
//
// A queue exists while it has a row. Attempts are dispatches, of which there is no
// limit. The same ID may have several rows in a queue: Get returns the first one, and
// Retry and Discard act on all of them.
//
// RetryAll leaves ambiguous rows alone and counts them as skipped, since each could
// become a second job. Retry takes them. An outbox cannot be paused: stop its relays.
//
// Queues, Depth and everything that looks for an ID read all rows of the destination,
// except on MySQL, which has an index of IDs.
type Inspector struct {
	box *Box
	db  DB
}

var _ inspect.Inspector = (*Inspector)(nil)

// NewInspector returns an inspector of the box's destination. It does no I/O. A nil or
// zero box or database is [core.ErrInvalid].
func NewInspector(box *Box, db DB) (*Inspector, error) {
	if err := box.usable(db); err != nil {
		return nil, err
	}
	if db == nil {
		return nil, errNilDB
	}
	return &Inspector{box, db}, nil
}

// The states of a row, as the expression of [Inspector.state] returns them.
const (
	inWaiting = iota
	inDelayed
	inFlight
	inDead
	inHeld
)

// state is an SQL expression for the state of a row.
func (i *Inspector) state() string {
	b := i.box
	now, leased := b.now(), "token <> '' AND due > "+b.now()
	if b.ordered {
		leased += " OR token <> '' AND token IN (SELECT token FROM " + b.quoted(b.table+"_meta") + " WHERE until > " + now + ")"
	}
	return fmt.Sprintf("CASE WHEN state = %d THEN %d WHEN state = %d THEN %d WHEN %s THEN %d WHEN due > %s THEN %d ELSE %d END",
		rowDead, inDead, rowHeld, inHeld, leased, inFlight, now, inDelayed, inWaiting)
}

// from appends FROM and WHERE for the rows of a queue.
func (i *Inspector) from(s *statement, queue string) *statement {
	s.add(" FROM ", i.box.quoted(i.box.table), " WHERE dest = ").arg(i.box.dest)
	if name := cmp.Or(queue, defaultQueue); name == defaultQueue {
		return s.add(" AND queue IN ('', '" + defaultQueue + "')")
	}
	return s.add(" AND queue = ").arg(queue)
}

const defaultQueue = "default"

// Queues returns the queues that have a row.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	s := newStatement(i.box.dialect)
	s.add("SELECT DISTINCT queue FROM ", i.box.quoted(i.box.table), " WHERE dest = ").arg(i.box.dest)
	queues := []string{}
	err := collect(ctx, i.db, s.text.String(), s.args, func(rows Rows) error {
		var name string
		err := rows.Scan(&name)
		queues = append(queues, cmp.Or(name, defaultQueue))
		return err
	})
	if err != nil {
		return nil, i.failed(ctx, "list the queues", err)
	}
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// Depth counts the rows of a queue. Oldest is the age of the oldest waiting row, from
// the end of its delay.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	if err := i.check(ctx); err != nil {
		return inspect.Depth{}, err
	}
	s := newStatement(i.box.dialect)
	s.add("SELECT what, COUNT(*), MIN(not_before), ", i.box.now(), " FROM (SELECT not_before, ", i.state(), " AS what")
	i.from(s, queue).add(") AS rows_of_queue GROUP BY what")
	var counts [inHeld + 1]int64
	var oldest time.Duration
	any := false
	err := collect(ctx, i.db, s.text.String(), s.args, func(rows Rows) error {
		var what, count, first, at int64
		if err := rows.Scan(&what, &count, &first, &at); err != nil {
			return err
		}
		any = true
		counts[what] = count
		if what == inWaiting {
			oldest = time.Duration(at-first) * time.Microsecond
		}
		return nil
	})
	if err != nil {
		return inspect.Depth{}, i.failed(ctx, "count rows", err)
	}
	if !any {
		return inspect.Depth{}, noQueue(queue)
	}
	return inspect.Depth{
		Queue: cmp.Or(queue, defaultQueue), Oldest: inspect.AgeOf(oldest), Waiting: inspect.CountOf(counts[inWaiting]), Delayed: inspect.CountOf(counts[inDelayed]),
		Running: inspect.CountOf(counts[inFlight]), Dead: inspect.CountOf(counts[inDead] + counts[inHeld]),
	}, nil
}

// listBytes bounds the payloads of a page. The page ends early then.
const listBytes = 8 << 20

// List returns a page of the rows of a queue, in the order in which they were stored.
func (i *Inspector) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	if err := i.check(ctx); err != nil {
		return inspect.Page{}, err
	}
	after := int64(0)
	if q.Cursor != "" {
		if after, err = strconv.ParseInt(q.Cursor, 10, 64); err != nil || after < 0 {
			return inspect.Page{}, fmt.Errorf("airlock: outbox: Query.Cursor is not one of this inspector: %w", core.ErrInvalid)
		}
	}
	switch q.State {
	case inspect.Done:
		return inspect.Page{}, unsupported("list jobs that are done", "their rows are deleted")
	case inspect.Parked:
		return inspect.Page{}, unsupported("list parked jobs", "rows of a later version are listed as delayed")
	}
	rows, more, err := i.rows(ctx, q, after)
	if err != nil {
		return inspect.Page{}, i.failed(ctx, "list rows", err)
	}
	var page inspect.Page
	for _, r := range rows {
		page.Jobs = append(page.Jobs, r.Job)
	}
	if more {
		page.Next = strconv.FormatInt(rows[len(rows)-1].seq, 10)
	}
	if len(rows) == 0 && q.Cursor == "" {
		if _, err := i.Depth(ctx, q.Queue); err != nil { // is there such a queue?
			return inspect.Page{}, err
		}
	}
	return page, nil
}

// Get returns the first row with this ID.
func (i *Inspector) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	rows, err := i.find(ctx, queue, id)
	if err != nil {
		return inspect.Job{}, err
	}
	return rows[0].Job, nil
}

// Pause is refused.
func (i *Inspector) Pause(ctx context.Context, _ string) error { return i.noPause(ctx, "pause") }

// Resume is refused.
func (i *Inspector) Resume(ctx context.Context, _ string) error { return i.noPause(ctx, "resume") }

func (i *Inspector) noPause(ctx context.Context, action string) error {
	if err := i.check(ctx); err != nil {
		return err
	}
	return unsupported(action, "an outbox sends while a relay runs, so stop its relays")
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.box == nil:
		return fmt.Errorf("airlock: outbox: nil or zero Inspector, use NewInspector: %w", core.ErrInvalid)
	case ctx == nil:
		return errNilContext
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// failed is the error of a statement. What the database has not answered is
// core.ErrUnavailable.
func (i *Inspector) failed(ctx context.Context, what string, err error) error {
	own := fmt.Errorf("airlock: outbox: %s of table %s: %w", what, i.box.table, adapter.Masked(err))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", own, core.ContextError(ctx))
	case i.box.dialect != SQLite && !sqlstate.Answered(err):
		return fmt.Errorf("%w: %w", own, core.ErrUnavailable)
	}
	return own
}

func unsupported(action, reason string) error {
	return &inspect.UnsupportedError{Executor: "outbox", Action: action, Reason: reason}
}

func noQueue(queue string) error {
	return fmt.Errorf("airlock: outbox: queue %q has no rows: %w", cmp.Or(queue, defaultQueue), inspect.ErrNotFound)
}
