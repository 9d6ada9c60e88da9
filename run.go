package airlock

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock/core"
)

// Run opens a scope, calls fn with a context that is in it, and ends the scope. It
// flushes if fn returned nil. It discards if fn returned an error, panicked or
// ended its goroutine; a panic goes on. See [Begin] for exec.
//
// Run returns fn's error, or the error of the flush, mostly a [*FlushError]. With
// [ShouldFlush] it may be both, joined. The flush obeys ctx, see also
// [FlushLimit].
func Run(ctx context.Context, exec core.Executor, fn func(ctx context.Context) error, opts ...RunOption) error {
	if fn == nil {
		return fmt.Errorf("airlock: Run with a nil function: %w", core.ErrInvalid)
	}
	inside, s, err := begin(ctx, exec, opts)
	if err != nil {
		return err
	}
	defer s.end(ScopeDiscarded) // for a panic; after a flush it does nothing
	err = fn(inside)
	flush := err == nil
	if s.set.shouldFlush != nil {
		flush = s.set.shouldFlush(err)
	}
	if !flush {
		return err
	}
	flushed := s.flush(ctx)
	switch {
	case err == nil:
		return flushed
	case flushed == nil:
		return err
	}
	return fmt.Errorf("%w; and %w", err, flushed)
}

// Begin opens a scope and returns a context that is in it, and the scope itself,
// to be ended by [Scope.Flush] or [Scope.Discard]. [Run] does both ends and is
// what most programs want.
//
// Inside another scope, the scope hands its intents to the outer one at its flush,
// whether or not it has an executor. The exceptions are a Transactional executor
// and [Independent]. Outside of every scope it flushes to exec, or to the executor
// of [WithDefaults] if exec is nil; without either, Begin returns [ErrNoScope].
//
// Begin asks exec what is wrong with it, see [core.Executor.Check], and returns
// the answer. If the outer scope has ended, it returns [ErrScopeClosed].
func Begin(ctx context.Context, exec core.Executor, opts ...Option) (context.Context, *Scope, error) {
	inside, s, err := begin(ctx, exec, opts)
	if err != nil {
		return nil, nil, err
	}
	return inside, &s.owned, nil
}

func begin[O RunOption](ctx context.Context, exec core.Executor, opts []O) (context.Context, *scope, error) {
	if ctx == nil {
		return nil, nil, errNilContext
	}
	chain := chainOf(ctx)
	if chain != nil && chain.judging {
		return nil, nil, fmt.Errorf("airlock: a policy begins a scope: %w", ErrPolicyEnqueue)
	}
	s := &scope{exec: exec}
	s.owned, s.view = Scope{s, true}, Scope{s, false}
	if chain != nil {
		s.outer = chain.scope
	}
	d := defaultsOf(ctx)
	if d != nil && d.err != nil {
		return nil, nil, d.err
	}
	if err := applyAll(&s.set, opts); err != nil {
		return nil, nil, err
	}
	if exec == nil && (s.outer == nil || s.set.independent) {
		switch {
		case d != nil && d.exec != nil:
			s.exec, s.set = d.exec, d.set
			if err := applyAll(&s.set, opts); err != nil {
				return nil, nil, err
			}
		case s.set.independent:
			return nil, nil, fmt.Errorf("airlock: an independent scope without an executor: %w", core.ErrInvalid)
		default:
			return nil, nil, fmt.Errorf("airlock: no executor, no outer scope and no default: %w", ErrNoScope)
		}
	}
	if err := s.connect(ctx); err != nil {
		return nil, nil, err
	}
	if s.set.children == nil && s.outer != nil {
		s.set.children = s.outer.set.children
	}
	s.chain = chain.within(s, s.set.policy)
	return s.chain.attach(ctx), s, nil
}
