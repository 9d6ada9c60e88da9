package airlock

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
)

// Scope holds intents back until it is flushed or discarded. It is made by
// [Run], which ends it as well, or by [Begin]. It is safe for concurrent use.
type Scope struct {
	exec  core.Executor // nil: hands over to outer
	outer *Scope        // the scope around this one
	set   settings
	place *place // where its own context stands

	mu      sync.Mutex
	ended   bool          // guarded by mu
	intents []core.Intent // guarded by mu until ended
	origins []origin      // guarded by mu until ended; one per intent
}

// origin is what a scope knows of an intent beside the intent.
type origin struct {
	at       *place // where it was enqueued
	captured bool   // by a scope inside this one
}

// Begin opens a scope, to be ended by [Scope.Flush] or [Scope.Discard], and
// returns a context that is in it. [Run] does both ends and is what most
// programs want.
//
// A nil exec makes the scope hand its intents, at its flush, to the scope
// around it; without one, the executor and options of [WithDefaults] are used;
// without those, Begin returns [ErrNoScope]. With an executor of its own it
// flushes to that, unless a scope around it captures what it flushes.
func Begin(ctx context.Context, exec core.Executor, opts ...Option) (context.Context, *Scope, error) {
	if ctx == nil {
		return nil, nil, fmt.Errorf("airlock: nil context: %w", core.ErrInvalid)
	}
	around := placeOf(ctx)
	if around != nil && around.judging {
		return nil, nil, fmt.Errorf("airlock: a policy begins a scope: %w", ErrPolicyEnqueue)
	}
	s := &Scope{exec: exec}
	if around != nil {
		s.outer = around.scope
	}
	if exec == nil && s.outer == nil {
		d, _ := ctx.Value(defaultsKey{}).(*defaults)
		if d == nil || d.exec == nil {
			return nil, nil, fmt.Errorf("airlock: nil executor, no outer scope to join and no default: %w", ErrNoScope)
		}
		s.exec = d.exec
		if err := s.set.applyAll(d.opts); err != nil {
			return nil, nil, err
		}
	}
	if err := s.set.applyAll(opts); err != nil {
		return nil, nil, err
	}
	if exec == nil && s.outer != nil && s.outer.hasEnded() {
		return nil, nil, fmt.Errorf("airlock: the outer scope to join: %w", ErrScopeClosed)
	}
	if s.set.children == nil && s.outer != nil {
		s.set.children = s.outer.set.children
	}
	s.place = around.within(s, s.set.policy)
	return s.place.attach(ctx), s, nil
}

// Run opens a scope, calls fn with a context that is in it, and ends it: it
// flushes if fn returned nil, and discards if fn returned an error, panicked or
// ended its goroutine; a panic goes on. See [Begin] for a nil exec.
//
// It returns fn's error, or what was wrong with the flush, a [*FlushError]; with
// [ShouldFlush] maybe both, joined. The flush obeys ctx.
func Run(ctx context.Context, exec core.Executor, fn func(ctx context.Context) error, opts ...Option) error {
	if fn == nil {
		return fmt.Errorf("airlock: Run with a nil function: %w", core.ErrInvalid)
	}
	inside, s, err := Begin(ctx, exec, opts...)
	if err != nil {
		return err
	}
	defer s.Discard() // for a panic; after a flush it does nothing
	err = fn(inside)
	flush := err == nil
	if s.set.shouldFlush != nil {
		flush = s.set.shouldFlush(err)
	}
	if !flush {
		return err
	}
	flushed := s.Flush(ctx)
	switch {
	case err == nil:
		return flushed
	case flushed == nil:
		return err
	}
	return fmt.Errorf("%w; and %w", err, flushed)
}

// buffer adds intents that the policies have passed.
func (s *Scope) buffer(at *place, intents []core.Intent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrScopeClosed)
	}
	s.intents = append(s.intents, intents...)
	for range intents {
		s.origins = append(s.origins, origin{at: at})
	}
	return nil
}

// capture takes what a scope inside this one flushes. Whoever leaves the job that
// it is a child of gets its ID from that job now: nobody further out knows it.
func (s *Scope) capture(family *lineage, intents []core.Intent, origins []origin) error {
	if family != nil && family != s.set.children {
		intents = slices.Clone(intents)
		family.name(intents)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return fmt.Errorf("airlock: the outer scope: %w", ErrScopeClosed)
	}
	s.intents = append(s.intents, intents...)
	for _, o := range origins {
		s.origins = append(s.origins, origin{at: o.at, captured: true})
	}
	return nil
}

// end closes the scope for good and reports whether it was open.
func (s *Scope) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := !s.ended
	s.ended = true
	return was
}

func (s *Scope) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Discard ends the scope and sends nothing. After the scope's end it does
// nothing, so that it can be deferred.
func (s *Scope) Discard() { s.end() }

// Intents returns what was enqueued so far, in order, by this scope and by those
// inside it that handed over to it. After the end it is what there was then.
func (s *Scope) Intents() []core.Intent {
	return s.collect(func(origin) bool { return true })
}

// Own returns the intents that were enqueued in this very scope.
func (s *Scope) Own() []core.Intent {
	return s.collect(func(o origin) bool { return !o.captured })
}

// Captured returns the intents that came from scopes inside this one.
func (s *Scope) Captured() []core.Intent {
	return s.collect(func(o origin) bool { return o.captured })
}

func (s *Scope) collect(want func(origin) bool) []core.Intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []core.Intent
	for i, o := range s.origins {
		if want(o) {
			out = append(out, s.intents[i])
		}
	}
	return slices.Clip(out)
}
