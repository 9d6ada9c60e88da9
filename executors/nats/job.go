package natsexec

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

// A job is a message as the worker runs it.
type job struct {
	source   *source
	msg      *nats.Msg
	task     string // with what the subject has
	unique   string // the token of the unique key with its dot, or ""
	seq      uint64
	attempt  int
	env      core.Envelope
	rewrap   bool // the message has no envelope with the job's ID
	delivery core.Delivery
}

// start runs a job on a goroutine and then frees its slot.
func (w *Worker) start(ctx context.Context, s *source, msg *nats.Msg) {
	w.active.Add(1)
	w.jobs.Go(func() {
		defer w.release(1)
		defer w.active.Add(-1)
		stop := w.keepAlive(s, msg)
		defer stop()
		j, err := w.read(s, msg)
		switch {
		case j == nil:
			w.opts.Logger.LogAttrs(ctx, slog.LevelError, "airlock: nats: message without metadata", slog.Any("error", err))
		case ctx.Err() != nil:
			w.again(j, j.attempt-1, 0)
		case err != nil:
			w.bury(j, err)
		case j.attempt > j.delivery.MaxAttempts:
			w.bury(j, fmt.Errorf("airlock: nats: %d attempts, and the last one's worker never answered", j.delivery.MaxAttempts))
		default:
			w.settle(j, w.registry.Perform(w.hard, j.delivery))
		}
	})
}

// keepAlive tells the server that the job is being worked on, until stop.
func (w *Worker) keepAlive(s *source, msg *nats.Msg) (stop func()) {
	every := s.ackWait / 3
	var mu sync.Mutex
	var timer *time.Timer // guarded by mu
	stopped := false      // guarded by mu
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(every, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped && !w.gone.Load() {
			_ = w.conn.Publish(msg.Reply, []byte("+WPI")) // without a connection there is nobody to tell
			timer.Reset(every)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// read makes a delivery of a message. A nil job is a message that JetStream did
// not send; with an error the job is one that nobody can run.
func (w *Worker) read(s *source, msg *nats.Msg) (*job, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	h := msg.Header
	j := &job{source: s, msg: msg, seq: meta.Sequence.Stream}
	j.task = strings.TrimPrefix(msg.Subject, w.stream+"."+s.kind+"."+s.queue+".")
	if i := strings.LastIndexByte(j.task, '.'); i >= 0 && strings.HasPrefix(j.task[i+1:], "=") {
		j.task, j.unique = j.task[:i], j.task[i:]
	}
	before, err := strconv.Atoi(h.Get(attemptsHeader))
	if err != nil || before < 0 {
		before = 0
	}
	j.attempt = before + int(meta.NumDelivered)

	var bad error
	if text := h.Get(envelopeHeader); text != "" {
		j.env, bad = core.DecodeEnvelope([]byte(text))
	}
	j.rewrap = bad == nil && j.env.ID == ""
	if id := h.Get(nats.MsgIdHdr); id != "" && h.Get(attemptsHeader) == "" {
		j.env.ID = id // of a message that was published as a new job
	}
	if j.env.ID == "" {
		j.env.ID = w.stream + ":" + strconv.FormatUint(j.seq, 10)
	}
	j.delivery = core.Delivery{
		ID: j.env.ID, Task: j.task, Queue: s.queue, Payload: msg.Data, Headers: headers(h, j.env.Headers),
		Attempt: j.attempt, MaxAttempts: j.env.MaxAttempts, Backoff: j.env.Backoff,
		Timeout: j.env.Timeout, Deadline: j.env.Deadline,
	}
	if j.delivery.MaxAttempts == 0 {
		j.delivery.MaxAttempts = defaultAttempts
	}
	if j.delivery.Backoff.IsZero() {
		j.delivery.Backoff = w.opts.Backoff
	}
	return j, bad
}

// headers are those that the producer attached.
func headers(h nats.Header, hidden core.Headers) core.Headers {
	var m map[string]string
	set := func(k, v string) {
		if m == nil {
			m = map[string]string{}
		}
		m[k] = v
	}
	for k, v := range hidden.All() {
		set(k, v)
	}
	for k, v := range h {
		if len(v) > 0 && !ours(k) {
			set(k, v[0])
		}
	}
	return core.NewHeaders(m)
}

func ours(key string) bool {
	return strings.HasPrefix(key, "Nats-") || strings.HasPrefix(key, "Airlock-")
}

// settle does to the job what the verdict says.
func (w *Worker) settle(j *job, v core.Verdict) {
	interrupted := w.hard.Err() != nil && v.Action != core.Done
	switch {
	case interrupted:
		w.again(j, j.attempt-1, 0)
	case v.Action == core.Done:
		w.confirm(j, "+ACK")
	case v.Action == core.Retry && (v.After <= j.source.ackWait || !w.schedules):
		// Not early, wherever its consumer's leader moves meanwhile: that knows of
		// no delay, and delivers again after ack_wait.
		w.confirm(j, fmt.Sprintf(`-NAK {"delay": %d}`, v.After.Nanoseconds()))
	case v.Action == core.Retry:
		w.again(j, j.attempt, v.After)
	case v.Action == core.Snoozed && w.schedules:
		w.again(j, j.attempt-1, v.After)
	case v.Action == core.Snoozed:
		w.bury(j, fmt.Errorf("airlock: nats: the stream has no schedules, so a snooze would cost an attempt: %w", v.Err))
	case v.Unhandled() && w.schedules:
		w.opts.Logger.LogAttrs(context.Background(), slog.LevelWarn, "airlock: nats: job parked, its task is unknown here",
			slog.Any("job", j.delivery), slog.Duration("for", w.opts.ParkFor))
		w.again(j, j.attempt-1, w.opts.ParkFor)
	default:
		w.bury(j, v.Err)
	}
}
