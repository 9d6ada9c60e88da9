package workexec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

var (
	errKnownID    = fmt.Errorf("airlock: work: the ID is known: %w", core.ErrDuplicate)
	errKnownKey   = fmt.Errorf("airlock: work: a job of the unique key is unfinished: %w", core.ErrDuplicate)
	errAfterError = fmt.Errorf("airlock: work: an earlier part of the call failed: %w", core.ErrNotSent)
	errAnswer     = errors.New("airlock: work: the script's answer cannot be understood")
)

// judge says what the script's answer means for its intent.
func judge(in *core.Intent, answer any) (core.State, error) {
	switch a := answer.(type) {
	case int64:
		switch {
		case a == 1, a == 0 && !in.ChosenID() && in.Options.Unique == "":
			return core.Accepted, nil // a generated ID is nobody else's
		case a == 0:
			return core.Duplicate, errKnownID
		case a == -1:
			return core.Duplicate, errKnownKey
		}
	case []byte: // an error that left nothing behind
		return core.NotSent, &backendError{redis.Error(a)}
	case nil:
		return core.NotSent, errAfterError
	}
	return core.Unknown, errAnswer
}

// judgeError says what became of the intents of a call without an answer.
func judgeError(ctx context.Context, sent bool, cause error) (core.State, error) {
	err := error(&backendError{cause})
	if ctxErr := ended(ctx, cause); ctxErr != nil {
		err = fmt.Errorf("%w: %w", ctxErr, err)
	}
	var refused redis.Error
	switch {
	case !sent && isClosed(cause):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrClosed)
	case !sent && isNetwork(cause):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrUnavailable)
	case !sent, errors.As(cause, &refused) && isRefusal(string(refused)):
		return core.NotSent, err
	}
	return core.Unknown, err
}

// ended is the error of a context that is done. Near a context's deadline redigo
// may be a moment ahead of it, with a time-out of the connection.
func ended(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	var ne net.Error
	if end, ok := ctx.Deadline(); ok && errors.As(cause, &ne) && ne.Timeout() && !time.Now().Before(end) {
		return fmt.Errorf("airlock: work: %w", context.DeadlineExceeded)
	}
	return nil
}

// isNetwork reports that the pool could not make a connection, and not that it
// did not want to.
func isNetwork(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isClosed knows redigo's error for a closed pool, which has no name.
func isClosed(err error) bool { return err.Error() == "redigo: get on closed pool" }

// refusals begin the errors with which Redis refuses a script before it has
// written anything.
var refusals = []string{
	"OOM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS",
	"NOAUTH", "WRONGPASS", "NOPERM", "NOSCRIPT", "MOVED", "ASK", "ERR max number of clients reached",
}

func isRefusal(text string) bool {
	for _, prefix := range refusals {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// backendError is an error of Redis or of the way to it. Its text leaves out what
// Redis may quote of a command that it does not know.
type backendError struct{ cause error }

func (e *backendError) Error() string {
	text, _, _ := strings.Cut(e.cause.Error(), ", with args")
	return "airlock: work: redis: " + text
}

func (e *backendError) Unwrap() error { return e.cause }

// contextError is the context's error with its cause, where it has one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return fmt.Errorf("airlock: work: %w", err)
	}
	return fmt.Errorf("airlock: work: %w: %w", err, cause)
}
