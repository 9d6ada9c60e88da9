package conformance

import (
	"context"
	"sync"
	"time"
)

// ownContext is a context of a type that the context package does not know.
type ownContext struct {
	context.Context // for Value

	mu   sync.Mutex
	err  error // guarded by mu
	done chan struct{}
	end  time.Time
}

func newOwnContext(parent context.Context, end time.Time) *ownContext {
	return &ownContext{Context: parent, done: make(chan struct{}), end: end}
}

func (c *ownContext) Deadline() (time.Time, bool) { return c.end, !c.end.IsZero() }
func (c *ownContext) Done() <-chan struct{}       { return c.done }

func (c *ownContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *ownContext) endWith(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.done)
	}
}

// endingContext is a context that ends in its end function, which returns when it has
// ended.
type endingContext struct {
	name string
	ctx  context.Context
	end  func()
}

// ends are the ways in which a context may end.
var ends = []struct {
	name string
	make func(p *probe, base context.Context) (context.Context, func())
}{
	{"is cancelled", func(_ *probe, base context.Context) (context.Context, func()) {
		return context.WithCancel(base)
	}},
	{"is cancelled with a cause", func(_ *probe, base context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(base)
		return ctx, func() { cancel(errOnPurpose) }
	}},
	{"has a parent that is cancelled", func(_ *probe, base context.Context) (context.Context, func()) {
		parent, cancel := context.WithCancel(base)
		ctx, stop := context.WithTimeout(parent, 100*time.Hour)
		return ctx, func() { cancel(); stop() }
	}},
	{"has a timeout", func(p *probe, base context.Context) (context.Context, func()) {
		ctx, stop := context.WithTimeoutCause(base, p.contextTime(), errOnPurpose)
		return ctx, func() { <-ctx.Done(); stop() }
	}},
	{"is of the caller's own type and is cancelled", func(_ *probe, base context.Context) (context.Context, func()) {
		own := newOwnContext(base, time.Time{})
		return own, func() { own.endWith(context.Canceled) }
	}},
	{"is of the caller's own type and has a deadline", func(p *probe, base context.Context) (context.Context, func()) {
		own := newOwnContext(base, time.Now().Add(p.contextTime()))
		return own, func() {
			time.Sleep(time.Until(own.end))
			own.endWith(context.DeadlineExceeded)
		}
	}},
	{"has a parent of the caller's own type", func(_ *probe, base context.Context) (context.Context, func()) {
		own := newOwnContext(base, time.Time{})
		ctx, stop := context.WithCancel(own)
		return ctx, func() {
			own.endWith(context.Canceled)
			<-ctx.Done()
			stop()
		}
	}},
}

// endingContexts yields a context for each way to end.
func (p *probe) endingContexts(yield func(endingContext) bool) {
	base := context.WithValue(p.ctx, producerKey{}, "the producer's")
	for _, e := range ends {
		ctx, end := e.make(p, base)
		if !yield(endingContext{e.name, ctx, end}) {
			return
		}
	}
}

// contextTime is how long a context with a time limit lasts. A dispatch that takes
// longer is not judged.
func (p *probe) contextTime() time.Duration {
	if p.bubble {
		return 5 * time.Minute
	}
	return time.Second
}

// hasEnded reports whether the context has ended, or its time is over.
func (c endingContext) hasEnded() bool {
	end, limited := c.ctx.Deadline()
	return c.ctx.Err() != nil || limited && !time.Now().Before(end)
}
