package asynqexec

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/worker"
)

// asynq.Inspector.CancelProcessing publishes a task's ID on cancelChannel. A
// Worker listens to it in asynq's place, since asynq takes the job away at once
// and retries it.
const cancelChannel = "asynq:cancel"

// cancellations are the runs that can be canceled.
type cancellations struct {
	mu    sync.Mutex
	runs  map[string]*cancelableRun // guarded by mu; by ID, which is unique in a queue only
	ended error                     // guarded by mu; why every run is canceled, nil if they are not
}

// cancelableRun is one of a list.
type cancelableRun struct {
	queue  string // its portable name
	cancel context.CancelCauseFunc
	next   *cancelableRun
}

// add notes a run until remove is called.
func (c *cancellations) add(queue, id string, cancel context.CancelCauseFunc) *cancelableRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = map[string]*cancelableRun{}
	}
	run := &cancelableRun{queue, cancel, c.runs[id]}
	c.runs[id] = run
	if c.ended != nil {
		cancel(c.ended)
	}
	return run
}

func (c *cancellations) remove(id string, run *cancelableRun) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.runs[id]
	if first == run {
		if c.runs[id] = run.next; run.next == nil {
			delete(c.runs, id)
		}
		return
	}
	for r := first; r != nil; r = r.next {
		if r.next == run {
			r.next = run.next
		}
	}
}

// runsElsewhere reports whether a job of this ID runs that comes from another queue.
func (c *cancellations) runsElsewhere(queue, id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for run := c.runs[id]; run != nil; run = run.next {
		if run.queue != queue {
			return true
		}
	}
	return false
}

func (c *cancellations) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for run := c.runs[id]; run != nil; run = run.next {
		run.cancel(worker.ErrCanceled)
	}
}

// cancelAll cancels the runs of now and later.
func (c *cancellations) cancelAll(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = cause
	for _, run := range c.runs {
		for ; run != nil; run = run.next {
			run.cancel(cause)
		}
	}
}

// listen cancels what is asked for until ctx ends. go-redis subscribes again when
// the connection was lost.
func (c *cancellations) listen(ctx context.Context, rdb redis.UniversalClient) {
	subscription := rdb.Subscribe(ctx, cancelChannel)
	defer subscription.Close() //nolint:errcheck // nothing can be lost
	messages := subscription.Channel()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				return
			}
			c.cancel(m.Payload)
		}
	}
}
