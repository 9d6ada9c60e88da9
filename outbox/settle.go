package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// rowState is the state of a row in the table.
type rowState int64

const (
	rowWaiting rowState = 0
	rowDead    rowState = 1 // refused, or it cannot be decoded
	rowHeld    rowState = 2 // nobody knows whether it was sent, and Ambiguous is Hold
)

// maxReason is how many bytes of a reason are stored.
const maxReason = 1000

type settleKind uint8

const (
	settleDelete settleKind = iota
	settleBury              // dead or held
	settleReturn            // certainly not sent: back, in its old place if wait is 0
	settleAgain             // may have been sent: back
)

// settlement is what has to be done with a row after a dispatch.
type settlement struct {
	key    rowKey
	kind   settleKind
	state  rowState      // of settleBury
	reason string        // of settleBury
	wait   time.Duration // of settleReturn and settleAgain
	undo   bool          // of settleReturn: the attempt does not count, nothing was tried
}

// settlementOf decides what happens to a row, given the outcome of its n-th attempt.
func settlementOf(key rowKey, o core.Outcome, attempts int64) settlement {
	switch o.State {
	case core.Accepted, core.Duplicate:
		return settlement{key: key, kind: settleDelete}
	case core.Rejected, core.Failed:
		reason := o.State.String()
		if o.Err != nil {
			reason += ": " + adapter.ErrorText(o.Err, maxReason-20)
		}
		return settlement{key: key, kind: settleBury, state: rowDead, reason: reason}
	case core.NotSent:
		return settlement{key: key, kind: settleReturn, wait: rowBackoff(attempts)}
	default:
		return settlement{key: key, kind: settleAgain, wait: rowBackoff(attempts)}
	}
}

// rowBackoff is how long a row waits after its n-th attempt: 1 second, doubled after
// each further one, at most 1 minute.
func rowBackoff(attempts int64) time.Duration {
	return core.Exponential(time.Second, time.Minute).Wait(int(min(attempts, 1000)))
}

// settle carries out settlements of rows that the token holds, in a few statements.
// A row with another token belongs to somebody else by now and is left alone. It
// returns how many rows it has changed.
func (b *Box) settle(ctx context.Context, db Tx, token string, all []settlement) (int64, error) {
	type group struct {
		kind   settleKind
		state  rowState
		reason string
		wait   time.Duration
		undo   bool
	}
	groups := make(map[group][]rowKey)
	var order []group
	for _, s := range all {
		g := group{s.kind, s.state, s.reason, s.wait, s.undo}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], s.key)
	}
	changed := int64(0)
	for _, g := range order {
		for keys := range slices.Chunk(groups[g], 5000) {
			s := newStatement(b.dialect)
			switch g.kind {
			case settleDelete:
				s.add("DELETE FROM ", b.quoted(b.table))
			case settleBury:
				s.add("UPDATE ", b.quoted(b.table), " SET token = '', due = NULL, state = ").arg(int64(g.state)).add(", reason = ").arg(g.reason)
			case settleReturn, settleAgain:
				s.add("UPDATE ", b.quoted(b.table), " SET token = ''")
				switch {
				case b.ordered:
					// due stays, and so does the row's place. The partition waits instead.
				case g.wait == 0:
					s.add(", due = not_before")
				default:
					s.add(", due = ", b.now(), " + ").micros(g.wait.Microseconds())
				}
				if g.kind == settleReturn {
					s.add(", first_sent = sent_before")
				}
				if g.undo {
					s.add(", attempts = attempts - 1")
				}
			}
			s.add(" WHERE ")
			b.rows(s, keys)
			s.add(" AND token = ").arg(token)
			n, err := db.Exec(ctx, s.text.String(), s.args...)
			if err != nil {
				return changed, fmt.Errorf("airlock: outbox: settle rows of table %s: %w", b.table, adapter.Masked(err))
			}
			changed += n
		}
	}
	return changed, nil
}

// rows appends a condition for these rows.
func (b *Box) rows(s *statement, keys []rowKey) {
	if keys[0].seq != 0 {
		numbers := make([]int64, len(keys))
		for i, k := range keys {
			numbers[i] = k.seq
		}
		s.in("seq", numbers)
		return
	}
	s.add("(id, queue) IN (")
	for i, k := range keys {
		if i > 0 {
			s.add(", ")
		}
		s.add("(").arg(k.id).add(", ").arg(k.queue).add(")")
	}
	s.add(")")
}
