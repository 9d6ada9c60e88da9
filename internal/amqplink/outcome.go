package amqplink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const maxErrorText = 2000 // bytes

// Name is what the texts of an executor's errors and log messages begin with:
// "airlock: rabbitmq".
type Name string

func (n Name) text(s string) string { return string(n) + ": " + s }

// executor returns "rabbitmq" of "airlock: rabbitmq".
func (n Name) executor() string {
	executor, _, _ := strings.Cut(strings.TrimPrefix(string(n), "airlock: "), ":")
	return executor
}

func (n Name) errClosed() error {
	return fmt.Errorf("%s: closed: %w: %w", n, core.ErrClosed, core.ErrNotSent)
}

func (n Name) errUnanswered() error {
	return fmt.Errorf("%s: no answer in time: %w", n, core.ErrUnavailable)
}

// Error returns an error of RabbitMQ, of the library or of the dial function with the
// name before it. Its text has no credentials.
func (n Name) Error(cause error) error { return &backendError{n, cause} }

// Unavailable is Error with [core.ErrUnavailable].
func (n Name) Unavailable(cause error) error {
	return fmt.Errorf("%w: %w", n.Error(cause), core.ErrUnavailable)
}

type backendError struct {
	name  Name
	cause error
}

func (e *backendError) Error() string {
	return e.name.text(adapter.ErrorText(e.cause, maxErrorText))
}
func (e *backendError) Unwrap() error { return adapter.Masked(e.cause) }

// Result is what became of one message.
type Result struct {
	State core.State
	Err   error
}

// outcomeOf returns what the end of a confirm means. The library answers false for a
// negative confirm and for the end of the channel.
func (p *Publisher) outcomeOf(acked, returned, channelClosed bool, queue string) Result {
	switch {
	case acked && returned:
		return Result{core.Rejected, p.opts.NoQueue(queue)}
	case acked:
		return Result{State: core.Accepted}
	case channelClosed:
		return Result{core.Unknown, errors.New(p.link.name.text("connection or channel lost before the confirm"))}
	}
	return Result{core.Unknown, errors.New(p.link.name.text("negative confirm"))}
}

// outcomeOfWrite returns what an error of a publish means. With ErrClosed the message
// was not written as a whole, and RabbitMQ drops a part.
func (n Name) outcomeOfWrite(err error) Result {
	switch {
	case errors.Is(err, amqp.ErrClosed):
		return Result{core.NotSent, n.Unavailable(err)}
	case errors.Is(err, amqp.ErrFieldType):
		return Result{core.Rejected, n.Error(err)}
	}
	return Result{core.Unknown, n.Error(err)}
}

// NotSent returns n results for an error before the first publish.
func NotSent(ctx context.Context, n int, err error) []Result {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", core.ContextError(ctx), err)
	}
	results := make([]Result, n)
	setAll(results, Result{core.NotSent, err})
	return results
}

func setAll(results []Result, r Result) {
	for i := range results {
		results[i] = r
	}
}
