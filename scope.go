package airlock

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
)

// Scope holds intents back until it is flushed or discarded. [Begin] returns it to
// its owner, who ends it. [FromContext] returns it to everybody else, to look at.
// A Scope is safe for concurrent use.
type Scope struct {
	scope *scope
	owner bool
}

// ScopeState says how far a scope has come.
type ScopeState uint8

// The states of a [Scope].
const (
	ScopeOpen      ScopeState = iota // it takes intents
	ScopeFlushed                     // Flush was called; its error says whether all was delivered
	ScopeDiscarded                   // it has ended and sent nothing
)

func (s ScopeState) String() string {
	switch s {
	case ScopeOpen:
		return "open"
	case ScopeFlushed:
		return "flushed"
	case ScopeDiscarded:
		return "discarded"
	}
	return fmt.Sprintf("ScopeState(%d)", uint8(s))
}

// scope is what the owner's Scope and that of FromContext share.
type scope struct {
	exec          core.Executor           // what it flushes to, unless it joins
	ask           func(core.Intent) error // asks exec; nil if exec cannot be asked
	outer         *scope                  // the scope around this one
	joins         bool                    // it hands its intents to outer
	transactional bool                    // the transaction of exec decides
	set           settings
	chain         *scopeChain // of its own context
	owned, view   Scope

	mu      sync.Mutex
	state   ScopeState    // guarded by mu
	intents []core.Intent // guarded by mu while open
	meta    []intentMeta  // guarded by mu while open; one per intent
	sent    []core.Intent // guarded by mu
}

// intentMeta is what a scope knows about an intent in addition to the intent.
type intentMeta struct {
	chain    *scopeChain // of the context that enqueued it
	captured bool        // it comes from a scope inside this one
}

// connect asks the scope's executor and finds out where the intents go.
func (s *scope) connect(ctx context.Context) error {
	if s.exec != nil {
		var err error
		if s.ask, err = s.exec.Checker(withoutScopes(ctx)); err != nil {
			return err
		}
		if s.outer != nil && s.ask != nil {
			caps, _ := s.exec.Capabilities()
			s.transactional = caps.Transactional
		}
	}
	s.joins = s.outer != nil && !s.set.independent && !s.transactional
	if s.joins && s.outer.hasEnded() {
		return fmt.Errorf("airlock: the outer scope, which would get the intents: %w", ErrScopeClosed)
	}
	return nil
}

// check returns what the intent would be refused with at the flush.
func (s *scope) check(ctx context.Context, in *core.Intent) error {
	for s.joins {
		s = s.outer
	}
	if s.outer != nil && !s.transactional {
		to, err := s.captor(ctx, in)
		if err != nil {
			return err
		}
		if to != nil {
			return to.check(ctx, in)
		}
	}
	if s.ask == nil {
		return nil
	}
	return s.ask(*in)
}

// captor returns the outer scope that would capture the intent now, or nil.
func (s *scope) captor(ctx context.Context, in *core.Intent) (to *scope, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	for outer := s.outer; outer != nil; outer = outer.outer {
		if outer.set.captures != nil && outer.set.captures(withoutScopes(ctx), *in) {
			return outer, nil
		}
	}
	return nil, nil
}

// buffer adds intents that the policies and the executor have passed.
func (s *scope) buffer(chain *scopeChain, intents []core.Intent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != ScopeOpen {
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrScopeClosed)
	}
	s.intents = append(s.intents, intents...)
	for range intents {
		s.meta = append(s.meta, intentMeta{chain: chain})
	}
	return nil
}

