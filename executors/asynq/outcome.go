package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

var (
	errKnownID    = fmt.Errorf("airlock: asynq: %w: %w", core.ErrDuplicate, asynq.ErrTaskIDConflict)
	errKnownKey   = fmt.Errorf("airlock: asynq: %w: %w", core.ErrDuplicate, asynq.ErrDuplicateTask)
	errAfterError = fmt.Errorf("airlock: asynq: an earlier part of the call failed: %w", core.ErrNotSent)
)

// judge says what a reply means for its intent.
func (e *Executor) judge(ctx context.Context, in *core.Intent, r reply) (core.State, error) {
	switch {
	case r.err != nil:
		return e.judgeError(ctx, r)
	case !r.sent:
		return core.Unknown, errLibrary
	case r.answer == -1:
		return core.Duplicate, errKnownKey
	case r.answer == 0 && (in.ChosenID() || in.Options.Unique != ""):
		return core.Duplicate, errKnownID
	case r.answer == 0 || r.answer == 1:
		return core.Accepted, nil // a generated ID is nobody else's
	}
	return core.Unknown, errLibrary
}

// judgeError says what became of an intent whose script has no answer.
func (e *Executor) judgeError(ctx context.Context, r reply) (core.State, error) {
	err := error(&backendError{r.err})
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", contextError(ctx), err)
	}
	if r.sent && e.retries {
		return core.Unknown, err
	}
	switch {
	case errors.Is(r.err, redis.ErrClosed):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrClosed)
	case isDial(r.err):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrUnavailable)
	case !r.sent, errors.Is(r.err, redis.ErrPoolTimeout), isRefusal(r.err):
		return core.NotSent, err
	}
	return core.Unknown, err
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// refusals begin the errors with which Redis refuses a command before it has
// written anything.
var refusals = []string{
	"OOM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS",
	"NOAUTH", "WRONGPASS", "NOPERM", "NOSCRIPT", "MOVED", "ASK", "ERR max number of clients reached",
}

func isRefusal(err error) bool {
	for _, prefix := range refusals {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// backendError is an error of Redis or of the way to it.
type backendError struct{ cause error }

func (e *backendError) Error() string { return "airlock: asynq: redis: " + safeText(e.cause) }
func (e *backendError) Unwrap() error { return e.cause }

// contextError is the context's error with its cause, where it has one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return fmt.Errorf("airlock: asynq: %w", err)
	}
	return fmt.Errorf("airlock: asynq: %w: %w", err, cause)
}

// safeText is the text of a backend's error without what Redis may quote of a
// command that it does not know.
func safeText(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", with args")
	return text
}
