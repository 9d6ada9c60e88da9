package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var batchChecks = []check{
	{id: "B01", level: Core, run: everyBatchSize,
		title: "every intent of a batch runs, for every size of batch",
		why:   "code that splits batches can lose the last element unnoticed"},
	{id: "B02", level: Core, run: badAmongGood,
		title: "if an intent is refused, nothing of its call is sent, and the outcomes say which intent it was",
		why:   "the caller sends the other intents again; with a wrong outcome they run twice or never"},
	{id: "B03", level: Options, run: batchLikeSingle, cases: optionCases(),
		title: "an option means the same in a batch as in a call with one intent",
		why:   "the code for batches is often written later and forgets options"},
	{id: "B04", level: Options, run: keyTwiceInBatch, cases: []string{"id", "unique"},
		title: "the same key twice in one batch has the same outcomes as in two calls",
		why:   "an INSERT of many rows can fail, or store duplicates, where single INSERTs do not"},
}

func everyBatchSize(p *probe) {
	s := p.open(Setup{})
	for _, n := range []int{1, 2, 7, 100, 1001} {
		jobs := s.makeN(n)
		s.accept(batch, jobs...)
		s.awaitRuns(jobs)
	}
}

func badAmongGood(p *probe) {
	s := p.open(Setup{})
	var good, bad []job
	kinds := len(s.badJobs())
	for k := range kinds {
		for _, at := range []int{0, 2, 4} {
			b := s.badJobs()[k]
			jobs := s.makeN(4)
			good, bad = append(good, jobs...), append(bad, b.job)
			jobs = slices.Insert(jobs, at, b.job)
			s.wantRefusal(b, at, jobs)
		}
	}
	// Two bad intents are both reported.
	list := s.badJobs()
	first, last := list[0], list[kinds-1]
	jobs := []job{first.job, s.make(nil), last.job}
	bad, good = append(bad, first.job, last.job), append(good, jobs[1])
	outs, _ := s.dispatch(p.ctx, jobs...)
	for i, o := range outs {
		if want := map[bool]core.State{true: core.NotSent, false: core.Rejected}[i == 1]; o.State != want {
			p.fail(fmt.Sprintf("two refused intents of three: the outcome of number %d is %v", i, want), "%v: %v", o.State, o.Err)
		}
	}
	s.quiet()
	for _, j := range append(bad, good...) {
		if n := s.count(j.ref); n > 0 {
			p.fail("nothing of a refused call runs", "%s ran %d times", j.ref, n)
		}
	}
}

func (s *subject) wantRefusal(b badJob, at int, jobs []job) {
	outs, err := s.dispatch(s.p.ctx, jobs...)
	var de *core.DispatchError
	if !errors.As(err, &de) || len(de.Outcomes) != len(jobs) {
		s.p.fail(fmt.Sprintf("a *DispatchError with %d outcomes for %s at %d", len(jobs), b.what, at), "%T: %v", err, err)
	}
	for i, o := range outs {
		switch {
		case i == at && (o.State != core.Rejected || !errors.Is(o.Err, b.want)):
			s.p.fail(fmt.Sprintf("%s at %d is rejected as %v", b.what, at, b.want), "%v: %v", o.State, o.Err)
		case i != at && o.State != core.NotSent:
			s.p.fail(fmt.Sprintf("%s at %d: number %d is not sent", b.what, at, i), "%v: %v", o.State, o.Err)
		}
	}
}

// batchLikeSingle has one case for each option. It looks at the option's effect in a
// batch whose other intents do not have it.
func batchLikeSingle(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	name := core.OptionName(p.caseOf)
	claim := s.need(name)
	if name == core.OptionPriority || s.sys.Inline && name == core.OptionUnique {
		p.notApplicable("its effect is not visible in a batch: see P07 and P15")
	}
	for _, m := range []mode{single, batch} {
		plain := s.makeN(2)
		opt := sampleOption(p, name)
		wait := max(claim.Granularity, 50*time.Millisecond)
		plan := handler(nil)
		switch name {
		case core.OptionDelay:
			opt = core.Delay(wait)
		case core.OptionBackoff:
			opt = core.Backoff(core.Fixed(wait))
			plan = failing
		case core.OptionMaxAttempts:
			opt = core.MaxAttempts(2)
		case core.OptionUnique:
			plan = func(r *run) error { p.sleepIn(r, p.settle()/2); return nil }
		}
		opts := []core.Option{opt}
		if name == core.OptionBackoff && s.honours(core.OptionMaxAttempts) {
			opts = append(opts, core.MaxAttempts(2))
		}
		var seen []fact // guarded by s.mu
		first := func() (f fact, ok bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(seen) == 0 {
				return f, false
			}
			return seen[0], true
		}
		j := s.make(func(r *run) error {
			s.mu.Lock()
			seen = append(seen, factsOf(r))
			s.change()
			s.mu.Unlock()
			if plan != nil {
				return plan(r)
			}
			return nil
		}, opts...)
		jobs := []job{plain[0], j, plain[1]}
		if m == single {
			jobs = []job{plain[0], plain[1], j}
		}
		s.push(m, jobs...)
		if name == core.OptionUnique {
			again := s.make(nil, opt)
			if o := s.send(m, again)[0]; o.State != core.Duplicate && s.count(j.ref) > 0 && len(ended(s.runsOf(j.ref))) == 0 {
				p.fail("the second of a unique key is a duplicate, first sent by "+string(m), "%v: %v", o.State, o.Err)
			}
		}
		if !s.await(p.patience()+claim.Granularity, func() bool { _, ok := first(); return ok }) {
			p.fail("the job runs, "+string(m), "not within %v", p.patience())
		}
		facts, _ := first()
		s.wantFacts(name, m, j, facts, wait)
	}
}

