package workexec

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

var (
	errKnownID  = fmt.Errorf("airlock: work: the ID is known: %w", core.ErrDuplicate)
	errKnownKey = fmt.Errorf("airlock: work: a job of the unique key is unfinished: %w", core.ErrDuplicate)
	errAnswer   = errors.New("airlock: work: the script's answer cannot be understood")
)

// outcomeOf returns what the script's answer means for its intent.
func outcomeOf(in *core.Intent, answer any) (core.State, error) {
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
		return core.NotSent, core.ErrEarlierFailed
	}
	return core.Unknown, errAnswer
}

// outcomeOfError returns what became of the intents of a call without an answer.
func outcomeOfError(ctx context.Context, sent bool, cause error) (core.State, error) {
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
	case !sent, errors.As(cause, &refused) && adapter.RedisRefused(string(refused)):
		return core.NotSent, err
	}
	return core.Unknown, err
}

// ended returns the error of a context that is done. Near a context's deadline redigo
// may be a moment ahead of it, with a time-out of the connection.
func ended(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return core.ContextError(ctx)
	}
	var ne net.Error
	if end, ok := ctx.Deadline(); ok && errors.As(cause, &ne) && ne.Timeout() && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return nil
}

// isNetwork reports whether the pool tried to make a connection and could not.
func isNetwork(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// isClosed reports whether err is redigo's for a closed pool, which has no name.
func isClosed(err error) bool { return err.Error() == "redigo: get on closed pool" }

// backendError is an error of Redis or of the way to it. Its text has no credentials,
// and nothing that Redis may quote of a command that it does not know.
type backendError struct{ cause error }

func (e *backendError) Error() string {
	return "airlock: work: redis: " + adapter.RedisErrorText(e.cause)
}

func (e *backendError) Unwrap() error { return adapter.Masked(e.cause) }
