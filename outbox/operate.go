package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Row is a row that needs a person.
type Row struct {
	Seq       int64 // identifies the row in its table
	ID        string
	Task      string
	Queue     string
	Ambiguous bool   // nobody knows whether it was sent; false: it is dead
	Reason    string // why
	Attempts  int64
	Created   time.Time // by the database's clock
}

// List returns dead and ambiguous rows with a Seq larger than after, the first ones
// first, at most limit of them. To go on, call it with the Seq of the last row. The
// payload is not among what it returns. limit is 1 to 1000.
func (b *Box) List(ctx context.Context, db DB, after int64, limit int) ([]Row, error) {
	if err := b.ready(ctx, db); err != nil {
		return nil, err
	}
	if limit < 1 || limit > 1000 {
		return nil, fmt.Errorf("airlock: outbox: List with a limit of %d, want 1 to 1000: %w", limit, core.ErrInvalid)
	}
	s := newStatement(b.dialect)
	s.add("SELECT seq, id, task, queue, state, reason, attempts, created FROM ", b.quoted(b.table), " WHERE dest = ").arg(b.dest)
	s.add(" AND due IS NULL AND seq > ").arg(after).add(fmt.Sprintf(" ORDER BY seq LIMIT %d", limit))
	var all []Row
	err := collect(ctx, db, s.text.String(), s.args, func(rows Rows) error {
		var r Row
		var state, created int64
		if err := rows.Scan(&r.Seq, &r.ID, &r.Task, &r.Queue, &state, &r.Reason, &r.Attempts, &created); err != nil {
			return err
		}
		r.Ambiguous, r.Created = rowState(state) == rowHeld, time.UnixMicro(created).UTC()
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("airlock: outbox: list rows of table %s: %w", b.table, adapter.Masked(err))
	}
	return all, nil
}

// Destinations returns the destinations that have rows in the table, also those of other
// boxes, sorted. It reads every row of the table.
func (b *Box) Destinations(ctx context.Context, db DB) ([]string, error) {
	if err := b.ready(ctx, db); err != nil {
		return nil, err
	}
	var all []string
	err := collect(ctx, db, "SELECT DISTINCT dest FROM "+b.quoted(b.table), nil, func(rows Rows) error {
		var dest string
		err := rows.Scan(&dest)
		all = append(all, dest)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("airlock: outbox: list the destinations of table %s: %w", b.table, adapter.Masked(err))
	}
	slices.Sort(all)
	return all, nil
}

// Retry makes dead and ambiguous rows wait again, as if they had not been tried. An
// ambiguous row can become a second job. It returns how many rows it has changed:
// it leaves rows alone that are neither dead nor ambiguous, or do not exist.
func (b *Box) Retry(ctx context.Context, db DB, seqs ...int64) (int64, error) {
	return b.operate(ctx, db, "retry", func(s *statement) {
		s.add("UPDATE ", b.quoted(b.table), retriedRow)
	}, seqs)
}

// Discard deletes dead and ambiguous rows. It returns how many rows it has deleted:
// it leaves other rows alone.
func (b *Box) Discard(ctx context.Context, db DB, seqs ...int64) (int64, error) {
	return b.operate(ctx, db, "discard", func(s *statement) { s.add("DELETE FROM ", b.quoted(b.table)) }, seqs)
}

func (b *Box) operate(ctx context.Context, db DB, what string, begin func(*statement), seqs []int64) (int64, error) {
	if err := b.ready(ctx, db); err != nil || len(seqs) == 0 {
		return 0, err
	}
	s := newStatement(b.dialect)
	begin(s)
	s.add(" WHERE dest = ").arg(b.dest).add(" AND due IS NULL AND ").in("seq", seqs)
	n, err := db.Exec(ctx, s.text.String(), s.args...)
	if err != nil {
		return n, fmt.Errorf("airlock: outbox: %s rows of table %s: %w", what, b.table, adapter.Masked(err))
	}
	b.Wake()
	return n, nil
}
