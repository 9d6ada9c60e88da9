package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/adapter"
)

// renew makes the lease last longer. It returns errLeaseLost if something of the
// claim belongs to another relay.
func (l *loop) renew(ctx context.Context, c *claim) (time.Time, error) {
	b := l.box
	from := time.Now()
	s := newStatement(b.dialect)
	want := len(c.rows)
	if b.ordered {
		want = len(c.parts)
		s.add("UPDATE ", l.meta(), " SET until = ", b.now(), " + ").micros(l.set.Lease.Microseconds()).add(" WHERE ")
	} else {
		s.add("UPDATE ", b.quoted(b.table), " SET due = ", b.now(), " + ").micros(l.set.Lease.Microseconds()).add(" WHERE ")
		b.rows(s, c.keys())
		s.add(" AND ")
	}
	s.add("token = ").arg(c.token)
	n, err := l.db.Exec(ctx, s.text.String(), s.args...)
	switch {
	case err != nil:
		return time.Time{}, err
	case n < int64(want):
		return time.Time{}, errLeaseLost
	}
	return from.Add(l.set.Lease), nil
}

// release gives the partitions back. Those that failed wait first.
func (l *loop) release(ctx context.Context, c *claim, waits map[int64]time.Duration) error {
	groups := make(map[time.Duration][]int64)
	for _, part := range c.parts {
		groups[waits[part]] = append(groups[waits[part]], part)
	}
	for wait, parts := range groups {
		s := newStatement(l.box.dialect)
		s.add("UPDATE ", l.meta(), " SET token = '', until = ", l.box.now(), " + ").micros(wait.Microseconds()).add(" WHERE ")
		s.in("part", parts).add(" AND token = ").arg(c.token)
		if _, err := l.db.Exec(ctx, s.text.String(), s.args...); err != nil {
			return fmt.Errorf("airlock: outbox: release partitions of table %s: %w", l.box.table, adapter.Masked(err))
		}
	}
	return nil
}

// leaseKeeper renews the lease of a claim while the executor works. Its context ends
// with the lease, and when the relay has stopped and the time for draining is over.
type leaseKeeper struct {
	ctx         context.Context
	end         atomic.Pointer[time.Time]
	taken       atomic.Bool
	endRenewals func() // and waits for one that is under way
	stop        func()
}

func (k *leaseKeeper) until() time.Time { return *k.end.Load() }
func (k *leaseKeeper) lost() bool       { return k.taken.Load() }

// over returns why nothing more may be sent under the lease, or nil. It looks at the
// clock: if the process was stopped, the context ends a little later.
func (k *leaseKeeper) over() error {
	if k.ctx.Err() != nil {
		return context.Cause(k.ctx)
	}
	if !time.Now().Before(k.until()) {
		return errLeaseLost
	}
	return nil
}

func (l *loop) keepLease(ctx context.Context, c *claim) *leaseKeeper {
	k := new(leaseKeeper)
	k.end.Store(&c.until)
	outlasting, stop := outlast(ctx, l.set.DrainTimeout)
	inside, cancel := context.WithCancelCause(outlasting)
	k.ctx = inside
	renewing, endRenewals := context.WithCancel(inside)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(l.set.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-ticker.C:
			}
			limited, end := context.WithDeadline(renewing, k.until())
			until, err := l.renew(limited, c)
			end()
			switch {
			case err == nil:
				k.end.Store(&until)
			case renewing.Err() != nil:
				return
			case errors.Is(err, errLeaseLost):
				k.taken.Store(true)
				cancel(errLeaseLost)
				return
			case !time.Now().Before(k.until()):
				cancel(errLeaseLost)
				return
			}
		}
	}()
	k.endRenewals = func() {
		endRenewals()
		<-gone
	}
	k.stop = func() {
		cancel(nil)
		stop()
	}
	return k
}

// outlast returns a context that ends when d has passed since the end of ctx.
func outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inside, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(max(d, 0))
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(fmt.Errorf("airlock: outbox: the relay stops: %w", context.Canceled))
		case <-inside.Done():
		}
	})
	return inside, func() {
		stop()
		cancel(nil)
	}
}
