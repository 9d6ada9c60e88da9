package compose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: compose: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}

var errNilContext = invalidf("nil context")

// addContextError adds the context's error to every outcome that is neither
// accepted nor a duplicate. A wrapper calls it when the end of the context has
// kept it from sending something: errors.Is then finds the context's error on
// the answer, whatever the worst state is.
func addContextError(ctx context.Context, out []core.Outcome) {
	for i := range out {
		if o := &out[i]; !settled(o.State) && !errors.Is(o.Err, ctx.Err()) {
			o.Err = annotate(o.Err, contextEnded, core.ContextError(ctx))
		}
	}
}

// The labels of annotations.
const (
	contextEnded = "the context ended"
	lastAttempt  = "last attempt"
	fromPrimary  = "primary"
)

// annotate adds to the error of an outcome another one that does not decide, such
// as the answer of another attempt. The text shows both, and errors.Is and
// errors.As find both, but they find the sentinels of core only in err: an
// intent that may be stored must not be found as ErrNotSent. Either error may be
// nil.
func annotate(err error, label string, other error) error {
	if other == nil {
		return err
	}
	return &annotatedError{err, label, other}
}

type annotatedError struct {
	err   error // may be nil
	label string
	other error
}

func (e *annotatedError) Error() string {
	other := strings.TrimPrefix(e.other.Error(), "airlock: ")
	if e.err == nil {
		return "airlock: " + e.label + ": " + other
	}
	text := e.err.Error()
	if strings.TrimPrefix(text, "airlock: ") == other {
		return text // one cause, once
	}
	return text + "; " + e.label + ": " + other
}

func (e *annotatedError) Unwrap() error { return e.err }

func (e *annotatedError) Is(target error) bool {
	for _, s := range sentinels {
		if target == s {
			return false
		}
	}
	return errors.Is(e.other, target)
}

func (e *annotatedError) As(target any) bool { return errors.As(e.other, target) }

// sentinels are the errors by which callers decide.
var sentinels = []error{
	core.ErrInvalid, core.ErrUnsupported, core.ErrTooLarge, core.ErrDuplicate, core.ErrNotSent, core.ErrUnavailable,
	core.ErrUnknownOutcome, core.ErrClosed, core.ErrMalformed, core.ErrEarlierFailed, core.ErrNoHandler,
}

// final reports whether err says that another attempt is useless.
func final(err error) bool {
	return worker.IsPermanent(err) || errors.Is(err, core.ErrMalformed)
}

// contain calls a function of the user's that has no say in the outcome of a
// call. A panic of it is logged with slog's default logger, and the outcome is
// kept.
func contain(name string, hook func()) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		err := &core.PanicError{Value: v, Stack: debug.Stack()}
		defer func() { _ = recover() }() // that logger may be the one that panicked
		slog.Error("airlock: compose: "+name+" panicked", "error", err, "stack", string(err.Stack))
	}()
	hook()
}
