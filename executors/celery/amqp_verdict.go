package celeryexec

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

// deadHeader is a table that says why a job is dead.
const deadHeader = "airlock_dead"

// copyFor returns the message that takes the place of a job's, or false if the job is
// done.
func (j *rabbitJob) copyFor(v worker.Verdict, d *amqp.Delivery) (amqplink.Message, bool) {
	attempts, due := j.delivery.Attempt, time.Time{}
	switch v.Action {
	case worker.Done:
		return amqplink.Message{}, false
	case worker.Dead:
		pub := copyOf(d, j.delivery.ID)
		pub.Expiration = ""
		pub.Headers[deadHeader] = amqp.Table{
			"reason": adapter.ErrorText(v.Err, maxErrorText), "attempt": int64(attempts), "queue": j.queue.native, "at": time.Now().UTC(),
		}
		return toQueue(DeadQueue(j.queue.native), pub), true
	case worker.Snoozed, worker.Parked, worker.Interrupted:
		attempts--
	}
	if v.After > 0 {
		due = time.Now().Add(v.After)
	}
	pub := copyOf(d, j.delivery.ID)
	pub.Headers["retries"] = int64(attempts)
	if !due.IsZero() {
		pub.Headers["eta"] = timeHeader(due)
	}
	return toQueue(j.queue.native, pub), true
}

// copyOf returns a message of a delivery that can be published again: without what
// RabbitMQ has added, what it would act upon, and what only the first producer may say.
func copyOf(d *amqp.Delivery, id string) amqp.Publishing {
	headers := amqp.Table{"id": id}
	for k, v := range d.Headers {
		if k != "redelivered" && k != deadHeader && k != "id" && !amqpHeader(k) {
			headers[k] = v
		}
	}
	return amqp.Publishing{
		Headers: headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
		MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
}

// apply does with a job's message what the verdict says. It tries until RabbitMQ has
// confirmed it, the message was taken away, or ctx ends.
func (w *rabbitWorker) apply(ctx context.Context, j *rabbitJob, v worker.Verdict) {
	defer w.inHand.forget(j)
	if v.Action == worker.Parked && len(j.message.headers) == 0 {
		v = worker.Verdict{Action: worker.Dead, Err: fmt.Errorf("airlock: celery: %w", errNotMessage)}
	}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		current := w.inHand.deliveryOf(ctx, j)
		if current == nil {
			return
		}
		m, again := j.copyFor(v, current)
		if again {
			if r := w.publisher.Publish(ctx, []amqplink.Message{m})[0]; r.State != core.Accepted {
				w.logApply(r.Err)
				if r.State == core.Rejected && v.Action == worker.Dead {
					w.restoreDead(ctx, j.queue.native)
				}
				if !pauseFor(ctx, pause) {
					return
				}
				continue
			}
			w.troubled.Store(false)
			v = worker.Verdict{Action: worker.Done} // what is left to do
		}
		if current.Ack(false) == nil || !pauseFor(ctx, retryFirst) { // otherwise the library closes the channel now
			return
		}
	}
}

// restoreDead declares the queue for dead jobs again, which somebody has deleted.
func (w *rabbitWorker) restoreDead(ctx context.Context, native string) {
	_ = w.publisher.Ask(ctx, func(conn *amqp.Connection) error { return declareDead(conn, native) }) // it is tried again
}
