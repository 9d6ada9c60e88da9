package compose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/goairlock/airlock/core"
)

var (
	errRefusedBeside = fmt.Errorf("airlock: another intent of the call was refused: %w", core.ErrNotSent)
	errAfterFailure  = fmt.Errorf("airlock: an earlier part of the call failed: %w", core.ErrNotSent)
)

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}

// contextError is the context's error together with its cause, where somebody
// gave it one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// interrupt makes the context's error findable on an outcome that the end of
// the context has left undelivered.
func interrupt(ctx context.Context, o *core.Outcome) {
	switch {
	case o.Err == nil:
		o.Err = contextError(ctx)
	case !is(o.Err, ctx.Err()):
		o.Err = fmt.Errorf("%w, after: %w", contextError(ctx), o.Err)
	}
}

// beside is the error of an outcome, and another one of the same intent that
// does not decide: the answer of an earlier attempt, or of a later one that
// could not undo what an earlier one left open. Both are told, and the
// backend's errors are found in both, but the sentinels of core only in err:
// an intent that may be stored must not be found as ErrNotSent.
func beside(err error, when string, other error) error {
	switch {
	case other == nil:
		return err
	case err == nil:
		return &besideError{"airlock: " + when, nil, other}
	}
	return &besideError{"; " + when, err, other}
}

type besideError struct {
	when  string
	err   error
	other error
}

func (e *besideError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("%s: %v", e.when, e.other)
	}
	return fmt.Sprintf("%v%s: %v", e.err, e.when, e.other)
}

func (e *besideError) Unwrap() error { return e.err }

func (e *besideError) Is(target error) bool {
	for _, s := range sentinels {
		if target == s {
			return false
		}
	}
	return errors.Is(e.other, target)
}

func (e *besideError) As(target any) bool { return errors.As(e.other, target) }

// sentinels are what callers decide by.
var sentinels = []error{
	core.ErrInvalid, core.ErrUnsupported, core.ErrTooLarge, core.ErrDuplicate, core.ErrNotSent,
	core.ErrUnavailable, core.ErrUnknownOutcome, core.ErrClosed, core.ErrNoHandler,
}

// is is errors.Is for errors of types that we do not know: a method of theirs
// that panics finds nothing.
func is(err, target error) (found bool) {
	defer func() {
		if recover() != nil {
			found = false
		}
	}()
	return errors.Is(err, target)
}

// permanent is core.IsPermanent for such errors. One that panics when it is
// looked at will not be mended by another attempt.
func permanent(err error) (found bool) {
	defer func() {
		if recover() != nil {
			found = true
		}
	}()
	return core.IsPermanent(err)
}

// contain runs a function of the user's that has no say in the outcome of a
// call. Its panic must not lose that outcome, and must not pass unseen: it is
// logged with slog's default logger.
func contain(name string, hook func()) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		err := &core.PanicError{Value: v, Stack: debug.Stack()}
		defer func() { _ = recover() }() // that logger may be the one that panicked
		slog.Error("airlock: "+name+" panicked", "error", err, "stack", string(err.Stack))
	}()
	hook()
}
