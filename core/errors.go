package core

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// Sentinel errors. Callers use errors.Is to find out what happened, through every
// layer that wraps an error. The backend's own error, if there is one, is found
// with errors.As.
var (
	// ErrInvalid says that the input is wrong for every executor: a bad name,
	// arguments that cannot be encoded, a zero or negative value where a positive
	// one is needed, a nil function. It is returned as early as possible, mostly
	// by [Task.Intent] and worker.NewRegistry.
	ErrInvalid = errors.New("invalid")

	// ErrUnsupported says that an executor refuses an option that it cannot
	// honour. It is always found on an [*OptionError], which names both.
	ErrUnsupported = errors.New("unsupported option")

	// ErrTooLarge says that the payload, or payload and headers together, exceed
	// the backend's limit. Returned by [Capabilities.Check] and by executors.
	ErrTooLarge = errors.New("too large")

	// ErrDuplicate says that a job with the same chosen ID or unique key already
	// exists, and nothing was added. Found on a [*DispatchError] only if every
	// other intent of the call was accepted or is a duplicate too.
	ErrDuplicate = errors.New("duplicate")

	// ErrNotSent says that an intent was certainly not stored and can be sent
	// again. Found on a [*DispatchError] whose worst outcome is [NotSent].
	ErrNotSent = errors.New("not sent")

	// ErrUnavailable says that the backend could not be reached, or has no room.
	// It wraps [ErrNotSent]. Returned by executors whose backend refused the
	// connection, or whose queue is full and does not wait.
	ErrUnavailable error = &notSentError{"backend unavailable"}

	// ErrUnknownOutcome says that an intent was sent and no answer came. It may be
	// stored. Sending the same intent again is harmless within the executor's ID
	// window. Found on a [*DispatchError] with an outcome that is [Unknown].
	ErrUnknownOutcome = errors.New("unknown outcome")

	// ErrClosed says that the executor, scope or worker has been stopped. Nothing
	// of the call was stored.
	ErrClosed = errors.New("closed")

	// ErrMalformed says that a payload is not in its codec's format, so that no
	// version of the task can read it. It means a syntax error, not a value that
	// does not fit the type. Returned by [Task.Decode]. A custom [Codec] should wrap
	// it. A worker does not retry a job that failed with it.
	ErrMalformed = errors.New("malformed")

	// ErrEarlierFailed says that an intent was not sent because an earlier part of
	// the same call failed. It wraps [ErrNotSent].
	ErrEarlierFailed error = &notSentError{"airlock: an earlier part of the call failed"}

	// ErrNoHandler says that a task has no handler here. Returned by executors that
	// run tasks in this process, and in the verdict of Registry.Perform in package
	// worker.
	ErrNoHandler = errors.New("no handler")
)

// notSentError is a reason why an intent was not sent. Its text does not say so:
// the text of a [*DispatchError] already has the state, and a caller that only
// looked at the backend has sent nothing.
type notSentError struct{ text string }

func (e *notSentError) Error() string { return e.text }
func (e *notSentError) Unwrap() error { return ErrNotSent }

// OptionError says that an executor refuses a dispatch option, and why.
// errors.Is finds [ErrUnsupported] on it.
type OptionError struct {
	Option   OptionName // the option that was refused
	Executor string     // the Executor field of the Capabilities that refused it
	Reason   string     // why, for humans; may be empty
}

func (e *OptionError) Error() string {
	who := e.Executor
	if who == "" {
		who = "this executor"
	}
	if e.Reason == "" {
		return fmt.Sprintf("airlock: %s refuses option %s", who, e.Option)
	}
	return fmt.Sprintf("airlock: %s refuses option %s: %s", who, e.Option, e.Reason)
}

// Is reports that an OptionError is an [ErrUnsupported].
func (e *OptionError) Is(target error) bool { return target == ErrUnsupported }

// markedError has its own text, matches a sentinel, and may have a cause. The
// text does not include the cause's text where that could show arguments.
type markedError struct {
	text  string
	mark  error // may be nil if there is a cause
	cause error // may be nil if there is a mark
}

func (e *markedError) Error() string { return e.text }

func (e *markedError) Unwrap() []error {
	switch {
	case e.cause == nil:
		return []error{e.mark}
	case e.mark == nil:
		return []error{e.cause}
	}
	return []error{e.mark, e.cause}
}

// about wraps err with its subject. The text begins with the package's prefix,
// once.
func about(subject string, err error) error {
	return &markedError{text: "airlock: " + subject + ": " + unprefixed(err), cause: err}
}

// unprefixed returns the text of err for use inside another message. It also
// works for an error whose Error method panics.
func unprefixed(err error) string { return strings.TrimPrefix(fmt.Sprint(err), "airlock: ") }

func invalidf(format string, args ...any) error {
	return &markedError{text: "airlock: " + fmt.Sprintf(format, args...), mark: ErrInvalid}
}

var errNilContext = invalidf("nil context")

// NoHandlerError returns the error for a task that has no handler here.
// errors.Is finds [ErrNoHandler] on it.
func NoHandlerError(task string) error {
	return &markedError{text: "airlock: no handler for task " + clip(task), mark: ErrNoHandler}
}

// PanicError is a recovered panic of a handler, a codec or an executor. Its text
// has the panic's value but not the stack.
type PanicError struct {
	Value any    // the argument of panic
	Stack []byte // the stack of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("airlock: panic: %v", e.Value) }

// Unwrap returns the panic's value if that is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// panicError returns the error of a panic that was just recovered. If v is an
// error whose methods panic, its text takes its place.
func panicError(v any) error {
	return Sound(&PanicError{Value: v, Stack: debug.Stack()})
}
