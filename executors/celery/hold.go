package celeryexec

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/worker"
)

// job is a message that this worker has.
type job struct {
	message  *message
	tag      string // the delivery tag, which is the same at every fetch
	field    string // of unacked: this fetch of it; guarded by inHand.mu
	list     string // the key that it came from
	native   string // the queue
	delivery worker.Delivery
	due      time.Time
	settling bool // Redis may have forgotten the field; guarded by inHand.mu
}

// counter is the key of how often the job's run has begun. The queue is part of it: an
// exchange may route one message to several.
func (j *job) counter() string { return counterPrefix + j.tag + "." + j.native }

// inHand are the jobs of a worker by their fields of unacked.
type inHand struct {
	mu      sync.Mutex
	jobs    map[string]*job // guarded by mu
	waiting int             // guarded by mu; for their time
}

// add returns false if the job is in hand already. A job whose record is older than
// the visibility timeout is given to another worker, which may be this one: then it was
// not lost, and goes on under its new field. A message with the tag of a job that is
// being settled is another message, as is one that was not given away: a program has
// copied it.
func (h *inHand) add(j *job) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !isNull(j.message.headers, "redelivered") {
		for field, has := range h.jobs {
			if has.tag == j.tag && has.native == j.native && !has.settling {
				delete(h.jobs, field)
				has.field = j.field
				h.jobs[has.field] = has
				return false
			}
		}
	}
	h.jobs[j.field] = j
	return true
}

// settle returns the field of a job that is about to be settled.
func (h *inHand) settle(j *job) (field string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	j.settling = true
	return j.field
}

func (h *inHand) remove(j *job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.jobs, j.field)
}

func (h *inHand) fieldOf(j *job) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return j.field
}

func (h *inHand) has(field string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs[field] != nil
}

func (h *inHand) fields() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.jobs))
}

func (h *inHand) held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting
}

func (h *inHand) wait(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting += n
}

// hold keeps a job until its time has come, and then runs it when there is a slot. If
// the worker stops before, the job goes back as it was.
func (w *Worker) hold(ctx, recording context.Context, j *job) {
	w.inHand.wait(1)
	w.loops.Go(func() {
		defer w.inHand.wait(-1)
		timer := time.NewTimer(time.Until(j.due))
		defer timer.Stop()
		for left := time.Until(j.due); left > 0; left = time.Until(j.due) { // the clock may be set
			timer.Reset(left)
			select {
			case <-timer.C:
			case <-ctx.Done():
				w.putBack(recording, j)
				return
			}
		}
		select {
		case w.slots <- struct{}{}:
			w.start(recording, j)
		case <-ctx.Done():
			w.putBack(recording, j)
		}
	})
}
