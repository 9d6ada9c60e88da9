package poolexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/goairlock/airlock/core"
)

// call is one call of Execute on its way through its intents.
type call struct {
	e        *Executor
	ctx      context.Context
	intents  []core.Intent
	next     int            // those before it are decided
	outcomes []core.Outcome // nil while all are Accepted
	caller   *caller        // once it has waited for room
}

// caller is a call that waits for room.
type caller struct {
	room   chan struct{} // told when it is the call's turn, or the pool has stopped
	called bool          // told, and not yet back
	need   int
}

// take decides the next intents, as many as there is room for. It returns false
// if there is none for the next one.
func (c *call) take() bool {
	rest := c.intents[c.next:]
	if n := plainRun(rest[:min(len(rest), blockLen)]); n > 0 { // few enough to be copied while they are at hand
		if n = min(n, c.room(n)); n == 0 {
			return false
		}
		c.e.pushNew(rest[:n])
		c.next += n
		return true
	}
	in := &rest[0]
	if c.e.has(in) {
		if in.ChosenID() || in.Options.Unique != "" {
			c.set(c.next, core.Duplicate, core.ErrDuplicate)
		}
		c.next++
		return true
	}
	if c.room(1) == 0 {
		return false
	}
	c.e.admit(in)
	c.next++
	return true
}

// room returns how many jobs the call may add, of the n that it wants to.
func (c *call) room(n int) int {
	e := c.e
	if free := e.opts.Capacity - e.waiting; free > 0 && (len(e.callers) == 0 || e.callers[0] == c.caller) {
		return min(free, n)
	}
	if !e.opts.RefuseWhenFull && c.ctx.Value(ownPool{}) == e {
		return n
	}
	return 0
}

// awaitRoom gives up the lock until it is the call's turn. It returns why there
// is no use in waiting any longer.
func (c *call) awaitRoom() error {
	e := c.e
	if c.caller == nil {
		c.caller = &caller{room: make(chan struct{}, 1)}
		e.callers = append(e.callers, c.caller)
	}
	c.caller.need = len(c.intents) - c.next
	c.caller.called = false
	e.staff()
	done := c.ctx.Done() // a context of the caller's own type may panic, but not without the lock
	e.mu.Unlock()
	select {
	case <-c.caller.room:
	case <-done:
	}
	e.mu.Lock()
	if e.closed {
		return errStopped
	}
	if err := c.ctx.Err(); err != nil {
		full := fmt.Errorf("airlock: pool: %d jobs wait, of at most %d", e.waiting, e.opts.Capacity)
		if cause := context.Cause(c.ctx); cause != err {
			return fmt.Errorf("%w: %w: %w", full, err, cause)
		}
		return fmt.Errorf("%w: %w", full, err)
	}
	return nil
}

// leave lets the next call have what room there is.
func (c *call) leave() {
	if c.caller == nil {
		return
	}
	i := slices.Index(c.e.callers, c.caller)
	c.e.callers = slices.Delete(c.e.callers, i, i+1)
	c.e.callIn()
}

// callIn wakes the first call that waits for room. It is not woken for each
// place alone, if it can use more and the workers have something to do.
func (e *Executor) callIn() {
	if len(e.callers) == 0 || e.callers[0].called {
		return
	}
	c, free := e.callers[0], e.opts.Capacity-e.waiting
	if free >= min(c.need, e.opts.Capacity/4+1) || free > 0 && e.due == 0 {
		c.called = true
		c.room <- struct{}{}
	}
}

func (c *call) set(i int, s core.State, err error) {
	if c.outcomes == nil {
		c.outcomes = core.OutcomesOf(nil, c.intents)
	}
	c.outcomes[i].State, c.outcomes[i].Err = s, err
}

func (c *call) setRest(s core.State, err error) {
	for i := c.next; i < len(c.intents); i++ {
		c.set(i, s, err)
	}
}
