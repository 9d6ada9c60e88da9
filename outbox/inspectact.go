package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

// Retry makes a dead or ambiguous row wait again, as if it had not been tried, and a
// delayed one wait no longer. An ambiguous row can become a second job. A row that
// cannot be decoded is inspect.ErrUnreadable, except one of a later version.
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	return i.act(ctx, "retry", queue, id, func(r *inspected) error { return i.retry(ctx, r) })
}

// Discard deletes the rows of an ID that are not in flight.
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	return i.act(ctx, "discard", queue, id, func(r *inspected) error {
		if r.what == inFlight {
			return inspect.ErrRunning
		}
		s := newStatement(i.box.dialect)
		s.add("DELETE FROM ", i.box.quoted(i.box.table))
		return i.exec(ctx, s, r)
	})
}

// errChanged says that a row has another owner or state than it had when it was read.
var errChanged = errors.New("the row has changed")

// act acts on each row of an ID. If one of them changes meanwhile, it reads them again.
// A row of which the others are in flight is still acted upon.
func (i *Inspector) act(ctx context.Context, action, queue, id string, do func(*inspected) error) error {
	for tries := 0; ; tries++ {
		rows, err := i.find(ctx, queue, id)
		if err != nil {
			if tries > 0 && errors.Is(err, inspect.ErrNotFound) {
				return nil // it was sent, or somebody else has discarded it
			}
			return err
		}
		var first error
		for n := range rows {
			if err := do(&rows[n]); err != nil && first == nil {
				first = err
			}
		}
		i.box.Wake()
		switch {
		case first == nil:
			return nil
		case errors.Is(first, errChanged) && tries < 5:
		case errors.Is(first, errChanged):
			return fmt.Errorf("airlock: outbox: %s job %q: %w", action, id, inspect.ErrRunning)
		case errors.Is(first, inspect.ErrRunning), errors.Is(first, inspect.ErrUnreadable):
			return fmt.Errorf("airlock: outbox: %s job %q: %w", action, id, first)
		default:
			return i.failed(ctx, action+" a row", first)
		}
	}
}

func (i *Inspector) retry(ctx context.Context, r *inspected) error {
	b := i.box
	s := newStatement(b.dialect)
	now := b.now()
	switch {
	case r.what == inWaiting:
		return nil
	case r.what == inFlight:
		return inspect.ErrRunning
	case r.what == inDelayed: // in its old place, for an ordered outbox
		s.add("UPDATE ", b.quoted(b.table), " SET due = CASE WHEN not_before < ", now, " THEN not_before ELSE ", now,
			" END, not_before = CASE WHEN not_before < ", now, " THEN not_before ELSE ", now, " END")
	case r.Unreadable != "" && !isLater(r.Payload()):
		return inspect.ErrUnreadable
	default:
		s.add("UPDATE ", b.quoted(b.table), retriedRow)
	}
	return i.exec(ctx, s, r)
}

// retriedRow is the SET of a row that waits again as if it had not been tried.
const retriedRow = " SET state = 0, reason = '', token = '', attempts = 0, first_sent = NULL, sent_before = NULL, due = not_before"

func isLater(data []byte) bool {
	_, err := decodeRow(data)
	return errors.Is(err, worker.ErrLaterVersion)
}

// exec runs a statement for a row, if it is still as it was read.
func (i *Inspector) exec(ctx context.Context, s *statement, r *inspected) error {
	s.add(" WHERE seq = ").arg(r.seq).add(" AND token = ").arg(r.token)
	if r.what == inDead || r.what == inHeld {
		s.add(" AND due IS NULL")
	} else {
		s.add(" AND due IS NOT NULL")
	}
	n, err := i.db.Exec(ctx, s.text.String(), s.args...)
	if err == nil && n == 0 {
		err = errChanged
	}
	return err
}

// RetryAll retries dead rows of a queue, the oldest first, and skips those that are
// ambiguous or cannot be decoded.
func (i *Inspector) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	var r inspect.Result
	if err := s.Check(); err != nil {
		return r, err
	}
	if err := i.check(ctx); err != nil {
		return r, err
	}
	defer i.box.Wake()
	if _, err := i.Depth(ctx, s.Queue); err != nil {
		return r, err
	}
	for after := int64(0); ; {
		rows, more, err := i.rows(ctx, inspect.Query{Queue: s.Queue, Task: s.Task, State: inspect.Dead, Limit: inspect.MaxLimit}, after)
		if err != nil {
			return r, i.failed(ctx, "list rows", err)
		}
		for n := range rows {
			after = rows[n].seq // a row that dies again is not met a second time
			if rows[n].what == inHeld {
				r.Skipped++
				continue
			}
			switch err := i.retry(ctx, &rows[n]); {
			case err == nil:
				r.Retried++
			case errors.Is(err, errChanged), errors.Is(err, inspect.ErrUnreadable):
				r.Skipped++
			default:
				return r, i.failed(ctx, "retry a row", err)
			}
			if r.Retried == s.Limit {
				return r, nil
			}
		}
		if !more {
			return r, nil
		}
	}
}
