package airlock

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// Option configures a scope. Every [Policy] is one; the others are made by
// [CaptureAll], [OnDescendantFlush], [ShouldFlush], [ContinueOnError] and
// [FlushLimit].
type Option interface{ apply(*settings) error }

type settings struct {
	policy          Policy
	captures        func(ctx context.Context, in core.Intent) bool
	shouldFlush     func(err error) bool
	continueOnError bool
	flushLimit      time.Duration
	children        *lineage // set by Scoped
}

type optionFunc func(*settings) error

func (f optionFunc) apply(s *settings) error { return f(s) }

// CaptureAll gives the scope full authority over the scopes inside it: what one
// with an executor of its own would flush is handed to this scope instead.
func CaptureAll() Option {
	return OnDescendantFlush(func(context.Context, core.Intent) bool { return true })
}

// OnDescendantFlush lets the scope decide, intent by intent, when a scope inside
// it that has its own executor flushes: true captures the intent into this
// scope, false lets it go. Scopes are asked from the inside out.
func OnDescendantFlush(captures func(ctx context.Context, in core.Intent) bool) Option {
	return optionFunc(func(s *settings) error {
		if captures == nil {
			return fmt.Errorf("airlock: option OnDescendantFlush: nil function: %w", core.ErrInvalid)
		}
		s.captures = captures
		return nil
	})
}

// ShouldFlush decides whether [Run] flushes or discards, given what its function
// returned. Without it a nil error flushes and any other discards. A panic
// always discards.
func ShouldFlush(decide func(err error) bool) Option {
	return optionFunc(func(s *settings) error {
		if decide == nil {
			return fmt.Errorf("airlock: option ShouldFlush: nil function: %w", core.ErrInvalid)
		}
		s.shouldFlush = decide
		return nil
	})
}

// ContinueOnError makes a flush that failed send once more what was surely not
// sent: those beside a refused intent, and those after one that failed.
// Without it nothing is sent after a call that failed.
func ContinueOnError() Option {
	return optionFunc(func(s *settings) error {
		s.continueOnError = true
		return nil
	})
}

// FlushLimit frees the flush from the end of its context and bounds it by d
// instead: for work that is done, and must not lose its effects because whoever
// asked for it has gone. The context's values stay. d is more than 0.
func FlushLimit(d time.Duration) Option {
	return optionFunc(func(s *settings) error {
		if d <= 0 {
			return fmt.Errorf("airlock: option FlushLimit: %v, want more than 0: %w", d, core.ErrInvalid)
		}
		s.flushLimit = d
		return nil
	})
}

func (s *settings) applyAll(opts []Option) error {
	for _, o := range opts {
		if o == nil {
			return fmt.Errorf("airlock: nil option: %w", core.ErrInvalid)
		}
		if err := o.apply(s); err != nil {
			return err
		}
	}
	return nil
}

type defaults struct {
	exec core.Executor
	opts []Option
}

type defaultsKey struct{}

// WithDefaults returns a context in which a scope without an executor of its
// own, and without a scope around it, uses exec, with opts before its own. A
// nil exec takes the default away.
func WithDefaults(ctx context.Context, exec core.Executor, opts ...Option) context.Context {
	if ctx == nil {
		return nil
	}
	return context.WithValue(ctx, defaultsKey{}, &defaults{exec, slices.Clone(opts)})
}
