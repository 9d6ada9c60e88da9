package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

var stoppingChecks = []check{
	{id: "L13", level: Core, run: stopInEveryState, limit: 2 * time.Minute,
		title: "Stop returns in every state of a system, however it is called, and then nothing is going on any more",
		why:   "a program is stopped at any moment, and what goes on after Stop uses what the program has closed"},
}

// stopStates are the states of a system in which it is stopped. The function brings
// the system into the state, and returns the jobs that may stay.
var stopStates = []struct {
	name  string
	setup Setup
	enter func(s *subject, open <-chan struct{}) (ok bool)
}{
	{"never started", Setup{Paused: true}, func(s *subject, _ <-chan struct{}) bool { return true }},
	{"never started, with jobs", Setup{Paused: true}, func(s *subject, _ <-chan struct{}) bool {
		if s.caps.Durability != core.DurabilityBroker {
			return false // whose jobs would have to run
		}
		s.accept(batch, s.makeN(3)...)
		return true
	}},
	{"idle", Setup{}, func(s *subject, _ <-chan struct{}) bool {
		jobs := s.makeN(3)
		s.accept(single, jobs...)
		s.awaitRuns(jobs)
		return true
	}},
	{"running", Setup{Slots: 2}, func(s *subject, open <-chan struct{}) bool {
		j := s.make(s.p.hold(open))
		s.accept(single, j)
		s.awaitRuns([]job{j})
		return true
	}},
	{"with callers that wait", Setup{Slots: 1, Room: 10}, func(s *subject, open <-chan struct{}) bool {
		if s.caps.Durability != core.DurabilityProcess {
			return false
		}
		j := s.make(s.p.hold(open))
		s.accept(single, j)
		s.awaitRuns([]job{j})
		for range 30 {
			s.begin(s.make(nil))
		}
		s.p.sleep(s.p.settle() / 20)
		return true
	}},
	{"with a delayed job", Setup{}, func(s *subject, _ <-chan struct{}) bool {
		if !s.honours(core.OptionDelay) {
			return false
		}
		later := time.Hour
		if longest := s.caps.Options[core.OptionDelay].Longest; longest > 0 {
			later = min(later, longest)
		}
		s.accept(single, s.make(nil, core.Delay(later)))
		return true
	}},
	{"between attempts", Setup{}, func(s *subject, _ <-chan struct{}) bool {
		if !s.honours(core.OptionBackoff) || !s.honours(core.OptionMaxAttempts) {
			return false
		}
		j := s.make(failing, core.MaxAttempts(3), core.Backoff(core.Fixed(time.Hour)))
		s.accept(single, j)
		s.awaitEnd(j, 1, s.p.patience())
		return true
	}},
	{"with its backend down", Setup{Faults: true}, func(s *subject, _ <-chan struct{}) bool {
		if s.sys.Proxy == nil || s.sys.WorkerProxy == nil {
			return false
		}
		jobs := s.makeN(3)
		s.accept(single, jobs...)
		s.awaitRuns(jobs)
		s.broke("down", true)
		for _, proxy := range s.proxies() {
			proxy.Down()
		}
		return true
	}},
}

// stopWays are the ways in which Stop is called.
var stopWays = []string{"once", "at once", "twice"}

func stopInEveryState(p *probe) {
	s := p.stoppable(Setup{})
	if s.sys.Inline {
		p.notApplicable("jobs run in the goroutines of their callers")
	}
	s.stop()
	p.mayRun = true
	type stopped struct{ state, way int }
	var list []stopped
	turn := p.rand.IntN(len(stopWays))
	for i := range stopStates {
		for k := range stopWays {
			if p.bubble || p.h.effort() > 1 || (i+turn)%len(stopWays) == k {
				list = append(list, stopped{i, k})
			}
		}
	}
	if p.bubble { // one after the other, so that the goroutines are those of one system
		for _, c := range list {
			p.stopIn(c.state, stopWays[c.way])
		}
		return
	}
	p.together(len(list), func(i int) { p.stopIn(list[i].state, stopWays[list[i].way]) })
}

// stopIn stops a system in a state. Running jobs are released when Stop has begun.
func (p *probe) stopIn(state int, way string) {
	st := stopStates[state]
	s := p.open(st.setup)
	if s.setup.Faults && s.sys.Proxy != nil {
		harnessT{p}.Cleanup(func() {
			for _, proxy := range s.proxies() {
				proxy.Heal() //nolint:errcheck // the harness may have closed it
			}
		})
	}
	open := make(chan struct{})
	if st.setup.Paused && s.sys.Start == nil || !st.enter(s, open) {
		s.stop()
		return
	}
	down := st.name == "with its backend down"
	// A pool may report the jobs that it had to give up.
	mayFail := down || s.caps.Durability == core.DurabilityProcess && s.waiting()
	what := fmt.Sprintf("%s, stopped %s", st.name, way)
	before := s.starts()
	if st.name == "with callers that wait" {
		before += 1000 // a pool runs what it has accepted
	}
	time.AfterFunc(p.settle()/20, func() { close(open) })
	limit := p.patience()
	if down {
		limit = min(limit, 5*time.Second)
	}
	stop := func() {
		ctx, cancel := context.WithTimeout(p.ctx, limit)
		defer cancel()
		returned := make(chan error, 1)
		go p.contain(func() { returned <- s.sys.Stop(ctx) })
		select {
		case err := <-returned:
			if err != nil && !mayFail {
				p.fail("Stop returns nil where all jobs finish: "+what, "%v", err)
			}
			if n := s.inHandlers(); n > 0 && !down {
				p.fail("no handler runs when Stop has returned: "+what, "%d do", n)
			}
		case <-time.After(2*limit + p.patience()):
			p.fail("Stop returns: "+what, "not within %v: %s", 2*limit+p.patience(), p.whatHangs())
		}
	}
	switch way {
	case "once":
		stop()
	case "at once":
		p.together(4, func(int) { stop() })
	case "twice":
		stop()
		stop()
	}
	p.endIfDecided()
	if p.bubble && s.caps.Durability == core.DurabilityProcess {
		p.wantNoneAtWork(what)
	}
	if s.sys.Stored != nil && !down {
		for _, r := range s.records() {
			if r.State == Running {
				p.fail("no job is stored as running when Stop has returned: "+what, "%s is", r.ID)
			}
		}
	}
	after := s.starts()
	p.sleep(p.settle() / 4)
	if n := s.starts(); n > after || after > before {
		p.fail("no job starts when Stop was called: "+what, "%d before it, %d at its return and %d later", before, after, n)
	}
}

// waiting reports whether a job is not due, or waits for its retry.
func (s *subject) waiting() bool {
	for _, w := range waitingJobs(s.p.hist.all()) {
		if w.system == s.system {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.runs, func(r *run) bool { return r.Err != nil })
}

// inHandlers counts the runs that have not ended.
func (s *subject) inHandlers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.runs {
		if r.Ended.IsZero() {
			n++
		}
	}
	return n
}

// wantNoneAtWork fails if a goroutine of the stopped system is left. In a bubble all
// others wait for something when this goroutine has slept.
func (p *probe) wantNoneAtWork(what string) {
	p.sleep(time.Microsecond)
	for _, g := range p.leftBehind() {
		if g.foreign() && !g.has("conformance.(*probe)", "conformance.(*subject)") {
			p.fail("no goroutine is left when Stop has returned: "+what, "%s", g.String())
		}
	}
}
