package outbox

import (
	"context"
	"fmt"
)

// claimPartitions takes the leases of partitions that have rows to send, and the
// first rows of each.
func (l *loop) claimPartitions(ctx context.Context, c *claim, limit int) error {
	if err := l.lease(ctx, c); err != nil || len(c.parts) == 0 {
		return err
	}
	b := l.box
	each := max(1, limit/len(c.parts))
	s := newStatement(b.dialect)
	for i := range partitionsPerClaim { // always the same text, for prepared statements
		part := int64(-2) // no such partition
		if i < len(c.parts) {
			part = c.parts[i]
		}
		if i > 0 {
			s.add(" UNION ALL ")
		}
		s.add("SELECT * FROM (SELECT seq, part, LENGTH(intent) AS size FROM ", b.quoted(b.table),
			" WHERE dest = ").arg(b.dest).add(" AND part = ").arg(part)
		s.add(" AND due <= ", b.now(), " ORDER BY due, seq", b.dialect.limit(each), fmt.Sprintf(") AS p%d", i))
	}
	due, err := sizes(ctx, l.db, s)
	if err != nil || len(due) == 0 {
		return err
	}
	return l.take(ctx, l.db, c, withinEach(due, l.set.BatchBytes))
}

// partitionsPerClaim is how many partitions a relay takes at a time.
const partitionsPerClaim = 16

// lease takes the leases of free partitions that have rows to send, those first that
// were used least recently.
func (l *loop) lease(ctx context.Context, c *claim) error {
	b := l.box
	// One look into the index for each partition. PostgreSQL turns EXISTS into a join, for
	// which it may read all rows that are due.
	pick := func(s *statement) {
		s.add("SELECT m.part FROM ", l.meta(), " AS m WHERE m.part >= 0 AND m.until <= ", b.now(),
			" AND (SELECT t.due FROM ", b.quoted(b.table), " AS t WHERE t.dest = ").arg(b.dest)
		s.add(" AND t.part = m.part AND t.due <= ", b.now(), " ORDER BY t.due LIMIT 1) IS NOT NULL",
			fmt.Sprintf(" ORDER BY m.until, m.part LIMIT %d", partitionsPerClaim))
		switch b.dialect {
		case Postgres:
			s.add(" FOR UPDATE OF m SKIP LOCKED")
		case MySQL:
			s.add(" FOR UPDATE SKIP LOCKED")
		}
	}
	update := func(s *statement) {
		s.add("UPDATE ", l.meta(), " SET token = ").arg(c.token).add(", until = ", b.now(), " + ").micros(l.set.Lease.Microseconds())
	}
	add := func(rows Rows) error {
		var part int64
		err := rows.Scan(&part)
		c.parts = append(c.parts, part)
		return err
	}
	s := newStatement(b.dialect)
	if b.dialect.returns() {
		update(s)
		if b.dialect == Postgres {
			s.add(" WHERE part = ANY(ARRAY(")
			pick(s)
			s.add("))")
		} else {
			s.add(" WHERE part IN (")
			pick(s)
			s.add(")")
		}
		s.add(" RETURNING part")
		return collect(ctx, l.db, s.text.String(), s.args, add)
	}
	return l.db.Transact(ctx, func(tx Tx) error {
		pick(s)
		if err := collect(ctx, tx, s.text.String(), s.args, add); err != nil || len(c.parts) == 0 {
			return err
		}
		s := newStatement(b.dialect)
		update(s)
		s.add(" WHERE ").in("part", c.parts)
		_, err := tx.Exec(ctx, s.text.String(), s.args...)
		return err
	})
}

func (l *loop) meta() string { return l.box.quoted(l.box.table + "_meta") }

// partitionsDue appends the query for the time until a partition has a row to send and
// is not leased.
func (l *loop) partitionsDue(s *statement) {
	b := l.box
	s.add("SELECT MIN(CASE WHEN until > first_due THEN until ELSE first_due END) - ", b.now(), " FROM (SELECT m.until, (SELECT t.due FROM ", b.quoted(b.table),
		" AS t WHERE t.dest = ").arg(b.dest)
	s.add(" AND t.part = m.part AND t.due IS NOT NULL ORDER BY t.due LIMIT 1) AS first_due FROM ", l.meta(),
		" AS m WHERE m.part >= 0) AS parts WHERE first_due IS NOT NULL")
}
