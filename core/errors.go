package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The errors that tell callers apart what happened. Each is found with
// errors.Is through every layer that wraps it; the backend's own error, where
// there is one, stays reachable with errors.As.
var (
	// ErrInvalid says that the input itself is wrong, whatever the executor: a
	// bad name, arguments that cannot be encoded, a zero or negative value where
	// a positive one is needed, a nil function. Returned where it can first be
	// known, mostly by [Task.Intent] and [NewRegistry].
	ErrInvalid = errors.New("invalid")

	// ErrUnsupported says that an executor refuses an option that it cannot
	// honour. It is always wrapped in an [*OptionError] that names both.
	ErrUnsupported = errors.New("unsupported option")

	// ErrTooLarge says that the payload, or payload and headers together, exceed
	// what the backend takes. Returned by [Capabilities.Check] and by executors.
	ErrTooLarge = errors.New("too large")

	// ErrDuplicate says that a job of the same chosen ID or unique key is there
	// already, and nothing was added. Found on a [*DispatchError] only if every
	// other intent of the call was accepted.
	ErrDuplicate = errors.New("duplicate")

	// ErrNotSent says that an intent has surely not been stored, so that it can
	// be sent again. Found on a [*DispatchError] with such an outcome.
	ErrNotSent = errors.New("not sent")

	// ErrUnavailable says that the backend could not be reached at all, or has no
	// room. It wraps [ErrNotSent]. Returned by executors whose backend refused the
	// connection, or whose queue is full and does not wait.
	ErrUnavailable = fmt.Errorf("backend unavailable: %w", ErrNotSent)

	// ErrUnknownOutcome says that an intent was sent and no answer came: it may
	// be stored, and sending the same intent again is harmless within the
	// executor's ID window. Found on a [*DispatchError] with such an outcome.
	ErrUnknownOutcome = errors.New("unknown outcome")

	// ErrClosed says that the executor, or whatever else was called, has been
	// stopped. Nothing of the call was stored.
	ErrClosed = errors.New("closed")

	// ErrNoHandler says that nobody here knows how to run a task. Returned by
	// executors that run tasks in this process, and by [Registry.Perform] in its
	// verdict.
	ErrNoHandler = errors.New("no handler")
)

// OptionError says that an executor refuses a dispatch option, and why.
// errors.Is finds [ErrUnsupported] on it.
type OptionError struct {
	Option   OptionName // the option that was refused
	Executor string     // who refused it: the Executor field of its Capabilities
	Reason   string     // why, for people; may be empty
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

// markedError is a message of our own that is found as one of the sentinels
// and may have a cause, which its text leaves out when it could show arguments.
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

// about wraps err with what it is about, and keeps the prefix of the package at
// the front, once.
func about(subject string, err error) error {
	return &markedError{text: "airlock: " + subject + ": " + unprefixed(err), cause: err}
}

// unprefixed is the text of err, to stand inside another message. Unlike
// err.Error it survives an error whose Error panics.
func unprefixed(err error) string { return strings.TrimPrefix(fmt.Sprint(err), "airlock: ") }

func invalidf(format string, args ...any) error {
	return &markedError{text: "airlock: " + fmt.Sprintf(format, args...), mark: ErrInvalid}
}

func checkContext(ctx context.Context) error {
	if ctx == nil {
		return invalidf("nil context")
	}
	return nil
}

// PanicError is what remains of a panic that was contained: in a handler, a
// codec, or an executor. Its text has the panic's value but not the stack.
type PanicError struct {
	Value any    // what was given to panic
	Stack []byte // the stack of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("airlock: panic: %v", e.Value) }

// Unwrap returns the panic's value if that is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
