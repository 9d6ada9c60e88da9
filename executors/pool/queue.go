package poolexec

import (
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/ids"
)

// job is an accepted intent.
type job struct {
	in   core.Intent
	runs int // attempts that have begun; a snoozed run is none
}

// queue holds the due jobs of one priority, first in, first out, in a ring.
type queue struct {
	ring  []job
	first int
	len   int
}

// keepJobs is the longest ring, and the largest inbox, that is kept when it is
// empty: 400 KB.
const keepJobs = 2048

func (q *queue) push(j job) {
	if q.len == len(q.ring) {
		ring := make([]job, max(16, 2*q.len))
		n := copy(ring, q.ring[q.first:])
		copy(ring[n:], q.ring[:q.first])
		q.ring, q.first = ring, 0
	}
	q.ring[(q.first+q.len)%len(q.ring)] = j
	q.len++
}

// pop removes the first job of a queue that is not empty.
func (q *queue) pop() job {
	j := q.ring[q.first]
	q.ring[q.first] = job{} // so that its payload can be freed
	q.first = (q.first + 1) % len(q.ring)
	q.len--
	if q.len == 0 && len(q.ring) > keepJobs {
		*q = queue{}
	}
	return j
}

// sortInbox moves the jobs of the inbox to the queues of their priorities. An intent
// that was sent before is dropped.
//
// Dispatch leaves this to the worker that needs a job next, or to the next call that
// needs to know the IDs of all jobs. In this way the hand-over of 1000 intents takes as
// long as in pond, a pool of bare functions (1.0 to 1.3 times, 30 to 46 ns each). If
// dispatch sorted it would take 7 times as long (245 ns). See group pool of the
// benchmarks.
func (e *Executor) sortInbox() {
	if len(e.inbox) == 0 {
		return
	}
	for i := range e.inbox {
		in := &e.inbox[i]
		e.due--
		if e.known.Add(in.ID) {
			e.push(job{in: *in})
		}
	}
	clear(e.inbox)
	e.inbox = e.inbox[:0]
	if cap(e.inbox) > keepJobs {
		e.inbox = nil
	}
	e.wakeWaiter()
}

// has reports whether there is a job of the intent's ID or unique key.
func (e *Executor) has(in *core.Intent) bool {
	e.sortInbox()
	if e.known.State(in.ID) != ids.Unknown {
		return true
	}
	if in.Options.Unique == "" {
		return false
	}
	_, held := e.unique[uniqueKeyOf(in)]
	return held
}

// add adds a job of an intent for which has is false.
func (e *Executor) add(in *core.Intent) {
	e.known.Add(in.ID)
	if in.Options.Unique != "" {
		e.unique[uniqueKeyOf(in)] = struct{}{}
	}
	if at := in.Options.At; at.After(time.Now()) {
		e.delay(job{in: *in}, at)
		return
	}
	e.push(job{in: *in})
}

// push adds a due job, whose ID is in known, to the queue of its priority.
func (e *Executor) push(j job) {
	level := j.in.Options.Priority
	if level == 0 {
		level = adapter.DefaultPriority
	}
	e.levels[level].push(j)
	e.due++
}

// pop removes the due job that is next. It returns false if there is none.
func (e *Executor) pop() (job, bool) {
	e.sortInbox()
	for level := len(e.levels) - 1; level > 0; level-- {
		if e.levels[level].len > 0 {
			e.due--
			return e.levels[level].pop(), true
		}
	}
	return job{}, false
}

// removeDue removes one due job. The others keep their order.
func (e *Executor) removeDue(id string) {
	for level := range e.levels {
		q := &e.levels[level]
		for range q.len {
			if j := q.pop(); j.in.ID != id {
				q.push(j)
			} else {
				e.due--
			}
		}
	}
}
