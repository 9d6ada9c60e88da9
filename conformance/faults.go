package conformance

import (
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

var faultChecks = []check{
	{id: "F06", level: Faults, run: workerKilled,
		title: "a job whose worker is killed runs again",
		why:   "machines fail in the middle of jobs"},
	{id: "F10", level: Faults, run: poisonMessage,
		title: "a message that cannot be decoded becomes a dead job, and other jobs run",
		why:   "one broken message must not block a queue or be retried forever"},
}

func workerKilled(p *probe) {
	s := p.open(Setup{Slots: 2})
	switch {
	case s.sys.Inline || s.caps.Durability == core.DurabilityProcess:
		p.notApplicable("jobs do not survive their process")
	case s.caps.Delivery != core.GuaranteeAtLeastOnce:
		p.notApplicable("%s is declared", s.caps.Delivery)
	case s.sys.Kill == nil:
		p.lacks("System.Kill")
	}
	p.affords("the recovery of a killed worker's job", p.h.RecoversWithin)
	never := make(chan struct{})
	cut, done := s.make(p.hold(never)), s.make(nil)
	s.accept(single, done)
	s.awaitEnd(done, 1, p.patience())
	p.sleep(p.settle() / 4) // the acknowledgement is sent in this time
	s.accept(single, cut)
	s.awaitRuns([]job{cut})
	p.hist.add(Event{Kind: EventFault, Text: "kill", State: "working"})
	if err := s.sys.Kill(); err != nil {
		p.broken("harness: System.Kill: %v", err)
	}
	next := p.open(Setup{Namespace: s.setup.Namespace})
	p.hist.add(Event{Kind: EventHeal})
	if !next.await(p.recoverWithin(), func() bool { return len(next.inherited()) > 0 }) {
		p.fail("a job whose worker was killed runs again", "not within %v", p.recoverWithin())
	}
	p.witness("killed in a handler", 1)
	next.quiet()
	if again := next.inherited(); len(again) > 1 {
		p.fail("a job that was done before the kill does not run again", "%d jobs ran again", len(again))
	}
}

func poisonMessage(p *probe) {
	s := p.open(Setup{Slots: 1})
	if s.sys.Corrupt == nil {
		if s.sys.Inline || s.caps.Durability == core.DurabilityProcess {
			p.notApplicable("jobs are not stored as messages")
		}
		p.lacks("System.Corrupt")
	}
	before := s.makeN(5)
	s.accept(batch, before...)
	for range 3 {
		if err := s.sys.Corrupt(p.ctx, jobTaskName); err != nil {
			p.broken("harness: System.Corrupt: %v", err)
		}
	}
	after := s.makeN(10)
	s.accept(batch, after...)
	s.awaitRuns(append(before, after...))
	s.quiet()
	s.allSettled()
	for _, ph := range s.phantoms() {
		if strings.Contains(ph, `ref ""`) {
			p.fail("no handler is called for a message that cannot be decoded", "%s", ph)
		}
	}
}

// allSettled waits until no stored job waits or runs any more.
func (s *subject) allSettled() {
	if s.sys.Stored == nil {
		return
	}
	open := func() int {
		n := 0
		for _, r := range s.records() {
			if r.State == Waiting || r.State == Running {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(s.p.retryWithin()); open() > 0; s.p.sleep(s.p.settle() / 10) {
		if time.Now().After(end) {
			s.p.fail("a message that cannot be decoded becomes a dead job", "%d messages still wait or run", open())
		}
	}
}
