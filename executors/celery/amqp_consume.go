package celeryexec

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

const maxPrefetch = 1<<16 - 1 // a 16 bit number in AMQP

// rabbitQueue is a queue that is worked.
type rabbitQueue struct {
	source
	slots int

	mu   sync.Mutex
	ch   *amqp.Channel // guarded by mu; the one that consumes
	held int           // guarded by mu; jobs that wait for their time
}

// open opens a channel that consumes, if the queue exists.
func (q *rabbitQueue) open(conn *amqp.Connection) (*amqp.Channel, error) {
	if err := declare(conn, q.native, true, nil); err != nil {
		return nil, err
	}
	if err := declareDead(conn, q.native); err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ch = ch
	return ch, q.prefetch()
}

// hold notes that n more jobs wait for their time, for each of which RabbitMQ sends one
// job more, as in Celery.
func (q *rabbitQueue) hold(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held += n; !q.ch.IsClosed() {
		_ = q.prefetch() // which fails with the channel, and that is opened again
	}
}

// prefetch needs mu. A limit of the channel can be changed while it consumes, and one of
// a consumer cannot.
func (q *rabbitQueue) prefetch() error { return q.ch.Qos(q.slots+min(q.held, mostHeld), 0, true) }

// consume takes jobs of one queue until ctx ends.
func (w *rabbitWorker) consume(ctx, recording context.Context, q *rabbitQueue) {
	w.link.Consume(ctx, amqplink.Consumer{
		Queue: q.native, Name: q.portable, Open: q.open,
		Take: func(d *amqp.Delivery) { w.take(ctx, recording, d, q) },
	})
}

// declareDead declares the queue for dead jobs, if it does not exist.
func declareDead(conn *amqp.Connection, native string) error {
	err := declare(conn, DeadQueue(native), false, nil)
	var answer *amqp.Error
	if errors.As(err, &answer) && answer.Code == amqp.PreconditionFailed {
		return nil // it exists, with other arguments
	}
	return err
}

// take decides about one message. It waits for a slot.
func (w *rabbitWorker) take(ctx, recording context.Context, d *amqp.Delivery, q *rabbitQueue) {
	j := w.newRabbitJob(d, q)
	if d.Redelivered && w.inHand.recognise(j) || amqplink.ChannelOf(d).IsClosed() {
		return // the job is in hand, or RabbitMQ delivers it again
	}
	w.inHand.add(j)
	switch {
	case d.Redelivered && j.delivery.EnvelopeErr == nil:
		// A classic queue does not count deliveries. The copy does, whose first one this
		// will be.
		w.finish(recording, j, worker.Verdict{Action: worker.Retry})
		return
	case j.due.After(time.Now()):
		w.hold(ctx, recording, j)
		return
	}
	select {
	case w.slots <- struct{}{}:
		w.begin(recording, j)
	case <-ctx.Done():
		w.finish(recording, j, worker.Verdict{Action: worker.Interrupted, Err: errStopping})
	}
}

// hold keeps a job until its time has come, and then runs it when there is a slot. If
// the worker stops before, or the job would be held for so long that RabbitMQ takes it
// away, it goes back as it was.
func (w *rabbitWorker) hold(ctx, recording context.Context, j *rabbitJob) {
	j.queue.hold(1)
	w.loops.Go(func() {
		defer j.queue.hold(-1)
		until := time.Now().Add(w.opts.AMQP.ConsumerTimeout / 2)
		for left := time.Until(j.due); left > 0; left = time.Until(j.due) { // the clock may be set
			if !pauseFor(ctx, min(left, time.Until(until))) || time.Now().After(until) {
				w.putBack(recording, j)
				return
			}
		}
		if w.inHand.deliveryOf(ctx, j) == nil {
			return
		}
		select {
		case w.slots <- struct{}{}:
			w.begin(recording, j)
		case <-ctx.Done():
			w.putBack(recording, j)
		}
	})
}

// putBack gives a job back that was held for its time.
func (w *rabbitWorker) putBack(recording context.Context, j *rabbitJob) {
	if !w.inHand.lost(j) {
		w.finish(recording, j, worker.Verdict{Action: worker.Interrupted, Err: errStopping})
	}
}
