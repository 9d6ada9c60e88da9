package airlock

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/misplaced"
)

// RunOption configures [Run] and its scope. It is an [Option] or a [ShouldFlush].
type RunOption interface{ apply(*settings) error }

// Option configures a scope. Every [Policy] is an Option. The others are made by
// [Independent], [OnDescendantFlush], [ContinueOnError] and [FlushLimit].
type Option interface {
	RunOption
	forEveryScope()
}

type settings struct {
	policy          Policy
	independent     bool
	captures        func(ctx context.Context, in core.Intent) bool
	continueOnError bool
	flushLimit      time.Duration
	children        *childIDs            // set by Scoped
	shouldFlush     func(err error) bool // of Run alone
}

type runOptionFunc func(*settings) error

func (f runOptionFunc) apply(s *settings) error { return f(s) }

type optionFunc func(*settings) error

func (f optionFunc) apply(s *settings) error { return f(s) }
func (f optionFunc) forEveryScope()          {}

func applyAll[O RunOption](s *settings, opts []O) error {
	for _, o := range opts {
		if any(o) == nil {
			return fmt.Errorf("airlock: nil option: %w", core.ErrInvalid)
		}
		if err := o.apply(s); err != nil {
			return err
		}
	}
	return nil
}

// Independent makes a scope inside another one its own boundary: it flushes to its
// own executor, also if the outer scope then fails. It is for effects that must
// leave although the work around them fails, such as an audit trail. The scope
// needs an executor, its own or that of [WithDefaults]; without one, [Begin] and
// [Run] return [core.ErrInvalid].
//
// The policies of outer scopes still judge its intents, and an outer scope can
// capture them, see [OnDescendantFlush].
func Independent() Option {
	return optionFunc(func(s *settings) error {
		s.independent = true
		return nil
	})
}

// OnDescendantFlush lets a scope capture what an [Independent] scope inside it
// flushes: true captures the intent into this scope, false lets it go. Scopes are
// asked from the inside out. All other scopes hand over to the scope around them
// anyway, except that a Transactional executor gets its intents in any case.
//
// captures is asked at the flush, and also when the intent is enqueued, to find
// the executor that has to take it. It should look at the intent alone. Its panic
// at the call site refuses the intent; its panic at the flush fails the flush, and
// nothing is sent.
func OnDescendantFlush(captures func(ctx context.Context, in core.Intent) bool) Option {
	return optionFunc(func(s *settings) error {
		if captures == nil {
			return fmt.Errorf("airlock: option OnDescendantFlush: nil function: %w", core.ErrInvalid)
		}
		s.captures = captures
		return nil
	})
}

// ContinueOnError makes a flush go on after a failure until each intent has been
// tried once: those next to a refused intent, and those after one that failed.
// Without it, nothing is sent after a call that failed.
func ContinueOnError() Option {
	return optionFunc(func(s *settings) error {
		s.continueOnError = true
		return nil
	})
}

// FlushLimit makes the flush outlast its context and bounds it by d instead. It is
// for work that is done and must not lose its effects because the client has gone.
// The context's values stay. d is more than 0. A scope that hands its intents to
// an outer scope makes no use of it.
func FlushLimit(d time.Duration) Option {
	return flushLimitOption{d}
}

type flushLimitOption struct{ d time.Duration }

func (flushLimitOption) forEveryScope() {}

func (o flushLimitOption) apply(s *settings) error {
	if o.d <= 0 {
		return fmt.Errorf("airlock: option FlushLimit: %v, want more than 0: %w", o.d, core.ErrInvalid)
	}
	s.flushLimit = o.d
	return nil
}

// ShouldFlush decides whether [Run] flushes or discards, given what its function
// returned. Without it, a nil error flushes and any other error discards. A panic
// always discards.
func ShouldFlush(decide func(err error) bool) RunOption {
	return runOptionFunc(func(s *settings) error {
		if decide == nil {
			return fmt.Errorf("airlock: option ShouldFlush: nil function: %w", core.ErrInvalid)
		}
		s.shouldFlush = decide
		return nil
	})
}

// init gives packages such as airlocksql an option that only they may take, and lets
// them read a FlushLimit.
func init() {
	misplaced.Option = func(err error) any {
		return optionFunc(func(*settings) error { return err })
	}
	misplaced.FlushLimit = func(option any) (time.Duration, bool) {
		limit, ok := option.(flushLimitOption)
		return limit.d, ok && limit.d > 0
	}
}
