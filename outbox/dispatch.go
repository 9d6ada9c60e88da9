package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var errLeaseLost = errors.New("airlock: outbox: the lease has ended and another relay has the rows")

// patience is how many attempts a row has without a wait of its own, while its
// neighbours are sent, or while nothing can be sent.
const (
	patienceWithNeighbours = 3
	patienceAlone          = 10
)

// parkFor is how long a row of a later version waits until a relay looks at it again.
const parkFor = time.Minute

// handle sends the rows of a claim and settles them.
func (l *loop) handle(ctx context.Context, c *claim) {
	report := Report{Claimed: len(c.rows)}
	var done []settlement
	good := c.rows[:0:0]
	waits := make(map[int64]time.Duration) // of partitions
	var parked error
	for _, r := range c.rows {
		_, waiting := waits[r.part]
		switch {
		case l.box.ordered && waiting:
			done = append(done, settlement{key: r.key, kind: settleReturn, undo: true})
			report.Returned++
		case errors.Is(r.bad, worker.ErrLaterVersion):
			done = append(done, settlement{key: r.key, kind: settleReturn, wait: parkFor, undo: true})
			report.Parked++
			parked = r.bad
			if l.box.ordered {
				waits[r.part] = parkFor
			}
		case r.bad != nil:
			done = append(done, settlement{key: r.key, kind: settleBury, state: rowDead, reason: adapter.ErrorText(r.bad, maxReason)})
			report.Dead++
		case r.maySent && l.set.Ambiguous == Hold && !remembers(l.window, r.sentAgo):
			done = append(done, settlement{key: r.key, kind: settleBury, state: rowHeld, reason: fmt.Sprintf("may have been sent %v ago, longer than the executor remembers IDs", r.sentAgo.Round(time.Second))})
			report.Held++
		default:
			good = append(good, r)
		}
	}
	if report.Parked > 0 {
		l.set.Logger.WarnContext(ctx, "outbox: rows of a later version wait for a newer relay", "table", l.box.table, "destination", l.box.dest,
			"rows", report.Parked, "error", adapter.ErrorText(parked, maxReason))
	}
	keep := l.keepLease(ctx, c)
	begun := time.Now()
	sent := l.send(keep, good, waits, &report)
	report.Took = time.Since(begun)
	keep.endRenewals() // which would compete with what follows for the rows
	done = append(done, sent...)
	l.finish(ctx, c, keep, done, waits, &report)
	keep.stop()
	l.adapt(ctx, &report)
	if parked != nil {
		report.Err = errors.Join(report.Err, parked)
	}
	l.observe(report)
}

// remembers reports whether the executor still knows an ID that it may have got this
// long ago. A window that ends with the job, after a number of IDs, with the process or
// with a restart of the broker may have ended at any time.
func remembers(w core.Window, ago time.Duration) bool {
	switch {
	case w.Kind == "" || w.Kind == core.WindowUnfinished || w.Count > 0 || w.Survives != core.SurvivalRestart:
		return false
	case w.For > 0:
		return ago < w.For
	}
	return w.Kind == core.WindowStored
}

// send calls the executor: once, or in rounds if the outbox is ordered and the
// executor may accept an intent after one that failed. A round has one row of each
// partition. It adds partitions that have to wait.
func (l *loop) send(keep *leaseKeeper, rows []row, waits map[int64]time.Duration, report *Report) []settlement {
	if !l.box.ordered || l.atomic {
		return l.call(keep, rows, waits, report)
	}
	failed := make(map[int64]time.Duration) // a partition with a parked row has good rows before it
	defer func() {
		for part, wait := range failed {
			waits[part] = max(waits[part], wait)
		}
	}()
	var done []settlement
	queues := make(map[int64][]row)
	var parts []int64
	for _, r := range rows {
		if queues[r.part] == nil {
			parts = append(parts, r.part)
		}
		queues[r.part] = append(queues[r.part], r)
	}
	for {
		var round []row
		for _, part := range parts {
			q := queues[part]
			_, waiting := failed[part]
			switch {
			case len(q) == 0:
			case waiting || keep.over() != nil:
				for _, r := range q {
					done = append(done, settlement{key: r.key, kind: settleReturn, undo: true})
					report.Returned++
				}
				queues[part] = nil
			default:
				round, queues[part] = append(round, q[0]), q[1:]
			}
		}
		if len(round) == 0 {
			return done
		}
		done = append(done, l.call(keep, round, failed, report)...)
	}
}

