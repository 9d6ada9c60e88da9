package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

var replyChecks = []check{
	{id: "X02", level: Faults, run: cancelledInFlight, bare: true, limit: time.Minute,
		title: "a call that is cancelled while it waits for a reply returns immediately, and its outcome is unknown",
		why:   "a caller that gets NotSent sends the job again, and it may run twice"},
	{id: "F02", level: Faults, run: lostReply, bare: true, limit: time.Minute,
		title: "the outcome of a job whose acknowledgement was lost is unknown",
		why:   "a stored job that is reported as not stored is sent again, and runs twice"},
	{id: "F03", level: Faults, run: retryAfterLostReply, bare: true, cases: []string{"stopped", "running"}, limit: 2 * time.Minute,
		title: "sending a job again after a lost acknowledgement makes no second job",
		why:   "only this makes it safe to retry an unknown outcome"},
}

// callSizes are the sizes of calls: one job, and a batch.
var callSizes = []int{1, 20}

// cancelledInFlight cancels calls whose reply is lost, and then calls whose reply is
// late. The next call must not take that reply for its own.
func cancelledInFlight(p *probe) {
	s := p.faulty(Setup{Slots: 4})
	for range p.rounds(2) {
		for _, n := range callSizes {
			size := s.warm(func() []job { return s.makeN(n) })
			jobs := s.makeN(n)
			lost := s.loseReply(size - 1)
			c := s.begin(jobs...)
			if c.sees(lost) && !c.within(0) {
				s.cancelAndJudge(c)
			}
			s.heal()
		}
	}
	s.lateAnswers()
	s.balance()
	if p.result.Witness["cancelled, and run"] == 0 {
		p.inconclusive("no call was cancelled while the answer to a stored job was awaited")
	}
}

func (s *subject) cancelAndJudge(c *call) {
	p := s.p
	s.await(p.settle(), func() bool { n, _ := s.ran(refsOf(c.jobs)); return n == len(c.jobs) })
	if c.within(0) { // its connection was lost meanwhile
		return
	}
	c.cancelled()
	for i, o := range c.outs {
		switch {
		case o.State != core.Unknown:
			if o.State != core.Accepted && o.State != core.NotSent {
				p.fail("a job without an answer when its call is cancelled is unknown", "%v: %v", o.State, o.Err)
			}
		case !errors.Is(o.Err, context.Canceled):
			p.fail("errors.Is finds context.Canceled on the unknown outcomes of a cancelled call", "%v", o.Err)
		case s.count(c.jobs[i].ref) > 0:
			p.witness("cancelled, and run", 1)
		}
	}
}

// lateAnswers cancels calls on a slow connection, and immediately makes a call that
// has another reply.
func (s *subject) lateAnswers() {
	p := s.p
	if !s.honours(core.OptionID) || s.caps.IDWindow.Kind == "" {
		return
	}
	open := make(chan struct{})
	defer close(open)
	id := core.ID("late-" + s.setup.Namespace)
	s.accept(single, s.make(p.hold(open), id))
	for range p.rounds(3) {
		before := s.sys.Proxy.Stats().Delayed
		s.broke("slow", false)
		s.sys.Proxy.Delay(50 * time.Millisecond)
		c := s.begin(s.make(nil))
		c.sees(func(now faultproxy.Stats) bool { return now.Delayed > before })
		c.cancelled()
		if o := s.send(single, s.make(nil, id))[0]; o.State == core.Accepted {
			p.fail("a call does not take the answer to an earlier, cancelled one for its own", "an ID that is in use was accepted")
		}
		s.heal()
	}
}

func lostReply(p *probe) {
	s := p.faulty(Setup{})
	rounds := p.rounds(4)
	for round := range rounds {
		for _, n := range callSizes {
			size := s.warm(func() []job { return s.makeN(n) })
			jobs := s.makeN(n)
			lost := s.loseReply(size - 1 - size*int64(round)/int64(2*rounds))
			c := s.begin(jobs...)
			if c.sees(lost) {
				s.await(p.settle(), func() bool { ran, _ := s.ran(refsOf(jobs)); return ran == n })
				s.sys.Proxy.Reset() // otherwise the client waits for its own time limit
			}
			c.finish()
			for i, o := range c.outs {
				s.judgeLost(o, s.count(jobs[i].ref) > 0)
			}
			s.heal()
		}
	}
	s.balance()
	if p.result.Witness["unknown, and run"] == 0 {
		p.inconclusive("no acknowledgement of a stored job was lost")
	}
}