func (p *probe) sleepIn(r *run, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done():
	case <-p.decided:
	}
}

// fact is what a handler sees of the options of its job.
type fact struct {
	job      worker.Job
	at       time.Time
	deadline time.Time
}

func factsOf(r *run) fact {
	d, _ := r.ctx.Deadline()
	return fact{r.Job, r.Began, d}
}

func (s *subject) wantFacts(name core.OptionName, m mode, j job, f fact, wait time.Duration) {
	p, o := s.p, j.in.Options
	how := fmt.Sprintf("option %s, %s: ", name, m)
	claim := s.caps.Options[name]
	switch name {
	case core.OptionQueue:
		if f.job.Queue != o.Queue {
			p.fail(how+o.Queue, "%q", f.job.Queue)
		}
	case core.OptionDelay:
		if f.at.Before(o.At.Add(-p.h.Skew)) {
			p.fail(how+"not before "+o.At.String(), "%v too early", o.At.Sub(f.at))
		}
	case core.OptionMaxAttempts:
		if f.job.MaxAttempts != o.MaxAttempts {
			p.fail(how+fmt.Sprint(o.MaxAttempts), "%d", f.job.MaxAttempts)
		}
	case core.OptionBackoff:
		if s.caps.DefaultAttempts < 2 && !s.honours(core.OptionMaxAttempts) {
			return
		}
		runs := s.awaitEnd(j, 2, wait+claim.Granularity+p.retryWithin())
		gap := runs[1].Began.Sub(runs[0].Ended)
		if gap < wait-p.h.Skew || gap > wait+claim.Granularity+p.slack() {
			p.fail(how+wait.String()+" between attempts", "%v", gap)
		}
	case core.OptionTimeout:
		if f.deadline.IsZero() || f.deadline.After(f.at.Add(o.Timeout+claim.Granularity)) {
			p.fail(how+"the context ends within "+o.Timeout.String(), "its deadline is %v", f.deadline)
		}
	case core.OptionDeadline:
		if f.deadline.IsZero() || f.deadline.After(o.Deadline.Add(claim.Granularity+p.h.Skew)) {
			p.fail(how+"the context ends by "+o.Deadline.String(), "its deadline is %v", f.deadline)
		}
	case core.OptionID:
		if f.job.ID != j.in.ID {
			p.fail(how+j.in.ID, "%s", f.job.ID)
		}
	case core.OptionHeader:
		if got := f.job.Headers.Get("Color"); got != "red" {
			p.fail(how+"red", "%q", got)
		}
	}
}

func keyTwiceInBatch(p *probe) {
	s := p.open(Setup{Paused: true})
	name := core.OptionName(p.caseOf)
	s.need(name)
	if name == core.OptionID && s.caps.IDWindow.Kind == "" {
		p.notApplicable("IDs are not remembered")
	}
	if s.sys.Inline && (name == core.OptionUnique || s.caps.IDWindow.Kind == core.WindowUnfinished) {
		p.notApplicable("each job has finished before the next is looked at")
	}
	var all []job
	for _, n := range []int{2, 50} {
		opt := sampleOption(p, name)
		jobs := s.makeN(n, opt)
		outs, _ := s.dispatch(p.ctx, jobs...)
		for i, o := range outs {
			if want := map[bool]core.State{true: core.Accepted, false: core.Duplicate}[i == 0]; o.State != want {
				p.fail(fmt.Sprintf("%d of one %s in a batch: number %d is %v", n, name, i, want), "%v: %v", o.State, o.Err)
			}
		}
		all = append(all, jobs[0])
	}
	s.start()
	s.awaitRuns(all)
	s.quiet()
	if t := tally(p.hist.all()); t.Ran > len(all)+1 {
		p.fail(fmt.Sprintf("%d jobs run", len(all)), "%d", t.Ran-1)
	}
}
