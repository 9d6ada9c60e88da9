package conformance

import (
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

var ackChecks = []check{
	{id: "F07", level: Faults, run: lostAck, cases: []string{"ack", "answer"}, limit: 2 * time.Minute,
		title: "a job that is done, but whose acknowledgement was lost, runs again a few times at most and does not count as failed",
		why:   "people repair by hand what is listed as failed, so the work would be done twice"},
	{id: "F08", level: Faults, run: longerThanLease, limit: 2 * time.Minute,
		title: "a job that takes longer than the lease of its worker does not run twice at the same time",
		why:   "the longest jobs do the most harm when they run twice"},
}

// lostAck breaks the worker's connection from within the handler. So what the worker
// sends after the handler has returned is lost: the acknowledgement, or the reply to
// it.
func lostAck(p *probe) {
	s := p.faulty(Setup{Slots: 1})
	switch {
	case s.sys.WorkerProxy == nil:
		p.lacks("System.WorkerProxy")
	case s.caps.Delivery != core.GuaranteeAtLeastOnce:
		p.notApplicable("%s is declared", s.caps.Delivery)
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
	// A worker sends the acknowledgement within this time.
	p.sleep(p.settle())
	for end := time.Now().Add(s.patience()); lost() == before && time.Now().Before(end); {
		p.sleep(p.settle() / 10)
	}
	bit := lost() > before
	s.endFaults()
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

// settled reports whether the job is stored as done, or not stored any more. It
// reports false if that cannot be seen.
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
	s := p.open(Setup{Slots: 2, Queues: []string{"", "left"}})
	switch {
	case s.sys.Inline || s.caps.Durability == core.DurabilityProcess:
		p.notApplicable("a job is not leased, but run")
	case p.h.Lease <= 0:
		p.lacks("Lease")
	}
	p.affords("a job of three leases", 3*p.h.Lease)
	twins := s.caps.IDWindow.PerQueue && s.honours(core.OptionID) && s.honours(core.OptionQueue)
	var opts []core.Option
	var twin []job
	if twins {
		opts = append(opts, core.ID("long-"+s.setup.Namespace))
	}
	j := s.make(func(r *run) error {
		if r.ordinal == 1 {
			p.sleepIn(r, 3*p.h.Lease)
		}
		return nil
	}, opts...)
	s.accept(single, j)
	if twins { // the end of another job of this ID is not the end of this one
		s.await(p.patience(), func() bool { return s.count(j.ref) > 0 })
		twin = []job{s.make(nil, append(opts, core.Queue("left"))...)}
		s.accept(single, twin...)
	}
	runs := s.awaitEnd(j, 1, 3*p.h.Lease+p.patience())
	s.awaitRuns(twin)
	s.quiet()
	if n := s.count(j.ref); n > 1 {
		p.fail("one run of a job that took three leases", "%d", n)
	}
	if took := runs[0].Ended.Sub(runs[0].Began); took < 3*p.h.Lease {
		p.fail("the context of a job does not end with a lease", "it ended after %v", took.Round(time.Millisecond))
	}
}
