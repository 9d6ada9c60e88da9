package poolexec

import (
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// worker runs jobs one after the other. Its goroutine ends when no job is due.
type worker struct {
	job
	running bool // the job's handler has been called and has not returned
}

// staff starts one more worker if there is need for one. Each worker that finds
// more to do than its own job calls for the next, so that a call of Execute
// never starts more than one.
func (e *Executor) staff() {
	if e.due == 0 || e.aborted != nil || len(e.staffed) >= e.opts.Workers {
		return
	}
	var w *worker
	if last := len(e.idle) - 1; last >= 0 {
		w, e.idle = e.idle[last], e.idle[:last]
	} else {
		w = new(worker)
	}
	e.staffed = append(e.staffed, w)
	go e.work(w)
}

// work is a worker's goroutine. A handler, or Options.OnDone, can end it with
// runtime.Goexit: then another one goes on in its place.
func (e *Executor) work(w *worker) {
	over := false
	defer func() {
		if !over {
			go e.work(w)
		}
	}()
	if w.running {
		e.conclude(w, w.delivery().Exited())
	}
	for e.claim(w) {
		e.conclude(w, e.opts.Registry.Perform(e.jobs, w.delivery()))
	}
	over = true
}

// claim gives the worker its next job. If there is none the worker is off.
func (e *Executor) claim(w *worker) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.aborted == nil && e.pop(&w.job)
	e.callIn()
	if found {
		w.running = true
		e.staff()
		return true
	}
	w.job = job{}
	e.staffed = slices.DeleteFunc(e.staffed, func(s *worker) bool { return s == w })
	e.idle = append(e.idle, w)
	if e.closed && len(e.staffed) == 0 {
		e.end()
	}
	return false
}

func (w *worker) delivery() core.Delivery {
	d := w.in.Delivery()
	d.Attempt = w.runs + 1
	d.OwnGoroutine = true
	if d.MaxAttempts == 0 {
		d.MaxAttempts = defaultAttempts
	}
	if d.Backoff.IsZero() {
		d.Backoff = defaultBackoff
	}
	return d
}

// conclude does what a run's verdict says.
func (e *Executor) conclude(w *worker, v core.Verdict) {
	e.settle(w, v)
	switch {
	case v.Action != core.Done && v.Action != core.Dead:
	case e.opts.OnDone != nil:
		e.opts.OnDone(w.in, v)
	case v.Action == core.Dead:
		logDead(w.in, v)
	}
}

func (e *Executor) settle(w *worker, v core.Verdict) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.running = false
	switch v.Action {
	case core.Done:
		e.known.Succeed(w.in.ID)
	case core.Dead:
		e.known.Release(w.in.ID)
	default:
		if e.closed {
			e.unrun = append(e.unrun, w.in)
			return
		}
		if v.Action == core.Retry {
			w.runs++
		}
		e.delay(&w.in, w.runs, time.Now().Add(v.After))
		return
	}
	if w.in.Options.Unique != "" {
		delete(e.unique, uniqueKeyOf(&w.in))
	}
}
