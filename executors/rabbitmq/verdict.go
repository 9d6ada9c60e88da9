package rabbitexec

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

// maxErrorText bounds the error text that is stored with a dead job, in bytes.
const maxErrorText = 4 << 10

// defaultBackoff is for jobs without a backoff.
var defaultBackoff = core.Exponential(time.Second, 10*time.Minute)

// feasible returns the verdict with the wait that will be used.
func (w *Worker) feasible(v worker.Verdict, attempt int) worker.Verdict {
	switch {
	case v.Action == worker.Parked:
		v.After = w.opts.ParkFor
	case v.Action == worker.Retry && v.After <= 0:
		v.After = defaultBackoff.Wait(attempt)
	}
	if v.After > longestDelay {
		return worker.Verdict{Action: worker.Dead, Err: fmt.Errorf("airlock: rabbitmq: cannot wait for %v, the most is %v: %w", v.After, longestDelay, v.Err)}
	}
	return v
}

// copyFor returns the message that takes the place of a job's, or false if the job is
// done.
func (w *Worker) copyFor(j *job, v worker.Verdict, d *amqp.Delivery) (amqplink.Message, bool) {
	m := amqplink.Message{Queue: j.queue.native}
	attempts := j.delivery.Attempt
	switch v.Action {
	case worker.Done:
		return m, false
	case worker.Dead:
		m.Queue = DeadQueue(j.queue.native)
		m.Key = m.Queue
		m.Pub = copyOf(d, j.delivery.ID, attempts)
		delete(m.Pub.Headers, tokenHeader) // for the inbox the job has ended
		m.Pub.Headers[deadHeader] = amqp.Table{
			"reason": adapter.ErrorText(v.Err, maxErrorText), "attempt": int64(attempts), "queue": j.queue.native, "at": time.Now().UTC(),
		}
		return m, true
	case worker.Snoozed, worker.Parked, worker.Interrupted:
		attempts--
	}
	m.Exchange, m.Key = w.topology.route(m.Queue, v.After)
	m.Pub = copyOf(d, j.delivery.ID, attempts)
	return m, true
}

// apply does with a job's message what the verdict says. It tries until RabbitMQ has
// confirmed it, the message was taken away, or ctx ends.
//
// If the connection that the message came on is lost, RabbitMQ delivers the message
// again. Then the worker remembers the verdict and applies it when the message is
// back.
func (w *Worker) apply(ctx context.Context, j *job, v worker.Verdict) {
	// What the inbox does not know yet is the end of the job.
	owed := !j.left && (v.Action == worker.Done || v.Action == worker.Dead)
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		current := w.inHand.current(j)
		if amqplink.ChannelOf(current).IsClosed() {
			if w.inHand.remember(j, current, v, owed) {
				return
			}
			continue // it is back already
		}
		m, again := w.copyFor(j, v, current)
		if again {
			if r := w.publisher.publish(ctx, []amqplink.Message{m})[0]; r.State != core.Accepted {
				w.logApply(r.Err)
				if ctx.Err() != nil {
					w.inHand.forget(j)
					return
				}
				amqplink.Sleep(ctx, pause)
				continue
			}
			w.troubled.Store(false)
			v = worker.Verdict{Action: worker.Done} // what is left to do
		}
		if owed && !w.leave(ctx, j) {
			if ctx.Err() != nil {
				w.inHand.forget(j)
				return
			}
			amqplink.Sleep(ctx, pause)
			continue
		}
		owed = false
		if current.Ack(false) == nil {
			now := time.Now()
			w.lastAck.Store(&now)
			w.inHand.remember(j, nil, worker.Verdict{Action: worker.Done}, false)
			return
		}
		if ctx.Err() != nil {
			w.inHand.forget(j)
			return
		}
		amqplink.Sleep(ctx, retryFirst) // the library closes the channel now
	}
}