// call calls the executor once and decides what happens to each row.
func (l *loop) call(keep *leaseKeeper, rows []row, waits map[int64]time.Duration, report *Report) []settlement {
	if len(rows) == 0 {
		return nil
	}
	all := make([]settlement, len(rows))
	if err := keep.over(); err != nil { // nothing was tried
		for i, r := range rows {
			all[i] = settlement{key: r.key, kind: settleReturn, undo: true}
		}
		report.Returned, report.Err = report.Returned+len(rows), err
		return all
	}
	intents := make([]core.Intent, len(rows))
	for i := range rows {
		intents[i] = rows[i].intent
	}
	err := l.exec.Call(keep.ctx, intents)
	if err != nil && report.Err == nil {
		report.Err = err
	}
	outcomes := core.OutcomesOf(err, intents)
	progress, refused := false, false
	for _, o := range outcomes {
		progress = progress || o.State != core.NotSent && o.State != core.Unknown
		refused = refused || o.State == core.Rejected
	}
	for i, r := range rows {
		s := settlementOf(r.key, outcomes[i], r.attempts)
		switch s.kind {
		case settleDelete:
			if outcomes[i].State == core.Duplicate {
				report.Duplicates++
			} else {
				report.Accepted++
			}
		case settleBury:
			report.Dead++
		default:
			report.Returned++
			// A row next to a refused one, or after one that failed, was not tried.
			if outcomes[i].State == core.NotSent && (refused || errors.Is(outcomes[i].Err, core.ErrEarlierFailed)) {
				s.wait, s.undo = 0, true
			}
			if l.box.ordered {
				waits[r.part] = max(waits[r.part], s.wait)
			} else if s.kind == settleReturn && !s.undo {
				s = l.inPlace(s, r, progress)
			}
		}
		all[i] = s
	}
	return all
}

// inPlace gives a row that was certainly not sent its old place, so that an executor
// that is away does not change the order. A row that fails again and again must not
// hold up the others: it waits at the end.
func (l *loop) inPlace(s settlement, r row, progress bool) settlement {
	limit := int64(patienceAlone)
	if progress {
		limit = patienceWithNeighbours
	}
	if r.attempts <= limit || !progress && l.limit > 1 {
		s.wait = 0
	} else {
		s.wait = rowBackoff(r.attempts - limit)
	}
	return s
}

// finish settles rows and releases partitions. It tries until the lease ends.
func (l *loop) finish(ctx context.Context, c *claim, keep *leaseKeeper, done []settlement, waits map[int64]time.Duration, report *Report) {
	ctx = context.WithoutCancel(ctx)
	total := 0
	for {
		limited, cancel := context.WithDeadline(ctx, keep.until())
		changed, err := l.box.settle(limited, l.db, c.token, done)
		if err == nil && l.box.ordered {
			err = l.release(limited, c, waits)
		}
		over := limited.Err() != nil
		cancel()
		total += int(changed)
		if err == nil {
			report.Lost = max(0, len(done)-total)
			return
		}
		report.Err = err
		if over || keep.lost() {
			report.Lost = len(done) - total
			l.set.Logger.WarnContext(ctx, "outbox: rows could not be settled, they will be sent again with the same IDs",
				"table", l.box.table, "rows", len(done), "error", err.Error())
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// adapt sets how many rows the next claim takes, and whether to wait before. While
// nothing can be sent, claims get smaller, down to one row that finds out whether
// the executor is back.
func (l *loop) adapt(ctx context.Context, r *Report) {
	failed := r.Returned > 0 && r.Accepted+r.Duplicates+r.Dead+r.Held == 0
	if !failed {
		l.pause, l.limit = 0, min(l.limit*4, l.set.Batch)
		if l.queueOff {
			l.queueOff = false
			l.set.Logger.InfoContext(ctx, "outbox: the executor accepts intents again", "destination", l.box.dest)
		}
		return
	}
	l.limit = max(1, l.limit/4)
	l.pause = min(max(2*l.pause, 100*time.Millisecond), 5*time.Second)
	if !l.queueOff && r.Err != nil {
		l.queueOff = true
		l.set.Logger.WarnContext(ctx, "outbox: the executor accepts nothing, trying again", "destination", l.box.dest, "rows", r.Returned,
			"error", adapter.ErrorText(r.Err, maxReason))
	}
}
