package outbox

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/inspect"
)

// inspected is a row as an Inspector reads it.
type inspected struct {
	inspect.Job
	seq   int64
	token string
	what  int64 // inWaiting and so on
}

// rows reads rows of a queue with a seq larger than after. more is true if there may be
// more of them.
func (i *Inspector) rows(ctx context.Context, q inspect.Query, after int64) (found []inspected, more bool, err error) {
	var states string
	switch q.State {
	case inspect.Waiting:
		states = fmt.Sprint(inWaiting)
	case inspect.Delayed:
		states = fmt.Sprint(inDelayed)
	case inspect.Running:
		states = fmt.Sprint(inFlight)
	default:
		states = fmt.Sprint(inDead, ", ", inHeld)
	}
	s := i.selectRows(q.Queue)
	if q.Task != "" {
		s.add(" AND task = ").arg(q.Task)
	}
	s.add(" AND seq > ").arg(after).add(" AND (", i.state(), ") IN (", states, fmt.Sprintf(") ORDER BY seq LIMIT %d", q.Limit))
	return i.read(ctx, s, q.Limit)
}

// find reads the rows of an ID. There is at least one, or an error.
func (i *Inspector) find(ctx context.Context, queue, id string) ([]inspected, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	s := i.selectRows(queue).add(" AND id = ").arg(id).add(" ORDER BY seq LIMIT 1000")
	rows, _, err := i.read(ctx, s, 1000)
	if err != nil {
		return nil, i.failed(ctx, "look for a row", err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("airlock: outbox: job %q in queue %q: %w", id, cmp.Or(queue, defaultQueue), inspect.ErrNotFound)
	}
	return rows, nil
}

func (i *Inspector) selectRows(queue string) *statement {
	s := newStatement(i.box.dialect)
	s.add("SELECT seq, id, task, queue, intent, attempts, reason, created, COALESCE(due, 0), token, ", i.state())
	return i.from(s, queue)
}

func (i *Inspector) read(ctx context.Context, s *statement, limit int) (found []inspected, more bool, err error) {
	bytes := 0
	err = collect(ctx, i.db, s.text.String(), s.args, func(rows Rows) error {
		if bytes > listBytes { // the rest comes with the next page
			more = true
			return nil
		}
		var r inspected
		var data []byte
		var attempts, created, due int64
		if err := rows.Scan(&r.seq, &r.ID, &r.Task, &r.Queue, &data, &attempts, &r.Error, &created, &due, &r.token, &r.what); err != nil {
			return err
		}
		bytes += len(data)
		r.complete(data, attempts, created, due)
		found = append(found, r)
		return nil
	})
	return found, more || len(found) == limit, err
}

// complete sets the fields that are not columns.
func (r *inspected) complete(data []byte, attempts, created, due int64) {
	r.Queue = cmp.Or(r.Queue, defaultQueue)
	r.Attempts, r.Enqueued = int(attempts), time.UnixMicro(created).UTC()
	switch r.what {
	case inWaiting:
		r.State = inspect.Waiting
	case inDelayed:
		r.State, r.Due = inspect.Delayed, time.UnixMicro(due).UTC()
	case inFlight:
		r.State = inspect.Running
	case inHeld:
		r.State, r.Error = inspect.Dead, "ambiguous: "+r.Error
	default:
		r.State = inspect.Dead
	}
	in, err := decodeRow(data)
	if err != nil {
		r.Unreadable = adapter.ErrorText(err, maxReason)
		r.Job = r.WithPayload(data)
		return
	}
	r.Deadline, r.Unique, r.Headers = in.Options.Deadline, in.Options.Unique, in.Headers()
	r.Job = r.WithPayload(in.Payload())
}
