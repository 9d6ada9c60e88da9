package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var staleChecks = []check{
	{id: "F13", level: Faults, run: staleOwner, limit: 2 * time.Minute,
		title: "a worker that was frozen for longer than its lease decides nothing about jobs that another worker has",
		why:   "work that is done must not be done again, and work that is being done must not be ended, by a worker that has lost it"},
}

// lostJob is a job that the first worker has begun and lost to the second one.
type lostJob struct {
	what    string
	job     job
	running bool // the second worker still runs it when the first one answers
	fails   bool // and then fails, and the job must run a third time
}

// longBackoff is not too long to be waited for: some backends also wait for so long
// after a worker was lost.
const longBackoff = 3 * time.Second

// staleOwner freezes a worker until another one has its jobs. Then the handlers of the
// first one return, each in another way.
func staleOwner(p *probe) {
	var answers = []struct {
		what   string
		answer error
		opts   []core.Option
	}{
		{"success", nil, nil},
		{"failure", errOnPurpose, nil},
		{"failure with a long backoff", errOnPurpose, []core.Option{core.Backoff(core.Fixed(longBackoff))}},
		{"Permanent", worker.Permanent(errOnPurpose), nil},
		{"Snooze", worker.Snooze(time.Second), nil},
	}
	const each = 3 // the second worker is done, still runs, and still runs and then fails
	setup := Setup{Slots: each * len(answers), Freezes: true}
	first := p.open(setup)
	switch {
	case first.sys.Inline || first.caps.Durability == core.DurabilityProcess:
		p.notApplicable("jobs do not survive their process")
	case first.caps.Delivery != core.GuaranteeAtLeastOnce:
		p.notApplicable("%s is declared", first.caps.Delivery)
	case first.sys.Freeze == nil:
		p.lacks("System.Freeze")
	case first.sys.Stop == nil:
		p.lacks("System.Stop")
	}
	p.affords("the recovery of a frozen worker's jobs", p.h.RecoversWithin)
	thawed, open := make(chan struct{}), make(chan struct{})
	late := func(answer error) handler {
		return func(r *run) error {
			if r.ordinal > 1 {
				return nil
			}
			select { // and not at the end of the context
			case <-thawed:
			case <-p.decided:
			}
			return answer
		}
	}
	var all []lostJob
	for _, a := range answers {
		for k := range each {
			opts := a.opts
			if first.honours(core.OptionMaxAttempts) {
				opts = append(opts, core.MaxAttempts(9))
			}
			if a.opts == nil && first.honours(core.OptionBackoff) {
				opts = append(opts, core.Backoff(first.soon()))
			}
			if a.opts != nil && !first.honours(core.OptionBackoff) {
				opts = opts[1:]
			}
			j := lostJob{a.what, first.make(late(a.answer), opts...), k > 0, k == 2 && a.answer != nil && a.opts == nil}
			all = append(all, j)
		}
	}
	all = all[:min(len(all), first.slots(setup.Slots))]
	jobs := make([]job, len(all))
	for i := range all {
		jobs[i] = all[i].job
	}
	first.accept(batch, jobs...)
	first.awaitRuns(jobs)

	p.hist.add(Event{Kind: EventFault, Text: "a worker is frozen", State: "working"})
	thaw, err := first.sys.Freeze()
	if err != nil {
		p.broken("harness: System.Freeze: %v", err)
	}
	setup.Namespace = first.setup.Namespace
	second := p.openFor(setup, func(l *ledger) {
		for _, j := range all {
			l.expect(j.job.ref, j.job.in, func(r *run) error {
				if !j.running || r.ordinal > 1 {
					return nil
				}
				err := p.hold(open)(r)
				if j.fails {
					return errOnPurpose
				}
				return err
			})
		}
	}, nil)
	if !second.awaitAll(p.recoverWithin()+longBackoff, len(jobs), second.countRuns(jobs)) {
		n, missing := second.ran(refsOf(jobs))
		p.fail("the jobs of a frozen worker run in another one", "%d of %d do, and %s does not", n, len(jobs), missing)
	}
	for _, j := range all {
		if !j.running {
			second.awaitEnd(j.job, 1, p.patience())
		}
	}
	p.sleep(p.settle() / 2) // the second worker's answers are sent in this time

	if err := thaw(); err != nil {
		p.broken("harness: the function of System.Freeze: %v", err)
	}
	close(thawed)
	for _, j := range jobs {
		first.awaitEnd(j, 1, p.patience())
	}
	wait := longBackoff + p.settle()/2 + max(first.caps.Options[core.OptionDelay].Granularity, first.caps.Options[core.OptionBackoff].Granularity)
	p.sleep(wait)
	times := func(j lostJob) int { return first.count(j.job.ref) + second.count(j.job.ref) }
	for _, j := range all {
		if n := times(j); n != 2 {
			p.fail(fmt.Sprintf("a %s of the worker that has lost its job changes nothing, while the other one has it (running: %v)", j.what, j.running), "%d runs", n)
		}
	}
	if p.witness("jobs lost to another worker", len(all)); second.sys.Stored != nil {
		second.stillStored(all)
	}
	close(open)
	for _, j := range all {
		second.awaitEnd(j.job, 1, p.patience())
		for end := time.Now().Add(p.retryWithin() + wait); j.fails && times(j) < 3; p.sleep(p.settle() / 20) { // either may run it
			if time.Now().After(end) {
				p.fail("a failure of the worker that has the job counts, after a "+j.what+" of one that has lost it", "%d runs", times(j))
			}
		}
	}
	p.sleep(wait)
	for _, j := range all {
		if n := times(j); n != 2 && !j.fails || n != 3 && j.fails {
			p.fail("a job that is done does not run again, after a "+j.what+" of a worker that had lost it", "%d runs, the other worker fails: %v", n, j.fails)
		}
	}
	second.allFinished(all)
	first.stop() // or it would run the job of quiet
	second.quiet()
}

// stillStored fails if a job that the second worker runs is not stored as running, and
// if one that it has done is not done.
func (s *subject) stillStored(all []lostJob) {
	states := map[string]RecordState{}
	for _, r := range s.records() {
		states[r.ID] = r.State
	}
	for _, j := range all {
		state, stored := states[j.job.in.ID]
		switch {
		case j.what == "success" && j.running: // the work is done, and may count as done
		case j.running && state != Running && state != Waiting: // some backends store both in one place
			s.p.fail(fmt.Sprintf("a job that another worker runs is stored, after a %s of one that has lost it", j.what), "stored: %v, %s", stored, state)
		case !j.running && stored && state != Finished:
			s.p.fail(fmt.Sprintf("a job that another worker has done stays done, after a %s of one that has lost it", j.what), "it is %s", state)
		}
	}
}

// allFinished waits until each job is stored as done, or is not stored any more.
func (s *subject) allFinished(all []lostJob) {
	if s.sys.Stored == nil {
		return
	}
	open := func() string {
		for _, r := range s.records() {
			for _, j := range all {
				if r.ID == j.job.in.ID && r.State != Finished {
					return fmt.Sprintf("that of a %s is %s", j.what, r.State)
				}
			}
		}
		return ""
	}
	s.awaitFunc("jobs that were done by the worker that had them are stored as done", open)
}
