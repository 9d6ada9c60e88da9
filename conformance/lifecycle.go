package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

var lifecycleChecks = []check{
	{id: "L01", level: Core, run: manyProducers,
		title: "many goroutines dispatch at once, and no job is lost or runs twice",
		why:   "every server is concurrent, and races appear only under load"},
	{id: "L02", level: Core, run: slotsUsed,
		title: "the worker runs as many jobs at a time as it declares, and never more",
		why:   "this limit protects the services that the jobs call"},
	{id: "L04", level: Core, run: stuckJob,
		title: "a job that hangs blocks only its own slot",
		why:   "one call that hangs must not stop all other jobs"},
	{id: "L05", level: Core, run: handlersDispatch,
		title: "a handler may dispatch, even if the worker runs one job at a time",
		why:   "jobs often enqueue jobs, and an executor that holds a lock meanwhile deadlocks"},
	{id: "L06", level: Core, run: fifo,
		title: "jobs of one queue start in the order of dispatch, if that is declared",
		why:   "code that relies on the order fails silently without it"},
	{id: "L07", level: Core, run: stopTwice,
		title: "Stop may be called more than once and concurrently",
		why:   "a program may call it from a signal handler and from a deferred function"},
	{id: "L08", level: Core, run: closedRefuses,
		title: "after Stop a dispatch returns ErrClosed, and its jobs never run",
		why:   "if a closed executor returns nil, the job is lost"},
	{id: "L09", level: Core, run: drain,
		title: "Stop waits for running jobs, and starts no more",
		why:   "a deployment must not interrupt work"},
	{id: "L12", level: Core, run: leavesNothing,
		title: "a stopped system leaves no goroutine behind",
		why:   "a program that leaks a little with each dispatch or restart fails after weeks"},
}

func manyProducers(p *probe) {
	s := p.open(Setup{})
	const producers, each = 16, 40
	jobs := make([][]job, producers)
	for i := range jobs {
		jobs[i] = s.makeN(each)
	}
	p.together(producers, func(i int) {
		s.accept(single, jobs[i][:each/2]...)
		for k := each / 2; k < each; k += 5 {
			s.accept(batch, jobs[i][k:k+5]...)
		}
	})
	var all []job
	for _, js := range jobs {
		all = append(all, js...)
	}
	s.awaitRuns(all)
	s.quiet()
	for _, j := range all {
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of each job", "%s: %d", j.ref, n)
		}
	}
}

// highWater counts how many are inside at the same time.
type highWater struct {
	mu      sync.Mutex
	inside  int
	highest int
}

func (h *highWater) enter() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inside++
	h.highest = max(h.highest, h.inside)
	return h.inside
}

func (h *highWater) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inside--
}

func (h *highWater) most() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest
}

// slots returns how many jobs the worker runs at a time, if want was asked for.
func (s *subject) slots(want int) int {
	if s.sys.Slots > 0 {
		return s.sys.Slots
	}
	return want
}

func slotsUsed(p *probe) {
	const want = 4
	s := p.open(Setup{Slots: want})
	if s.sys.Inline {
		p.notApplicable("jobs run in the goroutines of their callers")
	}
	slots := s.slots(want)
	var water highWater
	open := make(chan struct{})
	hold := p.hold(open)
	jobs := make([]job, 3*slots)
	for i := range jobs {
		jobs[i] = s.make(func(r *run) error {
			water.enter()
			defer water.leave()
			return hold(r)
		})
	}
	s.accept(batch, jobs...)
	reached := s.awaitAll(p.patience(), slots, s.countRuns(jobs))
	p.sleep(p.settle() / 2)
	close(open)
	s.awaitRuns(jobs)
	s.hush()
	if most := water.most(); !reached || most != slots {
		p.fail(fmt.Sprintf("%d jobs at a time", slots), "at most %d ran at the same time", most)
	}
}

func stuckJob(p *probe) {
	s := p.open(Setup{Slots: 2})
	if s.sys.Inline || s.slots(2) < 2 {
		p.notApplicable("no two jobs run at a time in one worker")
	}
	open := make(chan struct{})
	stuck := s.make(p.hold(open))
	s.accept(single, stuck)
	s.awaitRuns([]job{stuck})
	jobs := s.makeN(50)
	s.accept(batch, jobs...)
	s.awaitRuns(jobs)
	close(open)
	s.awaitEnd(stuck, 1, p.patience())
}

func handlersDispatch(p *probe) {
	s := p.open(Setup{Slots: 1, Queues: []string{"", "conformance"}})
	const links = 30
	jobs := make([]job, links)
	var mu sync.Mutex
	var problem error
	for i := links - 1; i >= 0; i-- {
		var plan handler
		if i+1 < links {
			next := jobs[i+1]
			plan = func(r *run) error {
				_, err := s.dispatch(r.ctx, next)
				mu.Lock()
				defer mu.Unlock()
				problem = errors.Join(problem, err)
				return err
			}
		}
		// A job of which the next one inherits something runs with what it was not sent
		// with, which is judged at the end of every check.
		var opts []core.Option
		if i%3 == 0 {
			opts = s.telling()
		}
		jobs[i] = s.make(plan, opts...)
	}
	s.accept(single, jobs[0])
	s.awaitRuns(jobs)
	mu.Lock()
	defer mu.Unlock()
	if problem != nil {
		p.fail("a handler's dispatch is accepted", "%v", problem)
	}
}