// capture takes intents from a scope inside this one. If they leave the job whose
// children they are, they get their IDs from it now: nobody further out knows it.
func (s *scope) capture(children *childIDs, intents []core.Intent, meta []intentMeta) error {
	if children != nil && children != s.set.children {
		intents = slices.Clone(intents)
		children.assign(intents)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != ScopeOpen {
		return fmt.Errorf("airlock: the outer scope: %w", ErrScopeClosed)
	}
	s.intents = append(s.intents, intents...)
	for _, m := range meta {
		s.meta = append(s.meta, intentMeta{chain: m.chain, captured: true})
	}
	return nil
}

// end ends the scope and reports whether it was open.
func (s *scope) end(state ScopeState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != ScopeOpen {
		return false
	}
	s.state = state
	return true
}

func (s *scope) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != ScopeOpen
}

// Flush ends the scope. It sends what the scope holds to its executor, in order and
// in one call, or hands it to the scope around it, see [Begin]. What the policies
// drop is not sent and is no failure; nor is a Duplicate. If anything was not
// delivered, the error is a [*FlushError] that holds it.
//
// Nothing is sent if ctx is done, unless there is a [FlushLimit], or if a policy
// panics. A second Flush, or one after Discard, returns [ErrScopeClosed]. Flush of
// a scope from [FromContext] returns [ErrNotOwner].
func (s *Scope) Flush(ctx context.Context) error {
	switch {
	case s == nil || !s.owner:
		return fmt.Errorf("airlock: flush: %w", ErrNotOwner)
	case ctx == nil:
		return errNilContext
	}
	return s.scope.flush(ctx)
}

// Discard ends the scope and sends nothing. After the scope's end it does nothing
// and returns nil, so that it can be deferred. Discard of a scope from
// [FromContext] returns [ErrNotOwner].
func (s *Scope) Discard() error {
	if s == nil || !s.owner {
		return fmt.Errorf("airlock: discard: %w", ErrNotOwner)
	}
	s.scope.end(ScopeDiscarded)
	return nil
}

// State returns whether the scope is open, flushed or discarded.
func (s *Scope) State() ScopeState {
	if s == nil || s.scope == nil {
		return ScopeDiscarded
	}
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	return s.scope.state
}

// Intents returns what was enqueued so far, in order, by this scope and by those
// inside it that handed over to it. After the end it is what there was then.
func (s *Scope) Intents() []core.Intent {
	return s.collect(func(intentMeta) bool { return true })
}

// Own returns the intents that were enqueued in this scope itself.
func (s *Scope) Own() []core.Intent {
	return s.collect(func(m intentMeta) bool { return !m.captured })
}

// Captured returns the intents that came from scopes inside this one.
func (s *Scope) Captured() []core.Intent {
	return s.collect(func(m intentMeta) bool { return m.captured })
}

// Sent returns the intents that the executor has accepted at the flush, or knew
// already, in order. It is empty for a scope that handed its intents to an outer
// one.
func (s *Scope) Sent() []core.Intent {
	if s == nil || s.scope == nil {
		return nil
	}
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	return slices.Clone(s.scope.sent)
}

// WouldDrop returns the intents that the policies would drop if the scope were
// flushed now, in order. If a policy panics, nothing would be sent, and it returns
// all of them. [LogOnFlush] does not log them.
func (s *Scope) WouldDrop(ctx context.Context) (dropped []core.Intent) {
	if s == nil || s.scope == nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	s.scope.mu.Lock()
	intents, meta := slices.Clone(s.scope.intents), slices.Clone(s.scope.meta)
	s.scope.mu.Unlock()
	defer func() {
		if recover() != nil {
			dropped = intents
		}
	}()
	ctx = (&scopeChain{scope: s.scope, judging: true, preview: true}).attach(ctx)
	for i := range intents {
		if !meta[i].chain.allows(ctx, &intents[i]) {
			dropped = append(dropped, intents[i])
		}
	}
	return dropped
}

func (s *Scope) collect(want func(intentMeta) bool) []core.Intent {
	if s == nil || s.scope == nil {
		return nil
	}
	return s.scope.collect(want)
}

func (s *scope) collect(want func(intentMeta) bool) []core.Intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []core.Intent
	for i, m := range s.meta {
		if want(m) {
			out = append(out, s.intents[i])
		}
	}
	return slices.Clip(out)
}
