package conformance

import (
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

var ackChecks = []check{
	{id: "F07", level: Faults, run: lostAck, cases: []string{"ack", "answer"}, limit: 2 * time.Minute,
		title: "a job that is done, and whose acknowledgement is lost, runs again a few times at most and is not called failed",
		why:   "a success in the list of failures is repaired by hand, which does it twice"},
	{id: "F08", level: Faults, run: longerThanLease, limit: 2 * time.Minute,
		title: "a job that takes longer than the lease of its worker does not run beside itself",
		why:   "the longest jobs are the ones that hurt most when they run twice"},
}

// lostAck breaks the worker's connection from within the handler, so that what
// the worker says when it returns is lost: its acknowledgement, or the answer to
// that.
func lostAck(p *probe) {
	s := p.faulty(Setup{Slots: 1})
	switch {
	case s.sys.WorkerProxy == nil:
		p.notRun("the harness has no System.WorkerProxy")
	case s.caps.Delivery != core.AtLeastOnce:
		p.notApplicable("%s is claimed", s.caps.Delivery)
	}
	warm := s.makeN(3)
	s.accept(batch, warm...)
	s.awaitRuns(warm)
	proxy := s.sys.WorkerProxy
	lose, lost := proxy.LoseRequests, func() int64 { return proxy.Stats().LostRequestBytes }
	if p.caseOf == "answer" {
		lose, lost = proxy.LoseReplies, func() int64 { return proxy.Stats().LostReplyBytes }
	}
	var before int64
	j := s.make(func(r *run) error {
		if r.ordinal == 1 {
			before = lost()
			s.broke("lose "+p.caseOf, true)
			lose()
		}
		return nil
	})
	s.accept(single, j)
	s.awaitEnd(j, 1, s.patience())
	// What a worker sends when a handler has returned it sends within this time.
	p.sleep(p.settle())
	for end := time.Now().Add(s.patience()); lost() == before && time.Now().Before(end); {
		p.sleep(p.settle() / 10)
	}
	bit := lost() > before
	s.mend()
	s.quiet()
	if p.recoversSoon() {
		s.await(p.recoverWithin(), func() bool { return s.count(j.ref) > 1 || s.settled(j) })
		s.quiet()
	}
	const few = 3
	if n := s.count(j.ref); n > few {
		p.fail("a job whose acknowledgement was lost runs again a few times at most", "%d times", n)
	}
	s.notBuried(j)
	p.witness("runs", s.count(j.ref))
	if !bit {
		p.inconclusive("the worker sent nothing that could be lost")
	}
}

// settled says whether the job is stored as done, or not any more, as far as that can be seen.
func (s *subject) settled(j job) bool {
	if s.sys.Stored == nil {
		return false
	}
	return !slices.ContainsFunc(s.records(), func(r Record) bool { return r.ID == j.in.ID && r.State != Finished })
}

func (s *subject) records() []Record {
	records, err := s.sys.Stored(s.p.ctx)
	if err != nil {
		s.p.broken("harness: System.Stored: %v", err)
	}
	return records
}

func (s *subject) notBuried(j job) {
	if s.sys.Stored == nil {
		return
	}
	if slices.ContainsFunc(s.records(), func(r Record) bool { return r.ID == j.in.ID && r.State == Buried }) {
		s.p.fail("a job that was done is not kept as failed", "it is, after %d runs that succeeded", s.count(j.ref))
	}
}

func longerThanLease(p *probe) {
	s := p.open(Setup{Slots: 2})
	switch {
	case s.sys.Inline || s.caps.Durability == core.InProcess:
		p.notApplicable("a job is not leased, but run")
	case p.h.Lease <= 0:
		p.notRun("the harness tells no Lease")
	}
	p.affords("a job of three leases", 3*p.h.Lease)
	j := s.make(func(r *run) error {
		if r.ordinal == 1 {
			p.sleepIn(r, 3*p.h.Lease)
		}
		return nil
	})
	s.accept(single, j)
	runs := s.awaitEnd(j, 1, 3*p.h.Lease+p.patience())
	s.quiet()
	if n := s.count(j.ref); n > 1 {
		p.fail("one run of a job that took three leases", "%d", n)
	}
	if took := runs[0].Ended.Sub(runs[0].Began); took < 3*p.h.Lease {
		p.fail("the context of a job outlives the lease of its worker", "it ended after %v", took.Round(time.Millisecond))
	}
}
