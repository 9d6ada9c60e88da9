package outbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Held stores intents in one transaction, with a lease for this process, and sends
// them after the COMMIT. [Box.Hold] makes it. It is for packages that end the
// transaction themselves, like airlocksql:
//
//	held := box.Hold(outbox.SQL(tx))
//	… held.Execute stores …
//	if err := tx.Commit(); err == nil {
//		held.Committed(ctx)
//	}
//
// If the transaction was rolled back, or if nobody knows, do nothing: rows that
// exist are sent by a relay when the lease has ended.
//
// It is safe for concurrent use.
type Held struct {
	box *Box
	tx  Tx

	mu     sync.Mutex
	since  time.Time // guarded by mu; before the first INSERT, on the monotonic clock
	stored bool      // guarded by mu; there are rows
	rows   leased    // guarded by mu
	over   bool      // guarded by mu; Committed was called
	intact bool      // guarded by mu; see NoSavepoints
}

// Hold returns a Held for a transaction. If Options.DB is nil or the outbox is
// Ordered, it holds no lease, and Committed wakes the relays. A nil transaction, and
// one that is a whole database, are [core.ErrInvalid] when Execute is called.
func (b *Box) Hold(tx Tx) *Held { return &Held{box: b, tx: tx} }

// NoSavepoints says that the transaction is not rolled back to a savepoint after an
// Execute. Committed then does not look whether the rows are still there, which saves a
// query. airlocksql and airlockpgx store right before the COMMIT and call it.
func (h *Held) NoSavepoints() {
	if h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.intact = true
	}
}

// Execute stores intents in the transaction. It is a core.Executor with the same
// capabilities and outcomes as that of [Box.InTx].
func (h *Held) Execute(ctx context.Context, intents ...core.Intent) error {
	return h.executor()(ctx, intents...)
}

func (h *Held) executor() core.Executor {
	if h == nil {
		return adapter.Invalid(errZeroBox)
	}
	if err := h.box.usable(h.tx); err != nil {
		return adapter.Invalid(err)
	}
	if h.tx == nil || autocommit(h.tx) {
		return adapter.Invalid(fmt.Errorf("airlock: outbox: Hold needs a transaction: %w", core.ErrInvalid))
	}
	return h.box.executor(true, func(ctx context.Context, intents []storable) (int, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.over {
			return 0, fmt.Errorf("airlock: outbox: the transaction has been committed: %w", core.ErrClosed)
		}
		if !h.stored {
			h.since, h.stored = time.Now(), true
		}
		var rows *leased
		if h.box.db != nil && !h.box.ordered {
			rows = &h.rows
			if rows.token == "" {
				rows.token = h.box.leaseToken()
			}
		}
		return h.box.insert(ctx, h.tx, intents, rows)
	})
}

// Committed sends what was stored, in one call of the executor behind the outbox.
// The transaction must have been committed. It returns when the executor has
// answered, but at the latest when the lease has used up three quarters of its time,
// or when ctx ends. What was not sent is left to a relay, so there is no error.
//
// Rows that the database has not, since the transaction was rolled back to a savepoint,
// are not sent: Committed looks for them first, see [Held.NoSavepoints].
//
// The rows are deleted in the background, see [Box.Close]. If the transaction has
// taken more than half of the lease, nothing is sent from memory.
func (h *Held) Committed(ctx context.Context) {
	if h == nil || h.box.usable(nil) != nil || ctx == nil {
		return
	}
	h.mu.Lock()
	stored, rows, since, again, intact := h.stored, h.rows, h.since, h.over, h.intact
	h.over, h.rows = true, leased{}
	h.mu.Unlock()
	b := h.box
	if !stored || again {
		return
	}
	if len(rows.keys) == 0 {
		b.Wake()
		return
	}
	until := since.Add(b.lease)
	limited, cancel := context.WithDeadlineCause(ctx, since.Add(b.lease*3/4), errLeaseEnds)
	defer cancel()
	send := time.Since(since) <= b.lease/2
	if send && !intact {
		var err error
		if rows, err = b.present(limited, rows); err != nil {
			b.log().WarnContext(ctx, "outbox: not sent after COMMIT, a relay will", "destination", b.dest, "intents", len(rows.keys),
				"error", adapter.ErrorText(err, maxReason))
			send = false
		}
	}
	all := make([]settlement, 0, len(rows.keys))
	if send && len(rows.intents) > 0 {
		outcomes := core.OutcomesOf(b.target.Call(limited, rows.intents), rows.intents)
		for i := range rows.keys {
			all = append(all, settlementOf(rows.keys[i], outcomes[i], 1))
		}
		b.report(ctx, outcomes)
	} else {
		for i := range rows.keys {
			all = append(all, settlement{key: rows.keys[i], kind: settleReturn})
		}
	}
	b.settler.add(ctx, rows.token, all, until)
}

var errLeaseEnds = fmt.Errorf("airlock: outbox: the lease of the rows ends: %w", context.DeadlineExceeded)

// report logs what was not accepted after a COMMIT: one line per call.
func (b *Box) report(ctx context.Context, outcomes []core.Outcome) {
	bad := 0
	var first core.Outcome
	for _, o := range outcomes {
		if o.State != core.Accepted && o.State != core.Duplicate {
			if bad == 0 {
				first = o
			}
			bad++
		}
	}
	if bad > 0 {
		b.log().WarnContext(ctx, "outbox: not sent after COMMIT, a relay will", "destination", b.dest, "intents", bad,
			"id", first.ID, "state", first.State.String(), "error", adapter.ErrorText(first.Err, maxReason))
	}
}

// present returns those of the rows that the database has. The others were rolled back
// to a savepoint. SQLite gives their numbers to later rows, so the ID counts too. MySQL
// does not return numbers: if fewer rows have an ID than should, nobody knows which ones
// are gone, and a relay sends the rest.
func (b *Box) present(ctx context.Context, all leased) (leased, error) {
	found := make(map[rowKey]int, len(all.keys))
	number := "seq"
	if all.keys[0].seq == 0 {
		number = "0"
	}
	for keys := range slices.Chunk(all.keys, 5000) {
		s := newStatement(b.dialect)
		s.add("SELECT ", number, ", id, queue FROM ", b.quoted(b.table), " WHERE ")
		b.rows(s, keys)
		s.add(" AND token = ").arg(all.token)
		err := collect(ctx, b.db, s.text.String(), s.args, func(rows Rows) error {
			var k rowKey
			err := rows.Scan(&k.seq, &k.id, &k.queue)
			found[k]++
			return err
		})
		if err != nil {
			return all, fmt.Errorf("airlock: outbox: look for rows of table %s: %w", b.table, adapter.Masked(err))
		}
	}
	want, left := make(map[rowKey]int, len(all.keys)), make(map[rowKey]int, len(all.keys))
	for _, k := range all.keys {
		want[k]++
		left[k]++
	}
	there := leased{token: all.token}
	for i, k := range all.keys {
		left[k]--
		last := k.seq != 0 && found[k] > 0 && left[k] == 0 // of two with one number, the first was rolled back
		if last || k.seq == 0 && found[k] == want[k] {
			there.keys, there.intents = append(there.keys, k), append(there.intents, all.intents[i])
		}
	}
	return there, nil
}
