package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var outageChecks = []check{
	{id: "F01", level: Faults, run: backendDown, limit: time.Minute,
		title: "while its backend is down an executor reports that, and it works again when the backend is back",
		why:   "backends are restarted, and then the clients must not need a restart"},
	{id: "F09", level: Faults, run: backendRestarted, limit: time.Minute, alone: true,
		title: "accepted jobs survive a restart of the backend, if that is declared",
		why:   "an acknowledged job must not be lost in a restart"},
	{id: "F11", level: Faults, run: backendFull, limit: time.Minute,
		title: "a full queue refuses new jobs and drops no accepted job",
		why:   "somebody waits for the oldest job of a full queue"},
}

func backendDown(p *probe) {
	s := p.faulty(Setup{})
	s.warm(func() []job { return s.makeN(3) })
	s.quiet()
	for range p.rounds(1) {
		s.broke("down", s.sys.WorkerProxy != nil)
		for _, proxy := range s.proxies() {
			proxy.Down()
		}
		for range 3 {
			for _, n := range []int{1, 3} {
				s.refusedWhileDown(s.makeN(n))
			}
		}
		s.heal()
		for _, n := range []int{1, 20} {
			jobs, _ := s.insist(s.makeN(n)...)
			s.awaitRuns(jobs)
		}
	}
	s.balance()
}

func (s *subject) refusedWhileDown(jobs []job) {
	p := s.p
	limit := 2 * p.patience()
	c := s.begin(jobs...)
	if !c.within(limit) {
		p.fail("a call returns although the backend is down", "%d jobs: not within %v", len(jobs), limit)
	}
	for _, o := range c.outs {
		switch {
		case o.State == core.Unknown: // its connection has just broken, or the client retries
			p.witness("unknown", 1)
		case o.State == core.NotSent && errors.Is(o.Err, core.ErrUnavailable):
			p.witness("unavailable", 1)
		default:
			p.fail("while the backend is down a job is not sent with ErrUnavailable, or is unknown (see System.Exec)", "%v: %v", o.State, o.Err)
		}
	}
}

// backendRestarted restarts the backend of two systems. The worker of one is held
// back, so that its jobs are stored at that time. The other one works.
func backendRestarted(p *probe) {
	if p.h.Restart == nil {
		if s := p.open(Setup{}); s.sys.Inline || s.caps.Durability == core.DurabilityProcess {
			p.notApplicable("jobs do not survive their process")
		}
		p.lacks("Restart")
	}
	stored, working := p.open(Setup{Paused: true}), p.open(Setup{})
	if stored.sys.Inline || stored.caps.Durability == core.DurabilityProcess {
		p.notApplicable("jobs do not survive their process")
	}
	for _, s := range []*subject{stored, working} {
		s.patient = p.comesBackWithin()
	}
	var jobs []job
	for _, m := range modes {
		some := stored.makeN(25)
		if stored.honours(core.OptionID) {
			some = append(some, stored.make(nil, core.ID(fmt.Sprintf("restart-%s-%s", stored.setup.Namespace, m))))
		}
		stored.accept(m, some...)
		jobs = append(jobs, some...)
	}
	before := working.makeN(5)
	working.accept(batch, before...)
	working.awaitRuns(before)

	p.hist.add(Event{Kind: EventFault, Text: "restart", State: "working"})
	if err := p.outside("Harness.Restart", func() error { return p.h.Restart(p.ctx) }); err != nil {
		p.broken("harness: Restart: %v", err)
	}
	p.hist.add(Event{Kind: EventHeal})
	p.witness("restarted", 1)

	after, _ := working.insist(working.makeN(5)...)
	working.awaitRuns(after)
	if stored.caps.IDWindow.Survives == core.SurvivalRestart {
		stored.sendAgain(jobs)
	}
	stored.start()
	stored.awaitRuns(jobs)
	stored.quiet()
	for _, j := range jobs {
		if n := stored.count(j.ref); n > 1 {
			p.fail("a stored job runs once, also after a restart", "%s ran %d times", j.ref, n)
		}
	}
}

// sendAgain sends stored jobs until each has a definite outcome.
func (s *subject) sendAgain(jobs []job) {
	_, outs := s.insist(jobs...)
	for i, o := range outs {
		if want := again(jobs[i].in.ChosenID()); o.State != want {
			s.p.fail(fmt.Sprintf("the same intent again after a restart is %v, as the ID window declares", want), "%v: %v", o.State, o.Err)
		}
	}
}

// backendFull fills a queue whose worker is held back.
func backendFull(p *probe) {
	s := p.open(Setup{Paused: true, Room: 200})
	if s.sys.Inline {
		p.notApplicable("no job ever waits")
	}
	s.patient = p.comesBackWithin()
	const each = 50
	most := p.rounds(1000)
	var accepted []job
	full := false
	for n := 0; n < most && !full; n += each {
		jobs := s.makeN(each)
		c := s.begin(jobs...)
		c.finish() // in a full pool it waits until it is cancelled
		for i, o := range c.outs {
			switch o.State {
			case core.Accepted:
				accepted = append(accepted, jobs[i])
			case core.NotSent, core.Rejected, core.Unknown:
				full = true
			default:
				p.fail("a job for which there is no room is not sent or rejected", "%v: %v", o.State, o.Err)
			}
		}
	}
	s.start()
	s.awaitRuns(accepted)
	if !full {
		p.notApplicable("%d waiting jobs do not fill it", len(accepted))
	}
	p.witness("full", 1)
}
