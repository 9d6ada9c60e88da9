package natsexec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

// dispatch is Execute behind the guard.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	if e.opts.Atomic && len(intents) > largestBatch {
		return all(intents, core.Rejected, fmt.Errorf("airlock: nats: atomic batch of %d intents, JetStream takes at most %d: %w",
			len(intents), largestBatch, core.ErrTooLarge))
	}
	if err := e.awaitConnection(ctx); err != nil {
		return all(intents, core.NotSent, err)
	}
	for tries := 1; ; tries++ {
		err := e.publishAll(ctx, intents)
		if err == nil || tries == nobodyTries || !nobodyThere(err, intents) {
			return err
		}
		select {
		case <-time.After(nobodyPause):
		case <-ctx.Done():
			return all(intents, core.NotSent, fmt.Errorf("%w: %w", contextError(ctx), errNobody))
		}
	}
}

func (e *Executor) publishAll(ctx context.Context, intents []core.Intent) error {
	switch {
	case len(intents) == 1:
		return e.one(ctx, intents)
	case e.opts.Atomic:
		return e.atomic(ctx, intents)
	}
	return e.pipeline(ctx, intents)
}

// A server of a cluster says that nobody takes a subject until it has heard of
// the stream's new leader. The client's own Publish tries as often.
const (
	nobodyTries = 3
	nobodyPause = 250 * time.Millisecond
)

// nobodyThere reports whether nothing of a call found a stream. Where some of it
// did, the rest sent again would come out of order.
func nobodyThere(err error, intents []core.Intent) bool {
	for _, o := range core.OutcomesOf(err, intents) {
		if o.State != core.NotSent || !errors.Is(o.Err, jetstream.ErrNoStreamResponse) {
			return false
		}
	}
	return true
}

func all(intents []core.Intent, state core.State, err error) error {
	out := core.OutcomesOf(nil, intents)
	for i := range out {
		out[i].State, out[i].Err = state, err
	}
	return core.Combine(out)
}

// awaitConnection returns when there is a connection. Publishing without one
// would leave the message with the client, which sends it whenever it comes back.
func (e *Executor) awaitConnection(ctx context.Context) error {
	if e.conn.IsConnected() {
		return nil
	}
	changed := e.conn.StatusChanged(nats.CONNECTED, nats.CLOSED, nats.DRAINING_PUBS, nats.DRAINING_SUBS)
	defer e.conn.RemoveStatusListener(changed)
	limit := time.NewTimer(e.opts.AckTimeout)
	defer limit.Stop()
	for {
		switch {
		case e.conn.IsConnected():
			return nil
		case e.conn.IsClosed():
			return fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, nats.ErrConnectionClosed)
		case e.conn.IsDraining():
			return fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, nats.ErrConnectionDraining)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, contextError(ctx))
		case <-limit.C:
			return fmt.Errorf("airlock: nats: no connection for %v: %w: %w", e.opts.AckTimeout, core.ErrUnavailable, nats.ErrDisconnected)
		}
	}
}

// contextError is the context's error together with its cause, where somebody gave it one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// publishError says what an error of publishing means. Those that are named are
// returned before anything was written.
func publishError(err error) (core.State, error) {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return core.Rejected, fmt.Errorf("airlock: nats: %w: %w", core.ErrTooLarge, err)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrHeadersNotSupported):
		return core.NotSent, fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, err)
	case errors.Is(err, nats.ErrBadSubject):
		return core.Rejected, fmt.Errorf("airlock: nats: %w: %w", core.ErrInvalid, err)
	}
	return core.Unknown, fmt.Errorf("airlock: nats: %w", err)
}

// one is pipeline for a single intent, by the client's own request, which needs
// no subscription.
func (e *Executor) one(ctx context.Context, intents []core.Intent) error {
	limited, cancel := context.WithTimeout(ctx, e.opts.AckTimeout)
	defer cancel()
	var m nats.Msg
	e.mapping.fill(&m, &intents[0], time.Now())
	for {
		reply, err := e.conn.RequestMsgWithContext(limited, &m)
		a := e.answerOf(reply, err, &intents[0])
		if a.conflict {
			select {
			case <-time.After(conflictPause):
				continue
			case <-limited.Done():
				if ctx.Err() != nil {
					a.err = fmt.Errorf("%w: %w", contextError(ctx), a.err)
				}
				return all(intents, a.state, a.err)
			}
		}
		switch {
		case a.state == core.Accepted:
			return nil
		case a.state == core.Unknown && ctx.Err() != nil:
			a.err = contextError(ctx)
		case a.state == core.Unknown && limited.Err() != nil:
			a.err = e.noAnswer()
		}
		return all(intents, a.state, a.err)
	}
}

// answerOf is answer for a request, whose error may come from before or after
// its message was written.
func (e *Executor) answerOf(reply *nats.Msg, err error, in *core.Intent) answer {
	switch {
	case err == nil:
		return e.answer(reply, in)
	case errors.Is(err, nats.ErrNoResponders):
		return answer{state: core.NotSent, err: errNobody}
	case errors.Is(err, nats.ErrConnectionClosed): // told alike for a message that was written
		return answer{state: core.Unknown, err: fmt.Errorf("airlock: nats: %w", err)}
	}
	state, err := publishError(err)
	return answer{state: state, err: err}
}
