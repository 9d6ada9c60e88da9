package celeryexec

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

func (w *rabbitWorker) newRabbitJob(d *amqp.Delivery, q *rabbitQueue) *rabbitJob {
	j := &rabbitJob{queue: q, message: messageOf(d), current: d, back: make(chan struct{})}
	j.delivery, j.due = w.rabbitDelivery(j.message, d, q.portable)
	id, _ := text(j.message.headers, "id")
	key := adapter.Hash(id, string(j.message.headers["retries"]), string(j.message.headers["eta"]), d.CorrelationId, string(d.Body))
	j.key = string(key[:])
	return j
}

// rabbitDelivery is deliveryOf for a message of RabbitMQ. One without an ID gets one,
// which its copies keep.
func (c *crew) rabbitDelivery(m *message, d *amqp.Delivery, queue string) (worker.Delivery, time.Time) {
	id := strings.ToValidUTF8(d.CorrelationId, "\uFFFD")
	if id == "" {
		id = rand.Text()
	}
	delivery, due := c.deliveryOf(m, id, queue, 1)
	delivery.Native = d
	return delivery, due
}

// messageOf returns a message of RabbitMQ in the form of those on Redis.
func messageOf(d *amqp.Delivery) *message {
	m := &message{headers: map[string]json.RawMessage{}, plain: d.Body, fields: map[string]json.RawMessage{"content-type": encode(d.ContentType)}}
	if d.ContentEncoding != "" {
		m.fields["content-encoding"] = encode(d.ContentEncoding)
	}
	if m.plain == nil {
		m.plain = []byte{}
	}
	for k, v := range d.Headers {
		if amqpHeader(k) {
			continue
		}
		data, err := json.Marshal(v)
		if err != nil {
			data = []byte(`"?"`) // a number that is none, such as NaN
		}
		m.headers[k] = data
	}
	return m
}
