package natsexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// askOnce bounds one request to JetStream. A request that was lost is never
// answered, and one to a group without a leader is not before it has one.
const askOnce = 5 * time.Second

// Between two tries to open, doubled each time.
const (
	firstOpenPause   = 500 * time.Millisecond
	longestOpenPause = 10 * time.Second
)

// open reads the stream and binds its consumers. It tries until it succeeds, ctx
// ends, or the reason is one that time does not mend.
func (w *Worker) open(ctx context.Context) error {
	for pause := firstOpenPause; ; pause = min(2*pause, longestOpenPause) {
		err := w.openOnce(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return err
		}
		w.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "airlock: nats: cannot work yet, trying again",
			slog.String("stream", w.stream), slog.Duration("in", pause), slog.Any("error", err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *Worker) openOnce(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, askOnce)
	cfg, err := readStream(limited, w.js, w.stream)
	cancel()
	if err != nil {
		return err
	}
	if wrong := misfits(cfg, w.opts.Lanes); len(wrong) > 0 {
		return misfitError(w.stream, wrong)
	}
	w.schedules = cfg.AllowMsgSchedules
	w.sources = nil
	for _, queue := range w.opts.Queues {
		for _, lane := range lanes {
			if lane.kind != laneNormal && !w.opts.Lanes {
				continue
			}
			s := &source{queue: queue, kind: lane.kind, weight: lane.weight}
			if err := w.bind(ctx, s); err != nil {
				return err
			}
			w.sources = append(w.sources, s)
		}
	}
	w.slots = make(chan struct{}, w.opts.Concurrency)
	for range w.opts.Concurrency {
		w.slots <- struct{}{}
	}
	return nil
}

// passes reports whether an error is of a moment: nobody answered, or the one
// that did cannot serve now.
func passes(err error) bool {
	for _, momentary := range []error{
		context.DeadlineExceeded, // of one request
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrStaleConnection,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded,
		jetstream.ErrConsumerNotFound, // deleted between two looks
	} {
		if errors.Is(err, momentary) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code >= 500 && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount
}

// bind finds the source's consumer, or creates it. One that exists may have been
// tuned and is left as it is, if it keeps its hands off what we count.
func (w *Worker) bind(ctx context.Context, s *source) error {
	filter := w.stream + "." + s.kind + "." + s.queue + ".>"
	consumer, err := w.consumer(ctx, s)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		limited, cancel := context.WithTimeout(ctx, askOnce)
		consumer, err = w.js.CreateConsumer(limited, w.stream, jetstream.ConsumerConfig{
			Durable: s.durable(), FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: w.opts.AckWait, MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 4096,
		})
		cancel()
		if errors.Is(err, jetstream.ErrConsumerExists) { // another worker was faster, with options of its own
			consumer, err = w.consumer(ctx, s)
		}
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		return invalidf("consumer %s of stream %s: it pushes", s.durable(), w.stream)
	}
	if err != nil {
		return fmt.Errorf("airlock: nats: consumer %s of stream %s: %w", s.durable(), w.stream, err)
	}
	cfg := consumer.CachedInfo().Config
	switch {
	case cfg.FilterSubject != filter:
		err = fmt.Errorf("its filter is %q, want %s", cfg.FilterSubject, filter)
	case cfg.AckPolicy != jetstream.AckExplicitPolicy:
		err = fmt.Errorf("acknowledgements are %v, want explicit", cfg.AckPolicy)
	case cfg.MaxDeliver > 0:
		err = fmt.Errorf("it stops delivering after %d times (max_deliver), and such a job stays in the stream for ever", cfg.MaxDeliver)
	case len(cfg.BackOff) > 0:
		err = errors.New("it has a backoff, which replaces ack_wait")
	}
	if err != nil {
		return invalidf("consumer %s of stream %s: %v", s.durable(), w.stream, err)
	}
	s.ackWait = cfg.AckWait
	return nil
}

func (w *Worker) consumer(ctx context.Context, s *source) (jetstream.Consumer, error) {
	limited, cancel := context.WithTimeout(ctx, askOnce)
	defer cancel()
	return w.js.Consumer(limited, w.stream, s.durable())
}
