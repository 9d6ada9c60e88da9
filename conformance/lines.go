package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

// faulty opens a system whose connections the check may break. They are healed
// before the harness cleans up.
func (p *probe) faulty(s Setup) *subject {
	s.Faults = true
	sub := p.open(s)
	switch {
	case sub.sys.Inline || sub.caps.Durability == core.InProcess:
		p.notApplicable("nothing is between the executor and its jobs that could break")
	case sub.sys.Proxy == nil:
		p.notRun("the harness has no System.Proxy")
	}
	harnessT{p}.Cleanup(func() {
		for _, proxy := range sub.proxies() {
			proxy.Heal() //nolint:errcheck // the harness may have closed it
		}
	})
	sub.patient = p.comesBackWithin()
	return sub
}

// comesBackWithin is how long a system may take to work again after a fault.
func (p *probe) comesBackWithin() time.Duration {
	if p.recoversSoon() {
		return p.recoverWithin()
	}
	return 3 * p.patience()
}

// recoversSoon says whether a job whose worker was lost is given to another one
// within the time that this run may take.
func (p *probe) recoversSoon() bool {
	return p.h.RecoversWithin <= p.worth()
}

func (s *subject) proxies() []*faultproxy.Proxy {
	all := []*faultproxy.Proxy{s.sys.Proxy}
	if s.sys.WorkerProxy != nil {
		all = append(all, s.sys.WorkerProxy)
	}
	return all
}

// broke notes a fault in the history. While a worker is disturbed a job may run
// again.
func (s *subject) broke(what string, working bool) {
	e := Event{Kind: EventFault, System: s.system, Text: what}
	if working {
		e.State = "working"
	}
	s.p.hist.add(e)
}

// mend ends all faults.
func (s *subject) mend() {
	for _, proxy := range s.proxies() {
		if err := proxy.Heal(); err != nil {
			s.p.broken("proxy: %v", err)
		}
	}
	s.p.hist.add(Event{Kind: EventHeal, System: s.system})
}

// heal ends all faults and waits until the executor works again. How long it
// takes is its own affair, but it must not need to be made anew.
func (s *subject) heal() {
	s.mend()
	s.insist(s.make(nil))
}

// remembers reports that the same intent again is one job, also after its
// connection was lost.
func (s *subject) remembers() bool {
	w := s.caps.IDWindow
	return w.Survives != core.SurvivesNothing &&
		(w.Kind == core.StoredWindow || w.Kind == core.FixedWindow || w.Kind == core.UnfinishedWindow && s.setup.Paused)
}

// insist sends jobs until each is accepted or known to be there, as a caller
// does that retries. It returns what was sent in the end, the same jobs or new
// ones where the executor would take the old ones twice, and the last outcomes.
func (s *subject) insist(jobs ...job) ([]job, []core.Outcome) {
	jobs, last := slices.Clone(jobs), make([]core.Outcome, len(jobs))
	for deadline := time.Now().Add(s.patience()); ; s.p.sleep(s.p.patience() / 200) {
		var open []int
		var round []job
		for i := range jobs {
			if last[i].State != core.Accepted && last[i].State != core.Duplicate {
				open, round = append(open, i), append(round, jobs[i])
			}
		}
		switch {
		case len(open) == 0:
			return jobs, last
		case time.Now().After(deadline):
			o := last[open[0]]
			s.p.fail("an executor works again when its backend is there again", "not within %v: %v: %v", s.patience(), o.State, o.Err)
		}
		c := s.begin(round...)
		c.finish()
		for k, i := range open {
			if last[i] = c.outs[k]; last[i].State == core.Unknown && !s.remembers() {
				jobs[i] = s.make(nil)
			}
		}
	}
}

// warm sends calls like one that is to be broken, so that what a client does
// once is done before, and returns how many bytes such a call sends. The refs of
// a check all have one length, and so have its calls.
func (s *subject) warm(jobs func() []job) (size int64) {
	for range 3 {
		before := s.sys.Proxy.Stats().RequestBytes
		s.accept(batch, jobs()...)
		size = s.sys.Proxy.Stats().RequestBytes - before
	}
	return size
}

// call is a dispatch under way.
type call struct {
	s      *subject
	jobs   []job
	cancel context.CancelFunc
	done   chan struct{} // closed when the next two are there
	outs   []core.Outcome
	err    error
}

// begin dispatches jobs without waiting for the answer.
func (s *subject) begin(jobs ...job) *call {
	ctx, cancel := context.WithCancel(s.p.ctx)
	c := &call{s: s, jobs: jobs, cancel: cancel, done: make(chan struct{})}
	go s.p.contain(func() {
		defer close(c.done)
		c.outs, c.err = s.dispatch(ctx, jobs...)
	})
	return c
}

// within waits for the answer, and says whether it came in time.
func (c *call) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		c.cancel()
		c.s.p.endIfDecided()
		return true
	case <-timer.C:
		return false
	case <-c.s.p.ctx.Done():
		c.s.p.end(Error, "the caller's context ended")
		return false
	}
}

// finish waits for the answer, and takes the context away from a call that
// waits for what will not come.
func (c *call) finish() {
	if !c.within(c.s.p.patience() / 2) {
		c.cancelled()
	}
}

// cancelled cancels the call, which must then return.
func (c *call) cancelled() {
	c.cancel()
	limit := c.s.p.patience() + c.s.caps.CancelLatency
	if !c.within(limit) {
		c.s.p.fail("a call returns when its context is cancelled", "not within %v", limit)
	}
}

// sees waits until the proxy has counted something, and reports false if the
// call is over before.
func (c *call) sees(what func(faultproxy.Stats) bool) bool {
	ctx, cancel := context.WithTimeout(c.s.p.ctx, c.s.p.patience())
	defer cancel()
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return c.s.sys.Proxy.WaitFor(ctx, what) == nil
}

// loseReply makes the backend's answer to a call of so many bytes vanish, or
// that to an earlier part of it, and returns what tells that it has.
func (s *subject) loseReply(size int64) func(faultproxy.Stats) bool {
	before := s.sys.Proxy.Stats().LostReplyBytes
	s.broke("lose replies", false)
	s.sys.Proxy.LoseRepliesAfter(size)
	return func(now faultproxy.Stats) bool { return now.LostReplyBytes > before }
}

// balance waits for every accepted job and holds what was said of each against
// what became of it.
func (s *subject) balance() Tally {
	var accepted []job
	seen := map[string]bool{}
	for _, e := range s.p.hist.all() {
		if e.Kind == EventOutcome && e.System == s.system && e.State == core.Accepted.String() && !seen[e.Ref] {
			seen[e.Ref] = true
			accepted = append(accepted, job{ref: e.Ref})
		}
	}
	s.awaitRuns(accepted)
	s.quiet()
	t := tally(s.p.hist.all())
	switch {
	case t.Phantom > 0:
		s.p.fail("what was told as not sent or rejected does not run, nor what nobody sent", "%d jobs did: %+v", t.Phantom, t)
	case t.StoredTwice > 0:
		s.p.fail("no job runs twice while no worker is disturbed", "%d jobs did: %+v", t.StoredTwice, t)
	}
	return t
}
