package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var observerChecks = []check{
	{id: "T04", level: Options, run: observersSeeAll, limit: time.Minute,
		title: "observers are called once with every run, its attempt and its verdict, and with jobs that end without a run",
		why:   "alerts about failed and dead jobs are made of what observers see, and a kind that they do not see is never noticed"},
}

// watcher keeps what an observer is called with, by the ID of the job.
type watcher struct {
	mu   sync.Mutex
	byID map[string][]worker.Run
	ran  atomic.Int64 // runs that a middleware has seen
}

func (w *watcher) observe(_ context.Context, r worker.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = map[string][]worker.Run{}
	}
	w.byID[r.Delivery.ID] = append(w.byID[r.Delivery.ID], r)
}

func (w *watcher) middleware(ctx context.Context, next func(context.Context) error) error {
	w.ran.Add(1)
	return next(ctx)
}

// seen returns what was seen of a job, in order.
func (w *watcher) seen(id string) []worker.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.byID[id])
}

// took is how long the handlers run, so that a run can be told from a job that ends
// without one.
const took = 3 * time.Millisecond

func observersSeeAll(p *probe) {
	var w watcher
	p.watch = w.observe
	s := p.openWith(Setup{Slots: 8}, w.middleware)
	opts, d := s.attemptsOf(2)
	scripts := p.endingScripts(s.shortest(), d.MaxAttempts)
	if !p.bubble { // M02 has them all
		p.rand.Shuffle(len(scripts), func(i, k int) { scripts[i], scripts[k] = scripts[k], scripts[i] })
		scripts = scripts[:min(len(scripts), p.rounds(12))]
		for _, a := range failures {
			scripts = append(scripts, slices.Repeat(script{a}, d.MaxAttempts))
		}
	}
	var jobs []*endingJob
	for _, sc := range scripts {
		e := &endingJob{script: sc, job: s.make(func(r *run) error {
			time.Sleep(took)
			return sc.handler(r)
		}, opts...)}
		e.steps, e.last = sc.predict(d, s.sys.Inline)
		jobs = append(jobs, e)
	}
	for _, e := range jobs {
		s.push(single, e.job)
	}
	if w.ran.Load() == 0 && s.sys.Inline {
		p.notApplicable("the executor runs intents without the registry's middleware and observers")
	}
	if !s.sys.Inline {
		for _, e := range jobs {
			s.awaitSteps(e)
		}
	}
	s.hush()
	for _, e := range jobs {
		w.judge(s, e)
	}
	p.watchExpired(&w)
}

// judge compares what was seen of a job with its runs and with what Perform wants done.
// A worker may also report a verdict that Perform could not foresee, without a run.
func (w *watcher) judge(s *subject, e *endingJob) {
	p := s.p
	what := fmt.Sprintf("a job with %d attempts whose handler returns %v", e.job.in.Options.MaxAttempts, e.script)
	var runs []worker.Run
	for _, r := range w.seen(e.job.in.ID) {
		switch last := len(runs) - 1; {
		case r.Took > 0:
			runs = append(runs, r)
		case last < 0 || r.Verdict.Action == runs[last].Verdict.Action:
			p.fail(what+": observers are called with each run once", "again without a run: %v, as attempt %d", r, r.Delivery.Attempt)
		}
	}
	steps := e.steps
	if s.sys.Inline { // how often it runs a job is judged elsewhere
		steps = steps[:min(len(steps), s.count(e.job.ref))]
	}
	if len(runs) != len(steps) {
		p.fail(fmt.Sprintf("%s: observers are called with %d runs", what, len(steps)), "%d: %v", len(runs), runs)
	}
	for i, r := range runs {
		verdict := e.last
		if i+1 < len(e.steps) {
			verdict = e.steps[i+1].before
		}
		switch {
		case r.Delivery.Task != e.job.in.Task:
			p.fail(fmt.Sprintf("%s: run %d is of task %s", what, i+1, e.job.in.Task), "%q", r.Delivery.Task)
		case s.sys.Inline && (r.Verdict.Action == worker.Done) == (verdict.Action == worker.Done):
			// There is no later run, so it makes no difference how the attempt failed.
		case r.Verdict.Action != verdict.Action:
			p.fail(fmt.Sprintf("%s: run %d is observed as %v", what, i+1, verdict.Action), "%v", r.Verdict.Action)
		case max(r.Delivery.Attempt, 1) != steps[i].attempt:
			p.fail(fmt.Sprintf("%s: run %d is observed as attempt %d", what, i+1, steps[i].attempt), "%d", r.Delivery.Attempt)
		case (r.Verdict.Err == nil) != (verdict.Action == worker.Done):
			p.fail(fmt.Sprintf("%s: run %d, which is %v, is observed with its error", what, i+1, verdict.Action), "%v", r.Verdict.Err)
		case p.bubble && r.Took < took || r.Took > time.Since(p.hist.begin):
			p.fail(fmt.Sprintf("%s: run %d is observed to take at least %v", what, i+1, took), "%v", r.Took)
		}
	}
}

// watchExpired wants observers to be called with a job that is dead because it was not
// started by its deadline.
func (p *probe) watchExpired(w *watcher) {
	s := p.openWith(Setup{Slots: 1}, w.middleware)
	if s.sys.Inline || !s.honours(core.OptionDeadline) {
		return
	}
	claim := s.caps.Options[core.OptionDeadline]
	d := max(2*claim.Granularity, 400*time.Millisecond)
	open := make(chan struct{})
	var held []job
	for range s.slots(1) {
		held = append(held, s.make(p.hold(open)))
	}
	s.accept(single, held...)
	s.awaitRuns(held)
	late := s.make(nil, core.Deadline(time.Now().Add(d)))
	s.push(single, late)
	p.sleep(d + claim.Granularity + p.h.Skew + 50*time.Millisecond)
	close(open)
	s.quiet()
	if s.count(late.ref) > 0 {
		return // P14 judges this
	}
	s.awaitFunc("observers are called with a job that was not started by its deadline", func() string {
		var text string
		for _, r := range w.seen(late.in.ID) {
			text += fmt.Sprintf("; called with %v after %v", r, r.Took)
			if r.Verdict.Action == worker.Dead && r.Took == 0 {
				return ""
			}
		}
		return "no dead job without a run" + text
	})
}

// awaitParked wants observers to be called with one of the jobs whose task has no
// handler.
func (w *watcher) awaitParked(s *subject, jobs []job) {
	p := s.p
	for end := time.Now().Add(2 * p.parksWithin()); ; p.sleep(p.settle() / 20) {
		n := 0
		for _, j := range jobs {
			for _, r := range w.seen(j.in.ID) {
				if n++; r.Verdict.Action == worker.Parked && r.Took == 0 {
					return
				}
			}
		}
		if time.Now().After(end) {
			p.fail("observers are called with a job whose task has no handler", "%d calls, none with a parked job, within %v", n, 2*p.parksWithin())
		}
	}
}
