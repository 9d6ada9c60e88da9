package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var wearChecks = []check{
	{id: "L14", level: Options, run: orderOfArrivals, limit: 2 * time.Minute,
		title: "jobs of one queue and priority start in the order of dispatch, also next to running, delayed and more urgent jobs",
		why:   "an order that holds only for a queue at rest does not hold in production"},
	{id: "L15", level: Core, run: wear, limit: 3 * time.Minute,
		title: "a system works after thousands of jobs of every kind as it did at first",
		why:   "what is used up a little with each job is gone after days"},
}

// orderOfArrivals sends jobs of random priorities while one runs, and then while they
// run, with some delayed jobs among them.
func orderOfArrivals(p *probe) {
	s := p.open(Setup{Slots: 1})
	switch {
	case s.sys.Inline:
		p.notApplicable("no job ever waits")
	case s.caps.Order != core.OrderFIFO:
		p.notApplicable("no order is declared")
	case s.slots(1) != 1:
		p.notApplicable("the worker runs several jobs at a time")
	}
	levels := []int{0}
	if s.honours(core.OptionPriority) {
		levels = []int{0, 1, 10}
	}
	level := map[string]int{}
	var all []job
	arrive := func(n int) {
		for n > 0 {
			var jobs []job
			for range min(n, 1+p.rand.IntN(4)) {
				l := levels[p.rand.IntN(len(levels))]
				var opts []core.Option
				if l > 0 {
					opts = append(opts, core.Priority(l))
				}
				j := s.make(nil, opts...)
				level[j.ref] = l
				jobs = append(jobs, j)
			}
			n -= len(jobs)
			all = append(all, jobs...)
			m := modes[p.rand.IntN(len(modes))]
			s.accept(m, jobs...)
			if s.honours(core.OptionDelay) && p.rand.IntN(3) == 0 {
				s.accept(single, s.make(nil, core.Delay(time.Duration(1+p.rand.IntN(50))*time.Millisecond)))
			}
		}
	}
	for range p.rounds(3) {
		open := make(chan struct{})
		first := s.make(p.hold(open))
		s.accept(single, first)
		s.awaitRuns([]job{first})
		arrive(25)
		close(open)
		arrive(25)
		s.awaitRuns(all)
	}
	started := map[int][]string{}
	for _, ref := range s.order() {
		if l, ok := level[ref]; ok {
			started[l] = append(started[l], ref)
		}
	}
	next := map[int]int{}
	for _, j := range all {
		l := level[j.ref]
		if got := started[l][next[l]]; got != j.ref {
			p.fail(fmt.Sprintf("jobs of priority %d (0: none) start in the order of dispatch", l), "number %d of them to start is %s and not %s", next[l], got, j.ref)
		}
		next[l]++
	}
}

// wear sends many jobs of all kinds. That every slot still works is judged at the end
// of every check.
func wear(p *probe) {
	s := p.open(Setup{Slots: 4})
	total, each := 6300, 150
	if !p.bubble {
		total = p.rounds(450)
	}
	soon := []core.Option{}
	if s.honours(core.OptionMaxAttempts) {
		soon = append(soon, core.MaxAttempts(2))
	}
	if s.honours(core.OptionBackoff) {
		soon = append(soon, core.Backoff(s.soon()))
	}
	retries := len(soon) == 2
	unique := s.honours(core.OptionUnique) && !s.sys.Inline
	odd := func(n int) job {
		switch kind := p.rand.IntN(8); {
		case kind == 0 && retries:
			return s.make(func(r *run) error {
				if r.ordinal == 1 {
					return errOnPurpose
				}
				return nil
			}, soon...)
		case kind == 1:
			return s.make(func(*run) error { return worker.Permanent(errOnPurpose) })
		case kind == 2:
			return s.make(func(*run) error { panic("on purpose") }, soon[:min(len(soon), 1)]...)
		case kind == 3 && !s.sys.Inline:
			return s.make(func(r *run) error {
				if r.ordinal == 1 {
					return worker.Snooze(s.soon().Max)
				}
				return nil
			})
		case kind == 4 && s.honours(core.OptionDelay):
			return s.make(nil, core.Delay(time.Millisecond))
		case kind == 5 && unique:
			return s.make(nil, core.Unique(fmt.Sprint("wear-", n)))
		case kind == 6 && s.honours(core.OptionID):
			return s.make(nil, core.ID(fmt.Sprintf("wear-%s-%d", s.setup.Namespace, n)))
		case kind == 7 && s.honours(core.OptionTimeout):
			return s.make(nil, core.Timeout(time.Hour))
		}
		return s.make(nil)
	}
	for sent := 0; sent < total; sent += each {
		jobs := s.makeN(each * 9 / 10)
		s.accept(batch, jobs...)
		for len(jobs) < each {
			j := odd(sent + len(jobs))
			if s.refusesTogether(j) {
				j = s.make(nil)
			}
			s.push(single, j)
			jobs = append(jobs, j)
		}
		s.awaitRuns(jobs)
	}
	if unique {
		open := make(chan struct{})
		s.wantState("the first of a unique key, after many jobs", core.Accepted, s.make(p.hold(open), core.Unique("worn")))
		second := s.make(nil, core.Unique("worn"))
		s.p.mayBeLeft(second, "it is a duplicate")
		s.send(single, second) // P15 looks at the outcome
		close(open)
		s.quiet()
		if n := s.count(second.ref); n > 0 {
			p.fail("the second of a unique key does not run, after many jobs", "%d runs", n)
		}
	}
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" && s.caps.IDWindow.Kind != core.WindowUnfinished {
		id := core.ID("worn-" + s.setup.Namespace)
		s.wantState("the first of an ID, after many jobs", core.Accepted, s.make(nil, id))
		s.wantState("the second of it", core.Duplicate, s.make(nil, id))
	}
	s.quiet()
}
