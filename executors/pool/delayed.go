package poolexec

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// delayedJob is a job that is not due yet: its producer delayed it, or it waits
// between two attempts.
type delayedJob struct {
	job
	due time.Time
	seq uint64 // jobs due at the same time start in the order in which they came
}

// before orders delayed jobs.
func (j *delayedJob) before(k *delayedJob) bool {
	if j.due.Equal(k.due) {
		return j.seq < k.seq
	}
	return j.due.Before(k.due)
}

// delayedJobs is a heap, for container/heap. One timer, for the first job, serves
// all of them.
type delayedJobs []*delayedJob

func (h delayedJobs) Len() int           { return len(h) }
func (h delayedJobs) Less(i, j int) bool { return h[i].before(h[j]) }
func (h delayedJobs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *delayedJobs) Push(x any)        { *h = append(*h, x.(*delayedJob)) }

func (h *delayedJobs) Pop() any {
	old := *h
	last := len(old) - 1
	j := old[last]
	old[last] = nil
	*h = old[:last]
	return j
}

// delay keeps a job until it is due.
func (e *Executor) delay(j job, due time.Time) {
	e.seq++
	d := &delayedJob{j, due, e.seq}
	heap.Push(&e.delayed, d)
	if e.delayed[0] == d {
		e.setTimer()
	}
}

// setTimer sets the timer for the first delayed job.
func (e *Executor) setTimer() {
	wait := time.Until(e.delayed[0].due)
	if e.timer == nil {
		e.timer = time.AfterFunc(wait, e.wake)
	} else {
		e.timer.Reset(wait)
	}
}

// wake is called by the timer. It queues what is due. The timer runs on the
// monotonic clock, and a time that a producer chose is one of the wall clock: if that
// has been set back meanwhile, the job waits on.
func (e *Executor) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sortInbox() // what was dispatched before is first
	now := time.Now()
	for len(e.delayed) > 0 && !e.delayed[0].due.After(now) {
		e.push(heap.Pop(&e.delayed).(*delayedJob).job)
	}
	if len(e.delayed) > 0 {
		e.setTimer()
	}
	e.startWorker()
}

// removeDelayed removes one delayed job.
func (e *Executor) removeDelayed(id string) {
	if i := slices.IndexFunc(e.delayed, func(d *delayedJob) bool { return d.in.ID == id }); i >= 0 {
		heap.Remove(&e.delayed, i)
	}
}

// takeDelayed removes all delayed jobs and returns their intents in the order in
// which they would have started.
func (e *Executor) takeDelayed() []core.Intent {
	if e.timer != nil {
		e.timer.Stop()
	}
	slices.SortFunc(e.delayed, func(a, b *delayedJob) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.seq, b.seq))
	})
	out := make([]core.Intent, 0, len(e.delayed))
	for _, d := range e.delayed {
		out = append(out, d.in)
	}
	e.delayed = nil
	return out
}
