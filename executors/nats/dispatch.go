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
			return all(intents, core.NotSent, fmt.Errorf("%w: %w", core.ContextError(ctx), errNobody))
		}
	}
}

func (e *Executor) publishAll(ctx context.Context, intents []core.Intent) error {
	switch {
	case len(intents) > 1 && e.opts.Atomic:
		return e.atomic(ctx, intents)
	case len(intents) > 1 || e.watchNow():
		return e.batch(ctx, intents)
	}
	return e.one(ctx, intents)
}

// A server of a cluster answers that nobody takes a subject until it has heard of
// the stream's new leader. The client's own Publish tries as often.
const (
	nobodyTries = 3
	nobodyPause = 250 * time.Millisecond
)

// nobodyThere reports whether nothing of a call found a stream. If some of it
// did, the rest would come out of order if it was sent again.
func nobodyThere(err error, intents []core.Intent) bool {
	for _, o := range core.OutcomesOf(err, intents) {
		if o.State != core.NotSent || !errors.Is(o.Err, jetstream.ErrNoStreamResponse) {
			return false
		}
	}
	return true
}

func all(intents []core.Intent, state core.State, err error) error {
	return core.Combine(core.Outcomes(intents, state, err))
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
			return fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, core.ContextError(ctx))
		case <-limit.C:
			return fmt.Errorf("airlock: nats: no connection for %v: %w: %w", e.opts.AckTimeout, core.ErrUnavailable, nats.ErrDisconnected)
		}
	}
}

// one is batch for a single intent. It uses the client's own request, which needs
// no subscription.
func (e *Executor) one(ctx context.Context, intents []core.Intent) error {
	end := time.Now().Add(e.opts.AckTimeout)
	var m nats.Msg
	e.mapping.toNative(&m, &intents[0], time.Now())
	for {
		var o outcome
		reply, err := request(ctx, e.conn, &m, time.Until(end))
		switch {
		case err == nil:
			o = e.outcomeOf(reply, &intents[0])
		case ctx.Err() != nil:
			o = outcome{state: core.Unknown, err: core.ContextError(ctx)}
		case errors.Is(err, nats.ErrTimeout):
			o = outcome{state: core.Unknown, err: e.noAnswer()}
		default:
			o = requestError(err)
		}
		if o.foreign != "" {
			e.reportDoubled(ctx, 1, o.foreign)
		}
		switch {
		case o.state == core.Accepted:
			return nil
		case o.inDoubt && time.Until(end) > inDoubtPause:
			select {
			case <-time.After(inDoubtPause):
				continue
			case <-ctx.Done():
				o.err = fmt.Errorf("%w: %w", core.ContextError(ctx), o.err)
			}
		}
		return all(intents, o.state, o.err)
	}
}

func (e *Executor) noAnswer() error {
	return fmt.Errorf("airlock: nats: no acknowledgement within %v: %w", e.opts.AckTimeout, nats.ErrTimeout)
}
