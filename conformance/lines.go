package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
)

// faulty opens a system whose connections the check may break. The faults end before
// the harness cleans up.
func (p *probe) faulty(s Setup) *subject {
	s.Faults = true
	sub := p.open(s)
	switch {
	case sub.sys.Inline || sub.caps.Durability == core.DurabilityProcess:
		p.notApplicable("there is no connection between the executor and its jobs")
	case sub.sys.Proxy == nil:
		p.lacks("System.Proxy")
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

// recoversSoon reports whether this run of the suite has the time to wait until the
// job of a lost worker runs again.
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

// broke notes a fault in the history. If it disturbs a worker, jobs may run again.
func (s *subject) broke(what string, working bool) {
	e := Event{Kind: EventFault, System: s.system, Text: what}
	if working {
		e.State = "working"
	}
	s.p.hist.add(e)
}

// endFaults ends all faults.
func (s *subject) endFaults() {
	for _, proxy := range s.proxies() {
		if err := proxy.Heal(); err != nil {
			s.p.broken("proxy: %v", err)
		}
	}
	s.p.hist.add(Event{Kind: EventHeal, System: s.system})
}

// heal ends all faults and waits until the executor works again, which must happen
// without a new executor.
func (s *subject) heal() {
	s.endFaults()
	s.insist(s.make(nil))
}

// remembers reports whether the same intent sent again is one job, also after a lost
// connection.
func (s *subject) remembers() bool {
	w := s.caps.IDWindow
	return w.Survives != core.SurvivalNone &&
		(w.Kind == core.WindowStored || w.Kind == core.WindowFixed || w.Kind == core.WindowUnfinished && s.setup.Paused)
}

// insist sends jobs until each is accepted or a duplicate, as a caller that retries
// does. It returns the jobs that were sent last and their outcomes. If the executor
// does not remember IDs, it makes new jobs instead of those of unknown outcome.
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
			s.p.fail("an executor works again when its backend does", "not within %v: %v: %v", s.patience(), o.State, o.Err)
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

// warm sends calls like the one that the check will break, so that what a client does
// only once is done. It returns how many bytes such a call sends. All refs of a check
// have the same length, and so the calls have the same size.
func (s *subject) warm(jobs func() []job) (size int64) {
	for range 3 {
		before := s.sys.Proxy.Stats().RequestBytes
		s.accept(batch, jobs()...)
		size = s.sys.Proxy.Stats().RequestBytes - before
	}
	return size
}

// call is a dispatch that may not have returned.
type call struct {
	s      *subject
	jobs   []job
	cancel context.CancelFunc
	done   chan struct{} // closed when outs and err are set
	outs   []core.Outcome
	err    error
}

// begin dispatches jobs without waiting for the outcomes.
func (s *subject) begin(jobs ...job) *call {
	ctx, cancel := context.WithCancel(s.p.ctx)
	c := &call{s: s, jobs: jobs, cancel: cancel, done: make(chan struct{})}
	go s.p.contain(func() {
		defer close(c.done)
		c.outs, c.err = s.dispatch(ctx, jobs...)
	})
	return c
}

// within waits until the call returns, and reports whether it did in time.
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

// finish waits until the call returns, and cancels it if it does not.
func (c *call) finish() {
	if !c.within(c.s.p.patience() / 2) {
		c.cancelled()
	}
}

// cancelled cancels the call, which must then return.
func (c *call) cancelled() {
	c.cancel()
	limit := c.s.p.patience()
	if !c.within(limit) {
		c.s.p.fail("a call returns when its context is cancelled", "not within %v, in\n%s", limit, c.s.p.stacksOfCalls())
	}
}

// sees waits until the proxy has counted something. It reports false if the call
// returns before.
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

// loseReply loses the backend's reply to the first size bytes of the next call, and
// all later ones. It returns a condition that holds when that has happened.
func (s *subject) loseReply(size int64) func(faultproxy.Stats) bool {
	before := s.sys.Proxy.Stats().LostReplyBytes
	s.broke("lose replies", false)
	s.sys.Proxy.LoseRepliesAfter(size)
	return func(now faultproxy.Stats) bool { return now.LostReplyBytes > before }
}

// balance waits until every accepted job has run, and compares the outcomes with the
// runs.
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
		s.p.fail("no job runs that was reported as not sent or rejected, or that nobody sent", "%d jobs did: %+v", t.Phantom, t)
	case t.StoredTwice > 0:
		s.p.fail("no job runs twice while no worker is disturbed", "%d jobs did: %+v", t.StoredTwice, t)
	}
	return t
}
