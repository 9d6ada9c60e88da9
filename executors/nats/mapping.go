package natsexec

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

// Our own headers. The envelope is left out where it would say nothing that the
// subject and Nats-Msg-Id do not.
const (
	envelopeHeader = "Airlock-Envelope"
	attemptsHeader = "Airlock-Attempts" // attempts before the message at hand was published
	reasonHeader   = "Airlock-Reason"   // why a job is dead
)

// Headers of nats-server 2.12 and later. jetstream.WithScheduleAt would write
// whole seconds, and so have jobs run early.
const (
	scheduleHeader       = "Nats-Schedule"
	scheduleTargetHeader = "Nats-Schedule-Target"
	expectSeqHeader      = "Nats-Expected-Last-Subject-Sequence"
	expectSubjectHeader  = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// The second token of a subject.
const (
	laneNormal = "job"
	laneHigh   = "high"
	laneLow    = "low"
	kindAt     = "at"
	kindDead   = "dead"
)

const defaultQueue = "default"

// mapping turns intents into messages.
type mapping struct {
	stream string
	lanes  bool
}

// fill makes msg the message of the intent. It keeps msg.Header, emptied, for a
// batch is published with one message filled again and again.
func (m *mapping) fill(msg *nats.Msg, in *core.Intent, now time.Time) {
	o := &in.Options
	if msg.Header == nil {
		msg.Header = nats.Header{}
	} else {
		clear(msg.Header)
	}
	h := msg.Header
	queue, lane := o.Queue, m.lane(o.Priority)
	if queue == "" {
		queue = defaultQueue
	}

	// Queue, Priority and Unique: the subject.
	msg.Subject, msg.Data = m.subject(lane, queue, in.Task), in.Payload()
	if o.Unique != "" {
		key := uniqueToken(o.Unique)
		msg.Subject += key
		h[expectSeqHeader] = []string{"0"}
		h[expectSubjectHeader] = []string{m.subject("*", queue, in.Task) + key}
	}

	// ID.
	h[nats.MsgIdHdr] = []string{in.ID}

	// Delay: a schedule on a subject of the job's own, for a second one on the same subject would replace the first.
	delayed := o.At.After(now)
	if delayed {
		h[scheduleHeader] = []string{scheduleAt(o.At)}
		h[scheduleTargetHeader] = []string{msg.Subject}
		if o.Unique != "" {
			msg.Subject = m.subject(kindAt, queue, in.Task) + uniqueToken(o.Unique)
		} else {
			msg.Subject = m.subject(kindAt, queue, in.Task) + ownToken(in.ID)
			h[expectSeqHeader] = []string{"0"}
		}
	}

	// Header.
	var hidden map[string]string
	for k, v := range in.Headers().All() {
		if plainHeader(k, v) {
			h[k] = []string{v}
			continue
		}
		if hidden == nil {
			hidden = map[string]string{}
		}
		hidden[k] = v
	}

	// MaxAttempts, Backoff, Timeout, Deadline, and the ID, which a schedule drops when it fires.
	if delayed || hidden != nil || o.MaxAttempts != 0 || !o.Backoff.IsZero() || o.Timeout != 0 ||
		!o.Deadline.IsZero() || o.Unique != "" {
		env := in.Envelope()
		env.Headers = core.NewHeaders(hidden)
		h[envelopeHeader] = []string{string(env.Encode())}
	}
}

func (m *mapping) subject(kind, queue, task string) string {
	return m.stream + "." + kind + "." + queue + "." + task
}

// lane is the second token of a job's subject.
func (m *mapping) lane(priority int) string {
	switch {
	case !m.lanes || priority == 0:
		return laneNormal
	case priority >= 8:
		return laneHigh
	case priority <= 3:
		return laneLow
	}
	return laneNormal
}

// uniqueToken ends the subject of a job with a unique key. No task can have such
// a token: names have no "=", and no "~".
func uniqueToken(key string) string { return ".=" + hash(key) }

// ownToken ends the subject of a schedule.
func ownToken(id string) string { return ".~" + hash(id) }

// hash keeps what callers chose out of subjects, where it could be a wildcard.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// scheduleAt is a header value of nanoseconds. The server parses them (v2.15.2,
// server/scheduler.go, parseMsgSchedule).
func scheduleAt(t time.Time) string { return "@at " + t.UTC().Format(time.RFC3339Nano) }

// plainHeader reports whether NATS carries a header as it is, and takes it for
// nothing of its own. A message without payload and with a header Status is not
// a message for a pulling client.
func plainHeader(key, value string) bool {
	const reserved = "Nats-"
	if len(key) >= len(reserved) && strings.EqualFold(key[:len(reserved)], reserved) ||
		strings.EqualFold(key, "Status") || strings.EqualFold(key, "Description") {
		return false
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return false
		}
	}
	return value == "" || value[0] != ' ' && value[len(value)-1] != ' '
}
