package rabbitexec

import (
	"crypto/rand"
	"fmt"
	"math"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var (
	errNoTask      = fmt.Errorf("airlock: rabbitmq: the message has no type, which is the task: %w", core.ErrInvalid)
	errNotEnvelope = fmt.Errorf("airlock: rabbitmq: malformed envelope: the header %s is no string: %w", envelopeHeader, core.ErrInvalid)
)

// deliveryOf returns a message in the registry's form. Messages of other producers
// have no envelope: their string headers are the job's. One without an ID gets one,
// which its copies keep.
func deliveryOf(m *amqp.Delivery, queue string) worker.Delivery {
	d, _ := readMessage(m, queue)
	return d
}

// readMessage is deliveryOf with the key of core.Unique, "" for none.
func readMessage(m *amqp.Delivery, queue string) (d worker.Delivery, unique string) {
	d = worker.Delivery{
		ID: m.MessageId, Task: m.Type, Queue: queue, Payload: m.Body,
		Attempt: attemptOf(m), MaxAttempts: core.DefaultMaxAttempts, Native: m,
	}
	raw, own := m.Headers[envelopeHeader]
	switch text, isText := raw.(string); {
	case own && !isText:
		d.EnvelopeErr = errNotEnvelope
	case own:
		env, err := adapter.DecodeEnvelope([]byte(text))
		d.Backoff, d.Timeout, d.Deadline, d.EnvelopeErr = env.Backoff, env.Timeout, env.Deadline, err
		unique = env.Unique
		if env.MaxAttempts > 0 {
			d.MaxAttempts = env.MaxAttempts
		}
		given, _ := m.Headers[headersHeader].(amqp.Table)
		d.Headers = stringsOf(given)
	default:
		d.Headers = stringsOf(m.Headers)
	}
	if d.ID == "" {
		d.ID = rand.Text()
	}
	if d.Task == "" && d.EnvelopeErr == nil {
		d.EnvelopeErr = errNoTask
	}
	return d, unique
}

func stringsOf(t amqp.Table) core.Headers {
	var given map[string]string
	for k, v := range t {
		if s, ok := v.(string); ok {
			if given == nil {
				given = map[string]string{}
			}
			given[k] = s
		}
	}
	return core.NewHeaders(given)
}

// attemptOf returns which attempt this delivery begins. Earlier copies have used some,
// and a quorum queue counts the deliveries of this one that nobody answered.
func attemptOf(m *amqp.Delivery) int {
	return min(count(m.Headers[attemptsHeader])+count(m.Headers["x-delivery-count"])+1, math.MaxInt32)
}

// count returns a number of a header, 0 for anything that is no count.
func count(v any) int {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case int32:
		n = int64(v)
	case int16:
		n = int64(v)
	case int8:
		n = int64(v)
	case byte:
		n = int64(v)
	case int:
		n = int64(v)
	}
	return int(min(max(n, 0), math.MaxInt32))
}

// markOf returns the mark that distinguishes a stored message from all others, "" if it is none
// of ours.
func markOf(headers amqp.Table) string {
	if mark, ok := headers[markHeader].(int64); ok {
		return strconv.FormatInt(mark, 36)
	}
	return ""
}

// uncounted reports whether a message was delivered before and the queue does not say
// how often. Only quorum queues do.
func uncounted(m *amqp.Delivery) bool {
	_, counted := m.Headers["x-delivery-count"]
	return m.Redelivered && !counted
}
