package poolexec

import (
	"container/heap"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// delayedJob is a job that is not due yet: delayed by its producer, or between
// two attempts.
type delayedJob struct {
	job
	due time.Time
	seq uint64 // of equal times the first that came
}

// delayedJobs is a heap. Its jobs share one timer, which runs only while there
// are any.
type delayedJobs []*delayedJob

func (h delayedJobs) Len() int      { return len(h) }
func (h delayedJobs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *delayedJobs) Push(x any)   { *h = append(*h, x.(*delayedJob)) }

func (h delayedJobs) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].seq < h[j].seq
	}
	return h[i].due.Before(h[j].due)
}

func (h *delayedJobs) Pop() any {
	old := *h
	last := len(old) - 1
	j := old[last]
	old[last] = nil
	*h = old[:last]
	return j
}

// delay keeps a job until it is due.
func (e *Executor) delay(in *core.Intent, runs int, due time.Time) {
	e.seq++
	d := &delayedJob{job{*in, runs}, due, e.seq}
	heap.Push(&e.delayed, d)
	e.waiting++
	if e.delayed[0] == d {
		e.setTimer()
	}
}

func (e *Executor) setTimer() {
	wait := time.Until(e.delayed[0].due)
	if e.timer == nil {
		e.timer = time.AfterFunc(wait, e.wake)
	} else {
		e.timer.Reset(wait)
	}
}

// wake is called by the timer. A job that is not due by its own clock, which for
// one delayed by its producer is the wall clock, is left for another time.
func (e *Executor) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for len(e.delayed) > 0 && !e.delayed[0].due.After(now) {
		d := heap.Pop(&e.delayed).(*delayedJob)
		e.waiting--
		e.push(&d.in, d.runs)
	}
	if len(e.delayed) > 0 {
		e.setTimer()
	}
	e.staff()
}

// takeDelayed empties the heap for good.
func (e *Executor) takeDelayed() []core.Intent {
	if e.timer != nil {
		e.timer.Stop()
	}
	slices.SortFunc(e.delayed, func(a, b *delayedJob) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(a.seq) - int(b.seq)
	})
	out := make([]core.Intent, 0, len(e.delayed))
	for _, d := range e.delayed {
		out = append(out, d.in)
	}
	e.waiting -= len(e.delayed)
	e.delayed = nil
	return out
}
