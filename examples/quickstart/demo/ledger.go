package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Ledger keeps account of every job, from the call of Enqueue to the end of its
// run, so that none can be lost or done twice without being seen.
type Ledger struct {
	mu         sync.Mutex
	exec       core.Executor          // guarded by mu; the queue's
	enqueued   int                    // guarded by mu
	dispatched map[string]time.Time   // guarded by mu; ID → when it is due
	runs       map[string][]time.Time // guarded by mu; ID → starts of successful runs
	changed    chan struct{}          // closed and replaced at each change; guarded by mu
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{dispatched: map[string]time.Time{}, runs: map[string][]time.Time{}, changed: make(chan struct{})}
}

func (l *Ledger) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// opened notes the queue, before the first job.
func (l *Ledger) opened(q *Queue) {
	l.change(func() { l.exec = compose.Strip(l.Dispatches(q.Exec), q.Drops...) })
}

// Execute dispatches to the queue.
func (l *Ledger) Execute(ctx context.Context, intents ...core.Intent) error {
	l.mu.Lock()
	exec := l.exec
	l.mu.Unlock()
	return exec(ctx, intents...)
}

// Enqueues is a policy that counts what is asked for.
func (l *Ledger) Enqueues() airlock.Policy {
	return airlock.Policy{Name: "ledger", OnEnqueue: func(context.Context, core.Intent) error {
		l.change(func() { l.enqueued++ })
		return nil
	}}
}

// Dispatches is a wrapper that notes what an executor has accepted.
func (l *Ledger) Dispatches(exec core.Executor) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		now := time.Now()
		err := exec(ctx, intents...)
		outcomes := core.OutcomesOf(err, intents)
		l.change(func() {
			for i, o := range outcomes {
				if o.State != core.Accepted && o.State != core.Unknown {
					continue
				}
				due := now
				if at := intents[i].Options.At; at.After(now) {
					due = at
				}
				// A relay may send a job again that has run by then.
				if first, known := l.dispatched[o.ID]; !known || due.Before(first) {
					l.dispatched[o.ID] = due
				}
			}
		})
		return err
	}
}

// Works is a middleware that notes the jobs that are done.
func (l *Ledger) Works(ctx context.Context, next func(context.Context) error) error {
	started := time.Now()
	err := next(ctx)
	if job, ok := worker.JobFrom(ctx); ok && err == nil {
		l.Ran(job.ID, started)
	}
	return err
}

// Ran notes that a job is done.
func (l *Ledger) Ran(id string, started time.Time) {
	l.change(func() { l.runs[id] = append(l.runs[id], started) })
}

// Enqueued counts what another process asked for.
func (l *Ledger) Enqueued(n int) {
	l.change(func() { l.enqueued += n })
}

// NumEnqueued returns how many jobs were asked for.
func (l *Ledger) NumEnqueued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enqueued
}

// await returns when everything dispatched has run, or ctx ends.
func (l *Ledger) await(ctx context.Context) {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if l.totals(0).lost == 0 {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// totals are the ledger's sums, in jobs.
type totals struct {
	dispatched, run, discarded int

	lost     int // have not run
	doubled  int // further runs of a job
	mistimed int // started before they were due, or too late
	unknown  int // ran but were never dispatched
}

// skew is how much the clocks of two machines may differ.
const skew = 100 * time.Millisecond

// totals returns the sums, where a job may start late after it is due.
func (l *Ledger) totals(late time.Duration) totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{dispatched: len(l.dispatched), discarded: l.enqueued - len(l.dispatched)}
	for id, due := range l.dispatched {
		starts := l.runs[id]
		if len(starts) == 0 {
			t.lost++
			continue
		}
		if starts[0].Before(due.Add(-skew)) || starts[0].After(due.Add(late)) {
			t.mistimed++
		}
	}
	for id, starts := range l.runs {
		t.run += len(starts)
		t.doubled += len(starts) - 1
		if _, known := l.dispatched[id]; !known {
			t.unknown++
		}
	}
	return t
}

// balanced reports what is wrong with the sums, if anything is.
func (t totals) balanced() error {
	var errs []error
	add := func(wrong int, what string) {
		if wrong > 0 {
			errs = append(errs, fmt.Errorf("jobs that %s: %d", what, wrong))
		}
	}
	add(t.lost, "have not run")
	add(t.doubled, "ran twice")
	add(t.mistimed, "ran too early or too late")
	add(t.unknown, "ran but were never dispatched")
	add(-t.discarded, "were dispatched but never asked for")
	return errors.Join(errs...)
}
