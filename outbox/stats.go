package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Stats counts the rows of one destination.
type Stats struct {
	Waiting   int64 // to be sent now, or after a failed attempt
	Delayed   int64 // kept until their Delay is over
	InFlight  int64 // leased by a relay, or by the process that wrote them
	Dead      int64 // refused, failed for good, or not decodable
	Ambiguous int64 // kept for a person, see [Hold]

	// Oldest is the age of the oldest row that is waiting or in flight, measured from
	// the end of its Delay. Alert on it: it grows if no relay works.
	Oldest time.Duration
}

// Stats counts. It reads every row of the destination, so do not call it more often
// than a monitoring system does.
func (b *Box) Stats(ctx context.Context, db DB) (Stats, error) {
	if err := b.ready(ctx, db); err != nil {
		return Stats{}, err
	}
	now := b.now()
	leased := "token <> '' AND due > " + now
	if b.ordered {
		leased = "token <> '' AND token IN (SELECT token FROM " + b.quoted(b.table+"_meta") + " WHERE until > " + now + ")"
	}
	s := newStatement(b.dialect)
	s.add("SELECT what, COUNT(*), MIN(not_before), ", now, " FROM (SELECT not_before, CASE ",
		fmt.Sprintf("WHEN state = %d THEN 3 WHEN state = %d THEN 4 ", rowDead, rowHeld),
		"WHEN ", leased, " THEN 2 WHEN not_before > ", now, " THEN 1 ELSE 0 END AS what FROM ", b.quoted(b.table),
		" WHERE dest = ").arg(b.dest).add(") AS rows_of_dest GROUP BY what")
	var stats Stats
	err := collect(ctx, db, s.text.String(), s.args, func(rows Rows) error {
		var what, count, first, at int64
		if err := rows.Scan(&what, &count, &first, &at); err != nil {
			return err
		}
		*[]*int64{&stats.Waiting, &stats.Delayed, &stats.InFlight, &stats.Dead, &stats.Ambiguous}[what] = count
		if what == 0 || what == 2 {
			stats.Oldest = max(stats.Oldest, time.Duration(at-first)*time.Microsecond)
		}
		return nil
	})
	if err != nil {
		return Stats{}, fmt.Errorf("airlock: outbox: count rows of table %s: %w", b.table, adapter.Masked(err))
	}
	return stats, nil
}

// ready checks the input of what operators call.
func (b *Box) ready(ctx context.Context, db DB) error {
	if err := b.usable(db); err != nil {
		return err
	}
	if db == nil {
		return errNilDB
	}
	if ctx == nil {
		return errNilContext
	}
	return nil
}

// lookForStalled reports a stalled outbox: the oldest of the first thousand rows is
// older than StalledAfter. It looks at most once a minute.
func (l *loop) lookForStalled(ctx context.Context) {
	limit := l.set.StalledAfter
	if limit < 0 || time.Since(l.looked) < min(limit/2, time.Minute) {
		return
	}
	l.looked = time.Now()
	b := l.box
	s := newStatement(b.dialect)
	s.add("SELECT ", b.now(), " - MIN(not_before) FROM (SELECT not_before FROM ", b.quoted(b.table), " WHERE dest = ").arg(b.dest)
	s.add(" AND due IS NOT NULL ORDER BY due", b.dialect.limit(1000), ") AS first_rows WHERE not_before <= ", b.now())
	micros, _, err := number(ctx, l.db, s.text.String(), s.args...)
	if err != nil {
		return // the claim will report it
	}
	if age := time.Duration(micros) * time.Microsecond; age > limit {
		l.set.Logger.ErrorContext(ctx, "outbox: stalled, the oldest row is not sent", "table", b.table, "destination", b.dest, "age", age)
		l.observe(Report{Stalled: age})
	}
}

// isTableError reports an error of CheckTable that time does not heal.
func isTableError(err error) bool {
	for _, target := range []error{ErrNoTable, ErrForeignTable, ErrOldSchema, ErrNewSchema, core.ErrInvalid} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