func (s *subject) judgeLost(o core.Outcome, ran bool) {
	switch {
	case o.State == core.Unknown && errors.Is(o.Err, core.ErrNotSent):
		s.p.fail("the error of an unknown outcome does not say not sent or unavailable", "%v", o.Err)
	case o.State == core.Unknown && ran:
		s.p.witness("unknown, and run", 1)
	case o.State == core.NotSent && ran, o.State != core.Unknown && o.State != core.NotSent && o.State != core.Accepted:
		s.p.fail("a job whose acknowledgement was lost is unknown", "%v: %v", o.State, o.Err)
	}
}

// retryAfterLostReply loses the replies to calls with jobs of each kind, and sends the
// jobs again. For a unique key it makes a new job, as a caller would.
func retryAfterLostReply(p *probe) {
	s := p.faulty(Setup{Paused: p.caseOf == "stopped", Slots: 4})
	if !s.remembers() {
		p.notApplicable("IDs are not remembered when a connection is lost")
	}
	var pairs [][2]job // the two sendings of one job
	for way, option := range s.namings() {
		names := 0
		fresh := func(n int) []job {
			jobs := make([]job, n)
			for i := range jobs {
				jobs[i] = s.make(nil, option(fmt.Sprintf("%s-%05d", s.setup.Namespace, names))...)
				names++
			}
			return jobs
		}
		for range p.rounds(2) {
			for _, n := range []int{1, 5} {
				size := s.warm(func() []job { return fresh(n) })
				jobs := fresh(n)
				lost := s.loseReply(size - 1)
				c := s.begin(jobs...)
				if c.sees(lost) {
					s.await(p.settle()/4, func() bool { ran, _ := s.ran(refsOf(jobs)); return ran == n })
					s.sys.Proxy.Reset()
				}
				c.finish()
				stored := s.storedIDs()
				s.endFaults()
				again := jobs
				if way == "unique" {
					names -= n
					again = fresh(n)
				}
				_, outs := s.insist(again...)
				for i := range jobs {
					pairs = append(pairs, [2]job{jobs[i], again[i]})
					if c.outs[i].State == core.Unknown && (outs[i].State == core.Duplicate || stored[jobs[i].in.ID]) {
						p.witness("unknown, stored, and sent again", 1)
					}
				}
			}
		}
	}
	s.start()
	s.awaitPairs(pairs)
	if p.result.Witness["unknown, stored, and sent again"] == 0 {
		p.inconclusive("no job of unknown outcome was seen to be stored before it was sent again")
	}
}

// namings returns the ways in which a job can be recognised when it is sent again, as
// far as this executor has them.
func (s *subject) namings() map[string]func(name string) []core.Option {
	ways := map[string]func(string) []core.Option{"generated": func(string) []core.Option { return nil }}
	if s.honours(core.OptionID) {
		ways["chosen"] = func(name string) []core.Option { return []core.Option{core.ID("lost-" + name)} }
	}
	if s.honours(core.OptionUnique) && s.setup.Paused {
		ways["unique"] = func(name string) []core.Option { return []core.Option{core.Unique("lost-" + name)} }
	}
	return ways
}

// storedIDs returns the IDs of what is stored, if that can be seen.
func (s *subject) storedIDs() map[string]bool {
	ids := map[string]bool{}
	if s.sys.Stored != nil {
		for _, r := range s.records() {
			ids[r.ID] = true
		}
	}
	return ids
}

// awaitPairs waits until one job of each pair has run. There must be no second run.
func (s *subject) awaitPairs(pairs [][2]job) {
	runs := func(pair [2]job) int {
		if pair[0].ref == pair[1].ref {
			return s.count(pair[0].ref)
		}
		return s.count(pair[0].ref) + s.count(pair[1].ref)
	}
	t := s.balance()
	for _, pair := range pairs {
		if !s.await(s.patience(), func() bool { return runs(pair) > 0 }) {
			s.p.fail("a job that was sent until it was stored runs", "%s, %s did not: %+v", pair[0].ref, pair[1].ref, t)
		}
	}
	for _, pair := range pairs {
		if n := runs(pair); n > 1 {
			s.p.fail("a job that was sent again after its acknowledgement was lost runs once", "%s, %s: %d runs", pair[0].ref, pair[1].ref, n)
		}
	}
}
