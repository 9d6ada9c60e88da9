package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// adoptEvery is how often a relay of an ordered outbox looks at all rows for those
// that have no partition.
const adoptEvery = time.Minute

// adopt gives partitions to rows that have none: they were stored while the outbox was
// not Ordered. They go back to the place that they had before any attempt. A row whose
// lease has not ended is left alone, since its writer may be sending it, and so is one
// of a later version.
//
// A look at the first rows is cheap, and enough for a relay that has nothing to do. It
// does not find a row behind a thousand rows of partitions that wait.
func (l *loop) adopt(ctx context.Context, everything bool) error {
	const page = 1000
	b := l.box
	free := " part IS NULL AND (token = '' OR due <= " + b.now() + ")"
	for last, more := int64(0), true; more && ctx.Err() == nil; {
		s := newStatement(b.dialect)
		s.add("SELECT seq, 0, LENGTH(intent) FROM ", b.quoted(b.table))
		if everything {
			s.add(" WHERE dest = ").arg(b.dest).add(" AND seq > ").arg(last).add(" AND due IS NOT NULL AND", free, fmt.Sprintf(" ORDER BY seq LIMIT %d", page))
		} else {
			s.add(" WHERE seq IN (SELECT seq FROM (SELECT seq FROM ", b.quoted(b.table), " WHERE dest = ").arg(b.dest)
			s.add(" AND due IS NOT NULL ORDER BY due, seq", b.dialect.limit(page), ") AS first_rows) AND", free)
		}
		found, err := sizes(ctx, l.db, s)
		more = everything && len(found) == page
		for err == nil && len(found) > 0 {
			seqs := within(found, l.set.BatchBytes)
			last, found = seqs[len(seqs)-1], found[len(seqs):]
			err = l.adoptRows(ctx, seqs, free)
		}
		if err != nil {
			return fmt.Errorf("airlock: outbox: look for rows without a partition in table %s: %w", b.table, adapter.Masked(err))
		}
	}
	return nil
}

func (l *loop) adoptRows(ctx context.Context, seqs []int64, free string) error {
	b := l.box
	s := newStatement(b.dialect)
	s.add("SELECT seq, intent FROM ", b.quoted(b.table), " WHERE ").in("seq", seqs)
	parts := make(map[int64][]int64)
	err := collect(ctx, l.db, s.text.String(), s.args, func(rows Rows) error {
		var seq int64
		var data []byte
		if err := rows.Scan(&seq, &data); err != nil {
			return err
		}
		if part, ok := l.partitionOfRow(ctx, data); ok {
			parts[part] = append(parts[part], seq)
		}
		return nil
	})
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if err != nil {
			return err
		}
		s := newStatement(b.dialect)
		s.add("UPDATE ", b.quoted(b.table), " SET part = ").arg(part).add(", due = not_before WHERE ").in("seq", parts[part]).add(" AND", free)
		_, err = l.db.Exec(ctx, s.text.String(), s.args...)
	}
	return err
}

// partitionOfRow returns a partition for a row, and false for one of a later version.
// It is that of the queue if Options.Partition panics, and any if the row cannot be
// decoded: that row is dead when it is claimed.
func (l *loop) partitionOfRow(ctx context.Context, data []byte) (int64, bool) {
	in, err := decodeRow(data)
	if err != nil {
		return 0, !errors.Is(err, worker.ErrLaterVersion)
	}
	part, err := l.box.partitionOf(in)
	if err != nil {
		l.set.Logger.ErrorContext(ctx, "outbox: a row gets the partition of its queue", "id", in.ID, "error", adapter.ErrorText(err, maxReason))
		return partitionOfKey(in.Options.Queue), true
	}
	return part, true
}
