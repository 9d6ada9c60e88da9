package outbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// row is a claimed row.
type row struct {
	key      rowKey
	part     int64 // -1 if the outbox is not ordered
	attempts int64 // with this one
	intent   core.Intent
	bad      error         // it cannot be decoded
	maySent  bool          // an earlier attempt may have sent it
	sentAgo  time.Duration // how long ago that was, by the database's clock
}

// claim is what a relay holds under one token: rows, and partitions if the outbox is
// ordered.
type claim struct {
	token string
	rows  []row
	parts []int64
	until time.Time // the end of the lease, measured from before the statement
}

// claim takes up to limit rows that are due, and up to BatchBytes of them. With an
// error it returns a claim without rows, which may have partitions.
func (l *loop) claim(ctx context.Context, limit int) (*claim, error) {
	c := &claim{token: rand.Text(), until: time.Now().Add(l.set.Lease)}
	var err error
	switch {
	case l.box.ordered:
		err = l.claimPartitions(ctx, c, limit)
	case l.box.dialect.returns():
		s := newStatement(l.box.dialect)
		now := l.update(s, c.token)
		// The array makes PostgreSQL pick the rows first, whatever it knows about the
		// table's size.
		open, end := " WHERE seq IN (", ")"
		if l.box.dialect == Postgres {
			open, end = " WHERE seq = ANY(ARRAY(", "))"
		}
		s.add(open, "SELECT seq FROM (SELECT seq, size, SUM(size) OVER (ORDER BY due, seq) AS total FROM (")
		l.pick(s, limit)
		s.add(") AS locked) AS sized WHERE total = size OR total <= ").micros(int64(l.set.BatchBytes)).add(end)
		s.add(" RETURNING seq, intent, attempts, part, ", now, " - sent_before")
		err = l.read(ctx, l.db, s, c)
	default:
		err = l.db.Transact(ctx, func(tx Tx) error {
			s := newStatement(l.box.dialect)
			l.pick(s, limit)
			due, err := sizes(ctx, tx, s)
			if err != nil || len(due) == 0 {
				return err
			}
			return l.take(ctx, tx, c, within(due, l.set.BatchBytes))
		})
	}
	if err != nil {
		c.rows = nil
		return c, fmt.Errorf("airlock: outbox: claim rows of table %s: %w", l.box.table, adapter.Masked(err))
	}
	slices.SortFunc(c.rows, func(a, b row) int { return cmp.Compare(a.key.seq, b.key.seq) })
	return c, nil
}

// pick appends the query for the first rows that are due, and how long they are.
func (l *loop) pick(s *statement, limit int) {
	b := l.box
	s.add("SELECT seq, due, LENGTH(intent) AS size FROM ", b.quoted(b.table), " WHERE dest = ").arg(b.dest)
	s.add(" AND due <= ", b.now(), " ORDER BY due, seq", b.dialect.limit(limit), b.dialect.locks())
}

// sized is a row that could be claimed.
type sized struct{ seq, part, size int64 }

// sizes runs a query for seq, partition or something else, and size.
func sizes(ctx context.Context, db Tx, s *statement) (all []sized, err error) {
	err = collect(ctx, db, s.text.String(), s.args, func(rows Rows) error {
		var one sized
		err := rows.Scan(&one.seq, &one.part, &one.size)
		all = append(all, one)
		return err
	})
	return all, err
}

// within returns the first rows that have at most this many bytes together, and at
// least one.
func within(all []sized, bytes int) []int64 {
	var seqs []int64
	left := int64(bytes)
	for _, one := range all {
		if left -= one.size; left < 0 && len(seqs) > 0 {
			break
		}
		seqs = append(seqs, one.seq)
	}
	return seqs
}

// withinEach is within for rows of several partitions. It takes one row of each
// partition in turn. A partition that has a row for which there is no room ends
// before it.
func withinEach(all []sized, bytes int) []int64 {
	byPart := make(map[int64][]sized)
	var parts []int64
	for _, one := range all {
		if byPart[one.part] == nil {
			parts = append(parts, one.part)
		}
		byPart[one.part] = append(byPart[one.part], one)
	}
	var seqs []int64
	left := int64(bytes)
	for len(parts) > 0 {
		parts = slices.DeleteFunc(parts, func(part int64) bool {
			next := byPart[part][0]
			if left < next.size && len(seqs) > 0 {
				return true
			}
			left -= next.size
			seqs = append(seqs, next.seq)
			byPart[part] = byPart[part][1:]
			return len(byPart[part]) == 0
		})
	}
	return seqs
}

// take writes the token into these rows and reads them.
func (l *loop) take(ctx context.Context, db Tx, c *claim, seqs []int64) error {
	b := l.box
	if !b.dialect.returns() {
		s := newStatement(b.dialect)
		s.add("SELECT seq, intent, attempts + 1, part, ", b.now(), " - first_sent FROM ", b.quoted(b.table), " WHERE ").in("seq", seqs)
		if err := l.read(ctx, db, s, c); err != nil {
			return err
		}
	}
	s := newStatement(b.dialect)
	now := l.update(s, c.token)
	s.add(" WHERE ").in("seq", seqs)
	if b.ordered {
		s.add(" AND part IN (SELECT part FROM ", l.meta(), " WHERE token = ").arg(c.token).add(")")
	}
	var n int64
	var err error
	if b.dialect.returns() {
		s.add(" RETURNING seq, intent, attempts, part, ", now, " - sent_before")
		err = l.read(ctx, db, s, c)
		n = int64(len(c.rows))
	} else {
		n, err = db.Exec(ctx, s.text.String(), s.args...)
	}
	if err == nil && n < int64(len(seqs)) {
		err = errLeaseLost
	}
	return err
}

// update appends the UPDATE of a claim. first_sent is set before the dispatch, since
// the process may die during it. MySQL assigns from left to right.
// now is the database's clock, as the rest of the statement may call it.
func (l *loop) update(s *statement, token string) (now string) {
	b := l.box
	now = b.now()
	if b.dialect == Postgres {
		now = "c.now"
	}
	s.add("UPDATE ", b.quoted(b.table), " SET token = ").arg(token)
	if !b.ordered { // the partition's lease is the lease
		s.add(", due = ", now, " + ").micros(l.set.Lease.Microseconds())
	}
	s.add(", sent_before = first_sent, first_sent = COALESCE(first_sent, ", now, "), attempts = attempts + 1")
	if b.dialect == Postgres {
		s.add(" FROM ", b.clock())
	}
	return now
}

// read reads claimed rows.
func (l *loop) read(ctx context.Context, db Tx, s *statement, c *claim) error {
	return collect(ctx, db, s.text.String(), s.args, func(rows Rows) error {
		r := row{part: -1}
		var data []byte
		var part, ago *int64
		if err := rows.Scan(&r.key.seq, &data, &r.attempts, &part, &ago); err != nil {
			return err
		}
		if part != nil {
			r.part = *part
		}
		if ago != nil {
			r.maySent, r.sentAgo = true, time.Duration(*ago)*time.Microsecond
		}
		r.intent, r.bad = decodeRow(data)
		c.rows = append(c.rows, r)
		return nil
	})
}

// decodeRow decodes the column intent.
func decodeRow(data []byte) (core.Intent, error) {
	in, err := adapter.DecodeIntent(data)
	if err != nil {
		return core.Intent{}, fmt.Errorf("airlock: outbox: the row cannot be decoded: %w", err)
	}
	return in, nil
}

func (c *claim) keys() []rowKey {
	keys := make([]rowKey, len(c.rows))
	for i := range c.rows {
		keys[i] = c.rows[i].key
	}
	return keys
}
