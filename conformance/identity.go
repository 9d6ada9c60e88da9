package conformance

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
)

var identityChecks = []check{
	{id: "I01", level: Core, run: sameIntentAgain,
		title: "the same intent sent again is one job: accepted again, or a duplicate if its ID was chosen",
		why:   "callers send an intent again if its outcome is unknown"},
	{id: "I02", level: Core, run: sameIDAtOnce,
		title: "an ID that many callers send at once is one job",
		why:   "two replicas may handle the same webhook at the same moment"},
	{id: "I03", level: Core, run: sameIntentInBatch,
		title: "the same intent twice in a batch is one job",
		why:   "a buffer that is flushed again may contain intents that were already sent"},
	{id: "I04", level: Core, run: idAfterDone,
		title: "an ID is remembered after its job has finished, for as long as declared",
		why:   "a call may be retried after its job is done"},
	{id: "I05", level: Options, run: idAcrossLanes,
		title: "an ID is one job, even if it is sent with different priorities",
		why:   "an intent that is sent again with a higher priority must not run twice"},
	{id: "I06", level: Options, run: idAfterWindow,
		title: "after the window an ID can be used again",
		why:   "otherwise a monthly job with a fixed ID runs only once"},
}

// identified opens a system that remembers IDs, with slots for jobs that are held.
func identified(p *probe) *subject {
	s := p.open(Setup{Slots: 8})
	switch {
	case s.caps.IDWindow.Kind == "":
		p.notApplicable("IDs are not remembered")
	case s.caps.IDWindow.Kind == core.WindowUnfinished && s.sys.Inline:
		p.notApplicable("a job has finished before it can be sent again")
	}
	return s
}

// again is the state of an intent that is sent a second time.
func again(chosen bool) core.State {
	if chosen {
		return core.Duplicate
	}
	return core.Accepted
}

// kinds returns the options for a generated ID and, if the executor takes one, for a
// chosen ID.
func (s *subject) kinds(name string) map[bool][]core.Option {
	kinds := map[bool][]core.Option{false: nil}
	if s.honours(core.OptionID) {
		kinds[true] = []core.Option{core.ID(name + "-" + s.setup.Namespace)}
	}
	return kinds
}

func sameIntentAgain(p *probe) {
	s := identified(p)
	for chosen, opts := range s.kinds("again") {
		open := make(chan struct{})
		wait := p.hold(open)
		if s.sys.Inline {
			wait = nil
		}
		j := s.make(wait, opts...)
		s.wantState("the first sending", core.Accepted, j)
		for range 3 {
			s.wantState(fmt.Sprintf("the same intent again, ID chosen: %v", chosen), again(chosen), j)
		}
		close(open)
		s.quiet()
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of an intent that was sent four times", "%d", n)
		}
	}
	if s.honours(core.OptionID) {
		s.apart("an ID", longestID, core.ID)
	}
}

func sameIDAtOnce(p *probe) {
	s := identified(p)
	for chosen, opts := range s.kinds("race") {
		open := make(chan struct{})
		wait := p.hold(open)
		if s.sys.Inline {
			wait = nil
		}
		j := s.make(wait, opts...)
		var accepted atomic.Int64
		p.together(20, func(int) {
			switch o := s.send(single, j)[0]; o.State {
			case core.Accepted:
				accepted.Add(1)
			case core.Duplicate:
				if !chosen {
					p.fail("a generated ID is accepted again", "duplicate")
				}
			default:
				p.fail("accepted or duplicate", "%v: %v", o.State, o.Err)
			}
		})
		close(open)
		s.quiet()
		if n := s.count(j.ref); n != 1 || chosen && accepted.Load() != 1 {
			p.fail("one job of an ID that 20 callers sent", "%d runs, %d accepted, ID chosen: %v", n, accepted.Load(), chosen)
		}
	}
}

func sameIntentInBatch(p *probe) {
	s := p.open(Setup{Slots: 8, Paused: true})
	if s.caps.IDWindow.Kind == "" || s.sys.Inline && s.caps.IDWindow.Kind == core.WindowUnfinished {
		p.notApplicable("IDs are not remembered for so long")
	}
	var jobs []job
	for chosen, opts := range s.kinds("batch") {
		j, other := s.make(nil, opts...), s.make(nil)
		jobs = append(jobs, j, other)
		outs, _ := s.dispatch(p.ctx, j, other, j)
		for i, want := range []core.State{core.Accepted, core.Accepted, again(chosen)} {
			if outs[i].State != want {
				p.fail(fmt.Sprintf("one intent twice in a batch, ID chosen: %v: number %d is %v", chosen, i, want), "%v: %v", outs[i].State, outs[i].Err)
			}
		}
	}
	s.start()
	s.awaitRuns(jobs)
	s.quiet()
	for _, j := range jobs {
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of an intent that was twice in its batch", "%d", n)
		}
	}
}

func idAfterDone(p *probe) {
	s := identified(p)
	w := s.caps.IDWindow
	for chosen, opts := range s.kinds("done") {
		j := s.make(nil, opts...)
		s.wantState("the first sending", core.Accepted, j)
		s.awaitEnd(j, 1, p.patience())
		if w.Kind == core.WindowUnfinished {
			continue // I06 looks at what comes after
		}
		if w.Kind == core.WindowFixed && w.For < p.settle() {
			p.notApplicable("IDs are remembered for %v only", w.For)
		}
		p.sleep(min(p.settle()/10, w.For/10+time.Millisecond))
		s.wantState(fmt.Sprintf("again after it is done, ID chosen: %v", chosen), again(chosen), j)
		s.quiet()
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of an intent sent again after its job was done", "%d", n)
		}
	}
}

func idAcrossLanes(p *probe) {
	s := identified(p)
	s.need(core.OptionPriority)
	for chosen, opts := range s.kinds("lanes") {
		open := make(chan struct{})
		wait := p.hold(open)
		if s.sys.Inline {
			wait = nil
		}
		j := s.make(wait, append(opts, core.Priority(1))...)
		s.wantState("the first sending", core.Accepted, j)
		raised := j
		var err error
		if raised.in, err = j.in.With(core.Priority(10)); err != nil {
			p.broken("intent: %v", err)
		}
		s.wantState(fmt.Sprintf("the same ID with another priority, chosen: %v", chosen), again(chosen), raised)
		close(open)
		s.quiet()
		if n := s.count(j.ref); n != 1 {
			p.fail("one run of an ID that was sent with two priorities", "%d", n)
		}
	}
}

func idAfterWindow(p *probe) {
	s := identified(p)
	s.need(core.OptionID)
	w := s.caps.IDWindow
	past := w.For + w.For/4
	switch {
	case w.Kind == core.WindowStored:
		p.notApplicable("the window has no end of its own")
	case w.Kind == core.WindowFixed && past > p.patience() && !p.bubble:
		p.notRun("the window of %v is longer than a check may take", w.For)
	case w.Kind == core.WindowUnfinished:
		past = p.settle() / 4
	}
	id := core.ID("window-" + s.setup.Namespace)
	first, second := s.make(nil, id), s.make(nil, id)
	s.wantState("the first sending", core.Accepted, first)
	s.awaitEnd(first, 1, p.patience())
	p.sleep(past)
	s.wantState("the ID after its window", core.Accepted, second)
	s.awaitRuns([]job{second})
}
