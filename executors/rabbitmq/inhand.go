package rabbitexec

import (
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/worker"
)

// maxRemembered bounds the memory of verdicts. It is for messages that come back
// within seconds.
const maxRemembered = 10_000

// job is a message that this worker has.
type job struct {
	queue    *queue
	delivery worker.Delivery
	mark     string
	token    string         // for the inbox, "" for none
	unique   string         // the key of core.Unique
	left     bool           // the inbox need not learn of the job's end
	current  *amqp.Delivery // guarded by inHand.mu; the delivery to acknowledge
}

// remembered is what became of a run.
type remembered struct {
	verdict worker.Verdict
	attempt int
	owed    bool // the inbox has to learn of the job's end
}

// inHand are the jobs of a worker, by the marks of their messages. When a connection
// is lost RabbitMQ delivers messages again while their handlers still run here.
type inHand struct {
	mu         sync.Mutex
	jobs       map[string]*job       // guarded by mu
	remembered map[string]remembered // guarded by mu; of jobs that have ended here
}

// recognise returns true if a message that was delivered again is of a job that runs
// here, which is then acknowledged with this delivery. If the job has ended here, it
// returns the verdict that is to be applied.
func (h *inHand) recognise(d *amqp.Delivery) (running bool, past remembered, ended bool) {
	mark := markOf(d.Headers)
	if !d.Redelivered || mark == "" {
		return false, past, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if j := h.jobs[mark]; j != nil {
		j.current = d
		return true, past, false
	}
	past, ended = h.remembered[mark]
	return false, past, ended
}

func (h *inHand) add(j *job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if j.mark != "" {
		h.jobs[j.mark] = j
	}
}

func (h *inHand) current(j *job) *amqp.Delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	return j.current
}

// remember ends a job, unless it was delivered once more since. A nil seen means that
// the job is acknowledged.
func (h *inHand) remember(j *job, seen *amqp.Delivery, v worker.Verdict, owed bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seen != nil && j.current != seen {
		return false
	}
	if j.mark == "" {
		return true
	}
	if h.jobs[j.mark] == j {
		delete(h.jobs, j.mark)
	}
	if len(h.remembered) >= maxRemembered {
		clear(h.remembered)
	}
	h.remembered[j.mark] = remembered{v, j.delivery.Attempt, owed}
	return true
}

// forget ends a job whose message RabbitMQ will deliver again.
func (h *inHand) forget(j *job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.jobs[j.mark] == j {
		delete(h.jobs, j.mark)
	}
}
