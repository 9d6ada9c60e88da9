package natsexec

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Our own headers. The first is written with every job, the others by workers.
const (
	envelopeHeader  = "Airlock-Envelope"
	attemptsHeader  = "Airlock-Attempts"   // attempts used up before this message was published
	idHeader        = "Airlock-Id"         // the ID of a job whose envelope has none, or cannot be read
	notBeforeHeader = "Airlock-Not-Before" // on streams without schedules: when the job is due
	reasonHeader    = "Airlock-Reason"     // why a job is dead
	subjectHeader   = "Airlock-Subject"    // the subject that a dead job came from
)

// Headers of nats-server 2.12 and later. jetstream.WithScheduleAt would write
// whole seconds, and jobs would run early.
const (
	scheduleHeader       = "Nats-Schedule"
	scheduleTargetHeader = "Nats-Schedule-Target"
	expectSeqHeader      = "Nats-Expected-Last-Subject-Sequence"
	expectSubjectHeader  = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// The second token of a subject that is not of a lane.
const (
	kindAt   = "at"
	kindDead = "dead"
)

// mapping turns intents into messages.
type mapping struct {
	stream string
	lanes  bool
	queues adapter.QueueNames
}

// toNative makes msg the message of the intent. It uses what msg has: a batch is
// published with one message that is filled again and again, and whose subject and
// headers mostly stay the same.
func (m *mapping) toNative(msg *nats.Msg, in *core.Intent, now time.Time) {
	o := &in.Options
	id, envelope := again(msg.Header, nats.MsgIdHdr), again(msg.Header, envelopeHeader)
	if msg.Header == nil {
		msg.Header = nats.Header{}
	} else {
		clear(msg.Header)
	}
	h := msg.Header

	// Queue, Priority and Unique: the subject.
	queue, lane := m.queues.Native(o.Queue), m.lane(o.Priority)
	if !m.isSubject(msg.Subject, lane, queue, in.Task) {
		msg.Subject = m.subject(lane, queue, in.Task)
	}
	msg.Data = in.Payload()
	if o.Unique != "" {
		key := uniqueToken(o.Unique)
		msg.Subject += key
		h[expectSeqHeader] = []string{"0"}
		h[expectSubjectHeader] = []string{m.subject("*", queue, in.Task) + key}
	}

	// ID.
	id[0], h[nats.MsgIdHdr] = in.ID, id

	// Delay: a schedule on a subject of the job's own. A second schedule on the
	// same subject would replace the first.
	if o.At.After(now) {
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

	// MaxAttempts, Backoff, Timeout, Deadline, and the ID, which a schedule drops
	// when it fires.
	env := adapter.EnvelopeOf(in)
	env.Headers = core.NewHeaders(hidden)
	if env.MaxAttempts == 0 {
		env.MaxAttempts = core.DefaultMaxAttempts
	}
	envelope[0], h[envelopeHeader] = string(env.Encode()), envelope
}

// again returns the values of a header, for one value.
func again(h nats.Header, key string) []string {
	if values := h[key]; len(values) == 1 {
		return values
	}
	return make([]string, 1)
}

// isSubject reports whether s is what subject returns.
func (m *mapping) isSubject(s, kind, queue, task string) bool {
	for i, token := range [...]string{m.stream, kind, queue} {
		rest, ok := strings.CutPrefix(s, token)
		if !ok || rest == "" || rest[0] != '.' {
			return false
		}
		if s = rest[1:]; i == 2 {
			return s == task
		}
	}
	return false
}

func (m *mapping) subject(kind, queue, task string) string {
	return m.stream + "." + kind + "." + queue + "." + task
}

// lane is the second token of a job's subject.
func (m *mapping) lane(priority int) string {
	if !m.lanes {
		return laneNormal
	}
	return laneOf(priority)
}

// uniqueToken ends the subject of a job with a unique key. No task has such a
// token: names have no "=" and no "~".
func uniqueToken(key string) string { return ".=" + hash(key) }

// ownToken ends the subject of a schedule.
func ownToken(id string) string { return ".~" + hash(id) }

// hash keeps what callers chose out of subjects, where it could be a wildcard.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// scheduleAt is a header value with nanoseconds. The server parses them (v2.15.2,
// server/scheduler.go, parseMsgSchedule).
func scheduleAt(t time.Time) string { return "@at " + t.UTC().Format(time.RFC3339Nano) }

// plainHeader reports whether NATS carries a header unchanged and does not use it
// for itself. A message without payload and with a header Status is not a message
// for a client that pulls.
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
