package natsexec

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Between two tries to begin, doubled each time.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 2 * time.Second
)

// connect reads the stream and binds its consumers. It tries until it succeeds, ctx
// ends, or the reason is one that does not pass.
func (w *Worker) connect(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := w.connectOnce(ctx)
		if err == nil {
			w.health.back(w.opts.Logger, nil)
			return nil
		}
		if ctx.Err() != nil || !passes(err) {
			return err
		}
		w.health.lost(w.opts.Logger, nil, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *Worker) connectOnce(ctx context.Context) error {
	s, err := readStream(ctx, w.js, w.stream)
	if err != nil {
		return err
	}
	if wrong := misfits(s.Config, w.opts.Lanes); len(wrong) > 0 {
		return misfitError(w.stream, wrong)
	}
	w.target, w.schedules, w.storage, w.fenced = newTarget(s), s.Config.AllowMsgSchedules, s.Config.Storage, fenced(s.Config)
	w.sources = nil
	var sick []error
	for _, queue := range w.opts.Queues {
		for _, lane := range lanes {
			if lane.kind != laneNormal && !w.opts.Lanes {
				continue
			}
			src := newSource(w.stream, queue, w.queues.Native(queue), lane.kind, lane.weight)
			switch err := w.bind(ctx, src); {
			case err != nil && (ctx.Err() != nil || !passes(err)):
				return err
			case err != nil: // the others are worked meanwhile
				src.sick = true
				src.ackWait.Store(int64(w.opts.AckWait))
				sick = append(sick, err)
			}
			w.sources = append(w.sources, src)
		}
	}
	if len(sick) == len(w.sources) {
		return sick[0]
	}
	return nil
}

// passes reports whether an error is of a moment: nobody answered, the one that did
// cannot serve now, or a permission is missing that may be given.
func passes(err error) bool {
	for _, momentary := range []error{
		context.DeadlineExceeded, // of one request
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrStaleConnection,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrPermissionViolation,
		jetstream.ErrConsumerNotFound, // deleted between two looks
	} {
		if errors.Is(err, momentary) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code >= 500 && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount
}

// watchConnection notes that the connection was lost, also while no request waits.
func (w *Worker) watchConnection(ctx context.Context) {
	changed := w.conn.StatusChanged(nats.RECONNECTING)
	defer w.conn.RemoveStatusListener(changed)
	for {
		select {
		case <-changed:
			w.health.lost(w.opts.Logger, nil, nats.ErrDisconnected)
		case <-ctx.Done():
			return
		}
	}
}
