package celeryexec

import (
	"context"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

// redeliveredWithin is how long a worker whose connection was lost waits for a message
// that RabbitMQ delivers again. Later another worker has it.
const redeliveredWithin = time.Minute

// rabbitJob is a message that this worker has.
type rabbitJob struct {
	queue    *rabbitQueue
	message  *message
	delivery worker.Delivery
	due      time.Time
	key      string         // the same for messages that are the same
	current  *amqp.Delivery // guarded by rabbitInHand.mu; the delivery to acknowledge
	back     chan struct{}  // guarded by rabbitInHand.mu; closed when it is delivered again
}

// rabbitInHand are the jobs of a worker. When a connection is lost RabbitMQ delivers
// messages again while their handlers still run here. It has no mark for a message, so
// two that are the same in every byte may change places.
type rabbitInHand struct {
	mu   sync.Mutex
	jobs map[string][]*rabbitJob // guarded by mu; by key
}

func (h *rabbitInHand) add(j *rabbitJob) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[j.key] = append(h.jobs[j.key], j)
}

// recognise reports whether a message that was delivered again is of a job in hand,
// which is then acknowledged with this delivery.
func (h *rabbitInHand) recognise(again *rabbitJob) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, j := range h.jobs[again.key] {
		if amqplink.ChannelOf(j.current).IsClosed() {
			j.current = again.current
			close(j.back)
			j.back = make(chan struct{})
			return true
		}
	}
	return false
}

// deliveryOf returns the delivery to acknowledge. If its channel is closed, it waits for
// the next one. It returns nil, and forgets the job, if that does not come or ctx ends.
func (h *rabbitInHand) deliveryOf(ctx context.Context, j *rabbitJob) *amqp.Delivery {
	within, cancel := context.WithTimeout(ctx, redeliveredWithin)
	defer cancel()
	for {
		h.mu.Lock()
		current, back := j.current, j.back
		h.mu.Unlock()
		if !amqplink.ChannelOf(current).IsClosed() {
			return current
		}
		select {
		case <-back:
		case <-within.Done():
			if h.lost(j) {
				return nil
			}
		}
	}
}

// lost forgets a job if its channel is closed, and reports that. RabbitMQ delivers it
// again.
func (h *rabbitInHand) lost(j *rabbitJob) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !amqplink.ChannelOf(j.current).IsClosed() {
		return false
	}
	h.remove(j)
	return true
}

func (h *rabbitInHand) forget(j *rabbitJob) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(j)
}

// remove needs mu.
func (h *rabbitInHand) remove(j *rabbitJob) {
	left := slices.DeleteFunc(h.jobs[j.key], func(other *rabbitJob) bool { return other == j })
	if h.jobs[j.key] = left; len(left) == 0 {
		delete(h.jobs, j.key)
	}
}
