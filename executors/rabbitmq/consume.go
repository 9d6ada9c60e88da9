package rabbitexec

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

// consume takes jobs of one queue until ctx ends.
func (w *Worker) consume(ctx, recording context.Context, q *queue) {
	w.link.Consume(ctx, amqplink.Consumer{
		Queue: q.native, Name: q.name,
		Open: func(conn *amqp.Connection) (*amqp.Channel, error) {
			ch, err := conn.Channel()
			if err != nil {
				return nil, err
			}
			return ch, ch.Qos(w.opts.Concurrency, 0, false)
		},
		Take: func(d *amqp.Delivery) { w.take(ctx, recording, d, q) },
	})
}

// take decides about one message. It waits for a slot.
func (w *Worker) take(ctx, recording context.Context, d *amqp.Delivery, q *queue) {
	running, past, ended := w.inHand.recognise(d)
	switch {
	case running:
		return
	case ended:
		j := newJob(d, q)
		j.delivery.Attempt = past.attempt // this delivery begins none
		j.left = !past.owed
		w.finish(recording, j, past.verdict)
		return
	case uncounted(d):
		// The queue does not count. The copy does, whose first delivery this will be.
		w.finish(recording, newJob(d, q), worker.Verdict{Action: worker.Retry})
		return
	}
	select {
	case w.slots <- struct{}{}:
		w.begin(recording, d, q)
	case <-ctx.Done():
		w.finish(recording, newJob(d, q), worker.Verdict{Action: worker.Interrupted, Err: errStopping})
	}
}
