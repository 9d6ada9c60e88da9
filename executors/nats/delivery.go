package natsexec

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// A job is a message as the worker runs it.
type job struct {
	source    *source
	msg       *nats.Msg
	key       jobKey
	unique    string // the token of the unique key with its dot, or ""
	attempt   int
	notBefore time.Time // zero if the job is due
	first     bool      // this is the message's first delivery
	delivered int       // how often the message was delivered
	claimed   int       // no owner of a delivery before this one can store copies; 0 for none
	hasID     bool      // the envelope has the job's ID
	delivery  worker.Delivery
	lease     lease
	freed     atomic.Bool // its slot
}

// deliveryOf reads a message. It makes a job of every message. One that cannot be
// read has a Delivery.EnvelopeErr, and its task may not be a valid task name.
func (w *Worker) deliveryOf(s *source, msg *nats.Msg, meta *nats.MsgMetadata) *job {
	h := msg.Header
	j := &job{
		source: s, msg: msg, first: meta.NumDelivered <= 1, delivered: int(min(meta.NumDelivered, math.MaxInt32)),
		key: jobKey{seq: meta.Sequence.Stream, stored: meta.Timestamp.UnixNano()},
	}
	task := strings.TrimPrefix(msg.Subject, w.stream+"."+s.kind+"."+s.native+".")
	if i := strings.LastIndexByte(task, '.'); i >= 0 && strings.HasPrefix(task[i+1:], "=") {
		task, j.unique = task[:i], task[i:]
	}
	var env adapter.Envelope
	var bad error
	if text := h.Get(envelopeHeader); text != "" {
		env, bad = adapter.DecodeEnvelope([]byte(text))
	}
	j.hasID = env.ID != ""
	j.attempt = j.attemptOf(j.delivered)
	j.delivery = worker.Delivery{
		ID: w.idOf(h, env.ID, j.key.seq), Task: task, Queue: s.queue, Payload: msg.Data, Headers: headersOf(h, env.Headers),
		Attempt: j.attempt, MaxAttempts: env.MaxAttempts, Backoff: env.Backoff,
		Timeout: env.Timeout, Deadline: env.Deadline, EnvelopeErr: bad, Native: msg,
		OwnGoroutine: true,
	}
	if j.delivery.MaxAttempts == 0 {
		j.delivery.MaxAttempts = core.DefaultMaxAttempts
	}
	if j.delivery.Backoff.IsZero() {
		j.delivery.Backoff = w.opts.Backoff
	}
	return j
}

// attemptOf counts the attempts of earlier messages and the deliveries of this one.
// A message with Airlock-Not-Before has one delivery in advance, see wait. A dead
// job that somebody put back begins anew.
func (j *job) attemptOf(delivered int) int {
	h := j.msg.Header
	before, err := strconv.Atoi(h.Get(attemptsHeader))
	if err != nil || before < 0 || before > math.MaxInt32 || h.Get(reasonHeader) != "" {
		before = 0
	}
	if text := h.Get(notBeforeHeader); text != "" {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			j.notBefore = at
			delivered--
		}
	}
	return before + delivered
}

// idOf is the job's ID: from the envelope or, for a message that another program
// published, from what a worker or the publisher gave it, or from its place.
func (w *Worker) idOf(h nats.Header, ofEnvelope string, seq uint64) string {
	id := h.Get(nats.MsgIdHdr)
	switch {
	case ofEnvelope != "":
		return ofEnvelope
	case h.Get(idHeader) != "":
		return h.Get(idHeader)
	case id != "" && h.Get(attemptsHeader) == "":
		return id
	case strings.Contains(id, " "): // of a copy, see copyOf
		return id[:strings.LastIndexByte(id, ' ')]
	}
	return w.stream + ":" + strconv.FormatUint(seq, 10)
}

// headersOf returns the headers that the producer attached.
func headersOf(h nats.Header, hidden core.Headers) core.Headers {
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
		if len(v) > 0 && !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Airlock-") {
			set(k, v[0])
		}
	}
	return core.NewHeaders(m)
}
