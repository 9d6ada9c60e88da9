package poolexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/goairlock/airlock/core"
)

// dispatch is Execute behind the guard.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errStopped
	}
	if e.opts.RefuseWhenFull {
		if n := e.roomFor(intents); n > e.room() {
			return fmt.Errorf("airlock: pool: no room for %d jobs: %d of at most %d wait: %w",
				n, e.waiting(), e.opts.Capacity, core.ErrUnavailable)
		}
	}
	c := call{e: e, ctx: ctx, intents: intents}
	defer c.leave()
	for c.next < len(intents) {
		if c.take() {
			continue
		}
		if err := c.awaitRoom(); err != nil {
			for i := c.next; i < len(intents); i++ {
				c.set(i, core.NotSent, err)
			}
			break
		}
	}
	e.startWorker()
	return core.Combine(c.outcomes)
}

// waiting returns how many jobs wait.
func (e *Executor) waiting() int { return e.due + len(e.delayed) }

// room returns how many more jobs may wait. It is negative if jobs of the pool
// itself have exceeded the capacity.
func (e *Executor) room() int { return e.opts.Capacity - e.waiting() }

// plain reports whether the intent is Accepted whatever jobs there are, and due. If
// it was sent before it is no second job, but that can be found out later.
func plain(in *core.Intent) bool {
	return in.Options.Unique == "" && in.Options.At.IsZero() && !in.ChosenID()
}

// roomFor returns how much room a call needs, at most: an intent that is in it twice
// is counted twice.
func (e *Executor) roomFor(intents []core.Intent) int {
	n := 0
	for i := range intents {
		if in := &intents[i]; plain(in) || !e.has(in) {
			n++
		}
	}
	return n
}

// call is one call of Execute.
type call struct {
	e        *Executor
	ctx      context.Context
	intents  []core.Intent
	next     int            // the first intent that is not decided yet
	outcomes []core.Outcome // nil while all are Accepted
	waiter   *waiter        // nil until the call has waited for room
}

// waiter is a call that waits for room.
type waiter struct {
	wake  chan struct{} // gets a value when there is room, or the pool has stopped
	woken bool          // wake has a value, or had one since the call last waited
	need  int           // for how many intents
}

// take decides the next intents. It returns false if there is no room for the next
// one.
func (c *call) take() bool {
	e, rest := c.e, c.intents[c.next:]
	if n := plainRun(rest); n > 0 {
		n = c.mayAdd(n)
		e.inbox = append(e.inbox, rest[:n]...)
		e.due += n
		c.next += n
		return n > 0
	}
	in := &rest[0]
	if e.has(in) {
		if in.ChosenID() || in.Options.Unique != "" {
			c.set(c.next, core.Duplicate, core.ErrDuplicate)
		}
		c.next++
		return true
	}
	if c.mayAdd(1) == 0 {
		return false
	}
	e.add(in)
	c.next++
	return true
}

// plainRun returns how many intents from the first on are plain.
func plainRun(intents []core.Intent) int {
	for i := range intents {
		if !plain(&intents[i]) {
			return i
		}
	}
	return len(intents)
}

// mayAdd returns how many of n jobs the call may add now: as many as there is room
// for, unless an earlier call waits for it.
func (c *call) mayAdd(n int) int {
	e := c.e
	if room := e.room(); room > 0 && (len(e.waiters) == 0 || e.waiters[0] == c.waiter) {
		return min(n, room)
	}
	if !e.opts.RefuseWhenFull && c.ctx.Value(poolKey{}) == e {
		return n
	}
	return 0
}

// awaitRoom unlocks the pool until it is the call's turn. It returns an error if
// there is no use in waiting any longer.
func (c *call) awaitRoom() error {
	e := c.e
	if c.waiter == nil {
		c.waiter = &waiter{wake: make(chan struct{}, 1)}
		e.waiters = append(e.waiters, c.waiter)
	}
	c.waiter.need = len(c.intents) - c.next
	c.waiter.woken = false
	e.startWorker()
	// If Done of a foreign context type panics, the lock must be held: dispatch
	// unlocks it.
	done := c.ctx.Done()
	e.mu.Unlock()
	select {
	case <-c.waiter.wake:
	case <-done:
	}
	e.mu.Lock()
	switch {
	case e.closed:
		return errStopped
	case c.ctx.Err() != nil:
		return fmt.Errorf("airlock: pool: full, %d of at most %d jobs wait: %w", e.waiting(), e.opts.Capacity, core.ContextError(c.ctx))
	}
	return nil
}

// leave ends the call's wait for room. The next call may use what is left.
func (c *call) leave() {
	if c.waiter == nil {
		return
	}
	i := slices.Index(c.e.waiters, c.waiter)
	c.e.waiters = slices.Delete(c.e.waiters, i, i+1)
	c.e.wakeWaiter()
}

// wakeWaiter wakes the first call that waits for room. While workers have jobs to
// run it waits until there is room for several, so that a large call is not woken
// for each job alone.
func (e *Executor) wakeWaiter() {
	if len(e.waiters) == 0 || e.waiters[0].woken {
		return
	}
	w, room := e.waiters[0], e.room()
	if room >= min(w.need, e.opts.Capacity/4+1) || room > 0 && e.due == 0 {
		w.woken = true
		w.wake <- struct{}{}
	}
}

func (c *call) set(i int, s core.State, err error) {
	if c.outcomes == nil {
		c.outcomes = core.Outcomes(c.intents, core.Accepted, nil)
	}
	c.outcomes[i].State, c.outcomes[i].Err = s, err
}
