package celeryexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

var errNoAnswer = errors.New("airlock: celery: redis: no answer")

// outcomesOf sets the outcomes of a pipeline, and reports whether all of its jobs were
// accepted. go-redis v9.14.1 puts the error of a pipeline on commands that were
// answered, so an answer holds, and leaves commands of a pipeline that found no
// connection without an error.
func (e *Executor) outcomesOf(ctx context.Context, pushes []push, sent []sentArg, pipeline error, out []core.Outcome) bool {
	all := true
	for _, p := range pushes {
		for i := p.from; i < p.to; i++ {
			state, err := core.Accepted, error(nil)
			if p.cmd.Val() == 0 { // LPUSH answers with the length of the list
				if err = p.cmd.Err(); err == nil {
					err = pipeline
				}
				if err == nil {
					err = errNoAnswer
				}
				state, err = outcomeOf(ctx, err, sent[i].state.Load() == sentWritten)
				all = false
			}
			out[i].State, out[i].Err = state, err
		}
	}
	return all
}

// outcomeOf returns what became of an intent whose command has this error. written
// says that it was written to a connection, at least in part. Since it is written only
// once, a refusal is the answer to it, also if the client retries.
func outcomeOf(ctx context.Context, cause error, written bool) (core.State, error) {
	err := error(&backendError{cause})
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", core.ContextError(ctx), err)
	}
	var answer redis.Error
	refusal := errors.As(cause, &answer)
	switch {
	case refusal && redis.HasErrorPrefix(cause, "WRONGTYPE"):
		return core.Rejected, fmt.Errorf("%w: the key of the queue is no list: %w", err, core.ErrInvalid)
	case written && (!refusal || !adapter.RedisRefused(answer.Error())):
		return core.Unknown, err
	case errors.Is(cause, redis.ErrClosed):
		return core.NotSent, fmt.Errorf("%w: %w", err, core.ErrClosed)
	case !written && noConnection(cause):
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

// backendError is an error of Redis or of the connection to it.
type backendError struct{ cause error }

func (e *backendError) Error() string {
	return "airlock: celery: redis: " + adapter.RedisErrorText(e.cause)
}
func (e *backendError) Unwrap() error { return adapter.Masked(e.cause) }

// sentArg is an argument of a command that notes when go-redis writes it to a
// connection. As long as it is not written, the command was surely not carried out.
// It is written once: LPUSH stores a job again if it is sent again.
type sentArg struct {
	data  []byte
	state atomic.Int32
}

// The states of a sentArg.
const (
	sentNotYet int32 = iota
	sentWritten
	sentAbandoned // and never written
)

var (
	errAbandoned = errors.New("airlock: celery: the call's context has ended")
	errSentOnce  = errors.New("airlock: celery: the job may be stored, and is not sent again")
)

// MarshalBinary is called by go-redis as it writes the command. After an error
// go-redis drops the connection with what it has buffered.
func (a *sentArg) MarshalBinary() ([]byte, error) {
	if a.state.CompareAndSwap(sentNotYet, sentWritten) {
		return a.data, nil
	}
	if a.state.Load() == sentAbandoned {
		return nil, errAbandoned
	}
	return nil, errSentOnce
}

// abandon makes sure that the argument is not written any more. It returns false if it
// was written already.
func (a *sentArg) abandon() bool { return a.state.CompareAndSwap(sentNotYet, sentAbandoned) }

// String is what a hook sees that prints the command.
func (a *sentArg) String() string { return fmt.Sprintf("message of %d bytes", len(a.data)) }
