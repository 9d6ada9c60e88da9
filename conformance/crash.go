package conformance

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var crashChecks = []check{
	{id: "F12", level: Faults, run: killedRunCounts, limit: time.Minute,
		title: "a run whose worker was killed is an attempt, and the last one is the end",
		why:   "a job that kills its process must not do so forever"},
}

func killedRunCounts(p *probe) {
	killedRun(p, 2, func(next *subject, again func() []int) {
		for end := time.Now().Add(p.recoverWithin()); len(again()) == 0; p.sleep(p.settle() / 10) {
			if time.Now().After(end) {
				p.fail("a job with an attempt left runs again after its worker was killed", "not within %v", p.recoverWithin())
			}
		}
		if got := again(); got[0] != 2 {
			p.fail("the run after the killed one is attempt 2", "attempt %d", got[0])
		}
	})
	killedRun(p, 1, func(next *subject, again func() []int) {
		if next.sys.Stored == nil {
			p.sleep(p.scaled(p.h.RecoversWithin))
		} else {
			next.awaitBuried(p.recoverWithin())
		}
		next.quiet()
		if got := again(); len(got) > 0 {
			p.fail("a job in its only attempt does not run again after its worker was killed", "it ran as attempts %v", got)
		}
	})
}

// killedRun kills the worker of a job that may run so often, starts the next worker,
// and calls judge with what returns the attempts that the job then had.
func killedRun(p *probe, most int, judge func(next *subject, again func() []int)) {
	s := p.open(Setup{Slots: 1})
	s.need(core.OptionMaxAttempts)
	switch {
	case s.sys.Inline || s.caps.Durability == core.DurabilityProcess:
		p.notApplicable("jobs do not outlive their process")
	case s.caps.Delivery != core.GuaranteeAtLeastOnce:
		p.notApplicable("%s is claimed", s.caps.Delivery)
	case s.sys.Kill == nil:
		p.lacks("System.Kill")
	}
	p.affords("the recovery of a killed worker's job", p.h.RecoversWithin)
	never := make(chan struct{})
	j := s.make(p.hold(never), core.MaxAttempts(most))
	s.accept(single, j)
	s.awaitRuns([]job{j})
	p.hist.add(Event{Kind: EventFault, Text: "kill", State: "working"})
	if err := s.sys.Kill(); err != nil {
		p.broken("harness: System.Kill: %v", err)
	}
	p.witness("killed in a handler", 1)
	var mu sync.Mutex
	var attempts []int
	next := p.openWith(Setup{Namespace: s.setup.Namespace}, func(ctx context.Context, next func(context.Context) error) error {
		if run, ok := worker.JobFrom(ctx); ok && run.ID == j.in.ID {
			mu.Lock()
			attempts = append(attempts, run.Attempt)
			mu.Unlock()
		}
		return next(ctx)
	})
	p.hist.add(Event{Kind: EventHeal})
	judge(next, func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(attempts)
	})
}

// awaitBuried waits until the only job of the namespace is with the dead.
func (s *subject) awaitBuried(within time.Duration) {
	for end := time.Now().Add(within); ; s.p.sleep(s.p.settle() / 10) {
		records := s.records()
		if slices.ContainsFunc(records, func(r Record) bool { return r.State == Buried }) {
			return
		}
		if time.Now().After(end) {
			s.p.fail("a job that was killed in its only attempt is kept with the dead", "stored is %v", records)
		}
	}
}