func fifo(p *probe) {
	s := p.open(Setup{Slots: 1})
	if s.caps.Order != core.OrderFIFO {
		p.notApplicable("no order is declared")
	}
	var all []job
	for range 5 {
		a, b := s.makeN(10), s.makeN(10)
		s.accept(single, a...)
		s.accept(batch, b...)
		all = append(append(all, a...), b...)
	}
	s.awaitRuns(all)
	got := s.order()
	for i, j := range all {
		if got[i] != j.ref {
			p.fail("jobs start in order of dispatch", "number %d to start is %s and not %s", i, got[i], j.ref)
		}
	}
}

// stoppable opens a system that can be stopped.
func (p *probe) stoppable(s Setup) *subject {
	sub := p.open(s)
	if sub.sys.Stop == nil && sub.sys.Inline {
		p.notApplicable("the executor has nothing to stop")
	}
	if sub.sys.Stop == nil {
		p.lacks("System.Stop")
	}
	return sub
}

// stop stops the system, which must succeed in time.
func (s *subject) stop() {
	ctx, cancel := context.WithTimeout(s.p.ctx, s.p.patience())
	defer cancel()
	if err := s.sys.Stop(ctx); err != nil {
		s.p.fail("Stop returns nil where all jobs have finished", "%v", err)
	}
}

func stopTwice(p *probe) {
	for range 5 {
		s := p.stoppable(Setup{})
		jobs := s.makeN(10)
		s.accept(batch, jobs...)
		s.awaitRuns(jobs)
		p.together(10, func(int) { s.stop() })
		s.stop()
	}
	s := p.stoppable(Setup{})
	s.stop() // before anything was dispatched
}

func closedRefuses(p *probe) {
	s := p.stoppable(Setup{})
	if !s.sys.StopAccepting {
		p.notApplicable("Stop does not close the executor")
	}
	before := s.make(nil)
	s.accept(single, before)
	s.awaitRuns([]job{before})
	s.stop()
	var late []job
	for _, n := range []int{1, 3} {
		jobs := s.makeN(n)
		late = append(late, jobs...)
		outs, err := s.dispatch(p.ctx, jobs...)
		if !errors.Is(err, core.ErrClosed) {
			p.fail("ErrClosed after Stop", "%v", err)
		}
		for _, o := range outs {
			if o.State != core.NotSent {
				p.fail("nothing of the call was sent", "%v: %v", o.State, o.Err)
			}
		}
	}
	if s.caps.Durability == core.DurabilityBroker {
		again := p.open(Setup{Namespace: s.setup.Namespace})
		again.quiet()
		if refs := again.inherited(); len(refs) > 0 {
			p.fail("nothing that was refused after Stop runs later", "%s", refs[0])
		}
	}
	s.hush()
	if n, _ := s.ran(refsOf(late)); n > 0 {
		p.fail("nothing that was refused after Stop runs", "%d ran", n)
	}
}

func drain(p *probe) {
	pause, tries := min(p.settle()/4, p.patience()/20), 3
	for try := 1; ; try++ {
		started := p.drainAfter(pause)
		if started == 0 {
			return
		}
		if try == tries {
			p.fail("no job starts after Stop has begun, if jobs survive the worker", "%d did", started)
		}
		pause *= 4 // on a busy machine the worker may not have noticed
	}
}

// drainAfter lets the running jobs go on when a stop is under way for the pause. It
// returns how many jobs of a queue that survives the worker have started afterwards.
func (p *probe) drainAfter(pause time.Duration) (started int) {
	s := p.stoppable(Setup{Slots: 2})
	if s.sys.Inline {
		p.notApplicable("jobs run in the goroutines of their callers")
	}
	open := make(chan struct{})
	hold := p.hold(open)
	jobs := []job{s.make(hold), s.make(hold)}[:min(2, s.slots(2))]
	s.accept(batch, jobs...)
	s.awaitRuns(jobs)
	waiting := s.makeN(5)
	s.accept(batch, waiting...)
	p.sleep(p.settle() / 20)
	early, _ := s.ran(refsOf(waiting)) // L02 looks for more than the slots allow
	stopped := make(chan struct{})
	go p.contain(func() {
		defer close(stopped)
		s.stop()
	})
	p.sleep(pause)
	began := time.Now()
	close(open)
	select {
	case <-stopped:
	case <-time.After(p.patience()):
		p.fail("Stop returns once the running jobs have finished", "not within %v", time.Since(began))
	}
	p.endIfDecided()
	for _, j := range jobs {
		for _, r := range s.runsOf(j.ref) {
			if r.Ended.IsZero() || r.Err != nil {
				p.fail("running jobs finish before Stop returns", "%s: ended %v, %v", j.ref, !r.Ended.IsZero(), r.Err)
			}
		}
	}
	n, _ := s.ran(refsOf(waiting))
	s.hush()
	if later, _ := s.ran(refsOf(waiting)); later > n {
		p.fail("nothing starts after Stop has returned", "%d jobs did", later-n)
	}
	if s.caps.Durability != core.DurabilityBroker {
		return 0
	}
	return n - early
}

// leavesNothing fails in a bubble because of the goroutines that the engine finds at
// the end. Outside it counts goroutines.
func leavesNothing(p *probe) {
	if !p.bubble {
		p.leaks()
		return
	}
	s := p.open(Setup{})
	jobs := s.makeN(100)
	s.accept(single, jobs[:50]...)
	s.accept(batch, jobs[50:]...)
	s.awaitRuns(jobs)
	if s.sys.Stop != nil {
		s.stop()
	}
}
