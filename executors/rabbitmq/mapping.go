package rabbitexec

import (
	"math/rand/v2"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

// The headers of our messages.
const (
	envelopeHeader = "Airlock-Envelope" // a string, see adapter.Envelope
	headersHeader  = "Airlock-Headers"  // a table: at the top level CC, BCC and x-… mean something to RabbitMQ
	markHeader     = "Airlock-Message"  // a number that no other stored message has
	attemptsHeader = "Airlock-Attempts" // how many attempts earlier copies have used
	deadHeader     = "Airlock-Dead"     // a table: why the job is dead
)

// toNative maps an intent.
func (t *topology) toNative(in *core.Intent, now time.Time) amqplink.Message {
	o := &in.Options
	m := amqplink.Message{Queue: t.native(o.Queue)}
	m.Exchange, m.Key = t.route(m.Queue, o.At.Sub(now))
	m.Pub = amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		MessageId:    in.ID,
		Type:         in.Task,
		Body:         in.Payload(),
		Headers:      amqp.Table{envelopeHeader: envelopeOf(in), markHeader: newMark()},
	}
	if t.Priorities {
		m.Pub.Priority = adapter.DefaultPriority
		if o.Priority > 0 {
			m.Pub.Priority = uint8(o.Priority)
		}
	}
	if given := in.Headers(); given.Len() > 0 {
		table := make(amqp.Table, given.Len())
		for k, v := range given.All() {
			table[k] = v
		}
		m.Pub.Headers[headersHeader] = table
	}
	return m
}

// route returns the exchange and the routing key for a message that is due after a
// while, or at once.
func (t *topology) route(native string, after time.Duration) (exchange, key string) {
	if after <= 0 {
		return "", native
	}
	return waypoint(t.Classic, native, after)
}

func envelopeOf(in *core.Intent) string {
	o := &in.Options
	most := o.MaxAttempts
	if most == 0 {
		most = core.DefaultMaxAttempts
	}
	return string(adapter.Envelope{MaxAttempts: most, Backoff: o.Backoff, Timeout: o.Timeout, Deadline: o.Deadline, Unique: o.Unique}.Encode())
}

func newMark() int64 { return rand.Int64() }

// copyOf returns a message of a delivery that can be published again: without what
// RabbitMQ has added, what it would act upon, and what only the first producer may say.
func copyOf(d *amqp.Delivery, id string, attempts int) amqp.Publishing {
	headers := amqp.Table{markHeader: newMark(), attemptsHeader: int64(attempts)}
	for k, v := range d.Headers {
		_, ours := headers[k]
		if !ours && k != "CC" && k != "BCC" && !strings.HasPrefix(k, "x-") {
			headers[k] = v
		}
	}
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding,
		DeliveryMode: amqp.Persistent, Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo,
		MessageId: id, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
}
