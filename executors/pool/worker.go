package poolexec

import (
	"slices"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// slot is a worker: a goroutine that runs one job after the other and ends when no
// job is due.
type slot struct {
	job
	began   time.Time // when the job's run began
	running bool      // the job's run has not been finished
}

// startWorker starts one more worker if a job is due. Each worker that gets a job
// starts the next one, so a call of Execute never starts more than one.
func (e *Executor) startWorker() {
	if e.due == 0 || e.aborted != nil || len(e.workers) >= e.opts.Workers {
		return
	}
	s := new(slot)
	e.workers = append(e.workers, s)
	go e.work(s)
}

// work runs jobs until none is due. A handler, an observer or Options.OnDone may end
// the goroutine with runtime.Goexit. Another goroutine then continues in its place.
func (e *Executor) work(s *slot) {
	ended := false
	defer func() {
		if !ended {
			go e.work(s)
		}
	}()
	if s.running { // on the goroutine before
		d := deliveryOf(&s.job)
		run := worker.Run{Delivery: d, Verdict: d.Exited(), Took: time.Since(s.began)}
		e.finish(s, run)
		e.opts.Registry.Report(e.jobs, run)
	}
	for e.take(s) {
		d := deliveryOf(&s.job)
		v := e.opts.Registry.Perform(e.jobs, d)
		e.finish(s, worker.Run{Delivery: d, Verdict: v, Took: time.Since(s.began)})
	}
	ended = true
}

// take gives the worker its next job. If there is none it removes the worker.
func (e *Executor) take(s *slot) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := false
	if e.aborted == nil {
		s.job, found = e.pop()
	}
	e.wakeWaiter()
	if found {
		s.running, s.began = true, time.Now()
		e.startWorker()
		return true
	}
	e.workers = slices.DeleteFunc(e.workers, func(other *slot) bool { return other == s })
	if e.closed && len(e.workers) == 0 {
		e.end()
	}
	return false
}

// finish applies the verdict of a run and reports it.
func (e *Executor) finish(s *slot, run worker.Run) {
	if run.Verdict.Action == worker.Parked {
		// Dispatch has refused tasks without a handler, so this does not happen. No
		// other worker could have the job: it ends here, visibly.
		run.Verdict.Action = worker.Dead
	}
	e.apply(s, run.Verdict)
	adapter.LogRun(e.jobs, e.opts.Logger, run)
	if a := run.Verdict.Action; a == worker.Done || a == worker.Dead {
		e.opts.onDone(s.in, run.Verdict)
	}
}
