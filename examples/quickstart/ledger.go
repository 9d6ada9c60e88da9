package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// ledger keeps account of every intent, from the call of Enqueue to the end of
// the job, so that nothing can be lost or done twice without being seen.
type ledger struct {
	late time.Duration // how long after it is due a job may start

	mu         sync.Mutex
	enqueued   int                  // guarded by mu
	dispatched map[string]time.Time // guarded by mu; ID → when it was due
	runs       map[string]int       // guarded by mu; ID → successful runs
	tardy      int                  // guarded by mu
	changed    chan struct{}        // closed and replaced at each change; guarded by mu
}

func newLedger(late time.Duration) *ledger {
	return &ledger{late: late, dispatched: map[string]time.Time{}, runs: map[string]int{}, changed: make(chan struct{})}
}

func (l *ledger) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// enqueues is a policy that counts what is asked for.
func (l *ledger) enqueues() airlock.Policy {
	return airlock.Policy{Name: "ledger", OnEnqueue: func(context.Context, core.Intent) error {
		l.change(func() { l.enqueued++ })
		return nil
	}}
}

// dispatches is a wrapper that notes what an executor has accepted.
func (l *ledger) dispatches(exec core.Executor) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		due := time.Now()
		err := exec(ctx, intents...)
		outcomes := core.OutcomesOf(err, intents)
		l.change(func() {
			for i, o := range outcomes {
				if o.State != core.Accepted && o.State != core.Unknown {
					continue
				}
				l.dispatched[o.ID] = due
				if at := intents[i].Options.At; at.After(due) {
					l.dispatched[o.ID] = at
				}
			}
		})
		return err
	}
}

// work is a middleware that notes what has been done.
func (l *ledger) work(ctx context.Context, next func(context.Context) error) error {
	started := time.Now()
	err := next(ctx)
	if job, ok := core.JobFrom(ctx); ok && err == nil {
		l.change(func() {
			l.runs[job.ID]++
			if due, known := l.dispatched[job.ID]; known && started.Sub(due) > l.late {
				l.tardy++
			}
		})
	}
	return err
}

// await returns when everything dispatched has run, or with ctx's error.
func (l *ledger) await(ctx context.Context) error {
	for {
		l.mu.Lock()
		missing, changed := 0, l.changed
		for id := range l.dispatched {
			if l.runs[id] == 0 {
				missing++
			}
		}
		l.mu.Unlock()
		if missing == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d jobs have not run: %w", missing, ctx.Err())
		}
	}
}

// totals are the ledger's sums.
type totals struct{ dispatched, run, discarded, late, duplicated, phantom int }

func (l *ledger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{dispatched: len(l.dispatched), late: l.tardy}
	for id, n := range l.runs {
		t.run += n
		t.duplicated += n - 1
		if _, known := l.dispatched[id]; !known {
			t.phantom++
		}
	}
	t.discarded = l.enqueued - t.dispatched
	return t
}

// balanced says what is wrong with the sums, if anything is.
func (t totals) balanced() error {
	switch {
	case t.phantom > 0:
		return fmt.Errorf("%d jobs ran that were never dispatched", t.phantom)
	case t.duplicated > 0:
		return fmt.Errorf("%d jobs ran twice", t.duplicated)
	case t.run != t.dispatched:
		return fmt.Errorf("%d jobs dispatched but %d run", t.dispatched, t.run)
	case t.discarded < 0:
		return errors.New("more jobs dispatched than enqueued")
	}
	return nil
}

func (t totals) print(w io.Writer, executor string, orders, checkedOut int, took time.Duration) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "executor\torders\tchecked out\tdispatched\trun\tdiscarded\tlate\tduplicated\ttime\t")
	fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", executor, orders, checkedOut,
		t.dispatched, t.run, t.discarded, t.late, t.duplicated, took.Round(time.Millisecond))
	return tw.Flush()
}
