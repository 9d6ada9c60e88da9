package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// outcomeOf returns what a reply means for its intent.
func (e *Executor) outcomeOf(ctx context.Context, in *core.Intent, r reply) (core.State, error) {
	switch {
	case r.err != nil:
		return e.failureOf(ctx, r)
	case !r.called:
		return core.Unknown, errLibrary
	case r.answer == -1, r.answer == 0 && (in.ChosenID() || in.Options.Unique != ""):
		return core.Duplicate, core.ErrDuplicate
	case r.answer == 0 || r.answer == 1:
		return core.Accepted, nil // only our own retry can have stored a generated ID
	}
	return core.Unknown, errLibrary
}

// failureOf returns what became of an intent whose script has no answer.
func (e *Executor) failureOf(ctx context.Context, r reply) (core.State, error) {
	err := error(&backendError{r.err})
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", core.ContextError(ctx), err)
	}
	switch {
	case r.written && (e.retries || !isRefusal(r.err)):
		return core.Unknown, err
	case errors.Is(r.err, redis.ErrClosed):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrClosed)
	case !r.written && noConnection(r.err):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrUnavailable)
	}
	return core.NotSent, err
}

// noConnection reports whether an error before anything was written says that no
// connection came about: the dial or the handshake failed.
func noConnection(err error) bool {
	var network net.Error
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// isRefusal reports whether Redis has refused the command before it wrote anything.
func isRefusal(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && adapter.RedisRefused(answer.Error())
}

// backendError is an error of Redis or of the connection to it.
type backendError struct{ cause error }

func (e *backendError) Error() string {
	return "airlock: asynq: redis: " + adapter.RedisErrorText(e.cause)
}
func (e *backendError) Unwrap() error { return adapter.Masked(e.cause) }
