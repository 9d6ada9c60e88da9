package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

var optionChecks = []check{
	{id: "P01", level: Core, run: claimIsTrue, cases: optionCases(),
		title: "an option is accepted or refused as declared, in calls with one and with many intents",
		why:   "if an option is ignored silently, a customer notices it first"},
	{id: "P02", level: Core, run: unsetIsDefault, bare: true,
		title: "an option that is not given changes nothing",
		why:   "hidden defaults stop long jobs or retry jobs unexpectedly"},
	{id: "P03", level: Options, run: optionPairs,
		title: "options that are set together are all honoured",
		why:   "if two options use the same field of the backend, the second one overwrites the first"},
	{id: "P05", level: Options, run: granularity, cases: []string{"delay", "timeout", "backoff"},
		title: "durations are kept within the declared granularity: never early, never zero, never infinite",
		why:   "int(d.Seconds()) turns 500 ms into 0 and 1.5 s into 1 s"},
	{id: "P06", level: Options, run: queues,
		title: "a job runs only in a worker that serves its queue",
		why:   "queues separate slow work from quick work"},
	{id: "P24", level: Options, run: queuesApart,
		title: "two queues whose names differ in one byte, or only at the end, are two queues",
		why:   "a name that is cut or changed sends the jobs of one customer to the workers of another"},
	{id: "P07", level: Options, run: priorities, limit: time.Minute,
		title: "jobs of higher priority start first, as strictly as declared",
		why:   "an inverted priority is worse than none"},
	{id: "P20", level: Core, run: checkAgrees,
		title: "the executor refuses exactly what its capabilities refuse",
		why:   "airlock.Require refuses an intent before a transaction commits, so it must be right"},
}

func claimIsTrue(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	name := core.OptionName(p.caseOf)
	claim := s.caps.Options[name]
	for _, m := range modes {
		j := s.make(nil, sampleOption(p, name))
		jobs := []job{j}
		if m == batch {
			jobs = []job{s.make(nil), j, s.make(nil)}
		}
		at := slices.Index(refsOf(jobs), j.ref)
		outs, _ := s.dispatch(p.ctx, jobs...)
		o := outs[at]
		if claim.Support != core.SupportRefused {
			if o.State != core.Accepted {
				p.fail(fmt.Sprintf("option %s is accepted, as declared, %s", name, m), "%v: %v", o.State, o.Err)
			}
			continue
		}
		var oe *core.OptionError
		switch {
		case o.State != core.Rejected || !errors.Is(o.Err, core.ErrUnsupported):
			p.fail(fmt.Sprintf("option %s is rejected with ErrUnsupported, as declared, %s", name, m), "%v: %v", o.State, o.Err)
		case !errors.As(o.Err, &oe) || oe.Option != name || oe.Executor != s.caps.Executor:
			p.fail(fmt.Sprintf("the error names option %s and executor %q", name, s.caps.Executor), "%v", o.Err)
		}
		for i, other := range outs {
			if i != at && other.State != core.NotSent {
				p.fail("the others of a refused call are not sent", "%v", other.State)
			}
		}
	}
	if claim.Support == core.SupportRefused {
		p.refused(string(name))
	}
	if claim.Support == core.SupportNotApplicable && claim.Reason == "" {
		p.fail("a claim of not-applicable has a reason", "option %s has none", name)
	}
}

func unsetIsDefault(p *probe) {
	s := p.open(Setup{})
	for _, m := range modes {
		var ends []time.Time
		jobs := make([]job, 3)
		for i := range jobs {
			jobs[i] = s.make(func(r *run) error {
				if d, ok := r.ctx.Deadline(); ok {
					s.mu.Lock()
					ends = append(ends, d)
					s.mu.Unlock()
				}
				return nil
			})
		}
		began := time.Now()
		s.accept(m, jobs...)
		for _, j := range jobs {
			s.awaitEnd(j, 1, p.patience())
		}
		s.mu.Lock()
		seen := slices.Clone(ends)
		s.mu.Unlock()
		if len(seen) > 0 {
			p.fail("a job without timeout and deadline has none", "its context ends %v after dispatch", seen[0].Sub(began))
		}
		for _, j := range jobs {
			r := s.runsOf(j.ref)[0]
			for k := range r.Job.Headers.All() {
				if len(k) < 8 || k[:8] != "Airlock-" {
					p.fail("a job without headers has none", "%s", k)
				}
			}
			if r.Job.Attempt != 1 {
				p.fail("the first run is attempt 1", "%d", r.Job.Attempt)
			}
			if most := r.Job.MaxAttempts; most != 0 && s.caps.DefaultAttempts != 0 && most != s.caps.DefaultAttempts {
				p.fail(fmt.Sprintf("a job without max-attempts has the declared %d, or does not know", s.caps.DefaultAttempts), "%d", most)
			}
		}
	}
}

// optionPairs sets every pair of honoured options once, and looks at both effects.
func optionPairs(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	var names []core.OptionName
	for _, n := range core.PortableOptions() {
		if s.honours(n) {
			names = append(names, n)
		}
	}
	if len(names) < 2 {
		p.notApplicable("fewer than two options are honoured")
	}
	type pair struct {
		a, b core.OptionName
		job  job
		seen fact
	}
	var pairs []*pair
	wait := max(50*time.Millisecond, s.caps.Options[core.OptionDelay].Granularity)
	for i, a := range names {
		for _, b := range names[i+1:] {
			pr := &pair{a: a, b: b}
			var opts []core.Option
			for _, n := range []core.OptionName{a, b} {
				o := sampleOption(p, n)
				if n == core.OptionDelay {
					o = core.Delay(wait)
				}
				opts = append(opts, o)
			}
			pr.job = s.make(func(r *run) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				pr.seen = factsOf(r)
				return nil
			}, opts...)
			if s.refusesTogether(pr.job) {
				p.logf("%s with %s is refused, as declared", a, b)
				continue
			}
			pairs = append(pairs, pr)
		}
	}
	var jobs []job
	for _, pr := range pairs {
		jobs = append(jobs, pr.job)
	}
	s.accept(single, jobs...)
	for _, pr := range pairs {
		if !s.await(p.patience()+wait, func() bool { return s.count(pr.job.ref) > 0 && len(ended(s.runsOf(pr.job.ref))) > 0 }) {
			p.fail(fmt.Sprintf("a job with %s and %s runs", pr.a, pr.b), "not within %v", p.patience())
		}
		s.mu.Lock()
		seen := pr.seen
		s.mu.Unlock()
		for _, n := range []core.OptionName{pr.a, pr.b} {
			if n != core.OptionBackoff { // needs failures, see P11
				other := pr.a
				if n == pr.a {
					other = pr.b
				}
				s.wantFacts(n, mode("with "+string(other)), pr.job, seen, wait)
			}
		}
	}
}

func granularity(p *probe) {
	s := p.open(Setup{Slots: 8})
	name := core.OptionName(p.caseOf)
	claim := s.need(name)
	if name == core.OptionBackoff && !s.honours(core.OptionMaxAttempts) {
		p.notApplicable("the number of attempts cannot be set")
	}
	slack := p.slack()
	for _, d := range []time.Duration{1, time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond} {
		least, most := d-p.h.Skew, d+claim.Granularity
		what := fmt.Sprintf("%s of %v, with a declared granularity of %v", name, d, claim.Granularity)
		switch name {
		case core.OptionDelay:
			j := s.make(nil, core.Delay(d))
			s.accept(single, j)
			if !s.await(most+p.patience(), func() bool { return s.count(j.ref) > 0 }) {
				p.fail(what+": it runs", "not within %v", most+p.patience())
			}
			at := s.runsOf(j.ref)[0].Began
			if early := j.in.Options.At.Sub(at); early > p.h.Skew {
				p.fail(what+": never early", "%v early", early)
			}
		case core.OptionTimeout:
			longest, unlimited := s.longestTimeout(d)
			if unlimited {
				p.fail(what+": the context has a deadline", "it has none")
			}
			if longest > most || d >= 100*time.Millisecond && longest < d-max(d/4, 20*time.Millisecond) {
				p.fail(what+fmt.Sprintf(": up to %v", most), "the context has %v left", longest)
			}
		case core.OptionBackoff:
			j := s.make(failing, core.MaxAttempts(2), core.Backoff(core.Fixed(d)))
			s.push(single, j)
			runs := s.awaitEnd(j, 2, most+p.patience())
			if gap := runs[1].Began.Sub(runs[0].Ended); gap < least || gap > most+slack {
				p.fail(what+fmt.Sprintf(": %v to %v", least, most+slack), "%v", gap)
			}
		}
	}
}

// longestTimeout sends a few jobs and returns the longest time that one of their
// contexts had left, since a busy machine can only make it shorter. It reports also
// whether a context had no deadline.
func (s *subject) longestTimeout(d time.Duration) (time.Duration, bool) {
	var longest time.Duration // both guarded by s.mu
	var unlimited bool
	var jobs []job
	for range 4 {
		jobs = append(jobs, s.make(func(r *run) error {
			end, ok := r.ctx.Deadline()
			left := time.Until(end)
			s.mu.Lock()
			defer s.mu.Unlock()
			longest, unlimited = max(longest, left), unlimited || !ok
			return nil
		}, core.Timeout(d)))
	}
	s.push(batch, jobs...)
	s.awaitEnd(jobs[0], 1, s.patience())
	s.await(s.p.patience()/10, func() bool { n, _ := s.ran(refsOf(jobs)); return n == len(jobs) })
	s.mu.Lock()
	most, none := longest, unlimited
	s.mu.Unlock()
	return most, none
}

func queues(p *probe) {
	a := p.open(Setup{Queues: []string{"left"}})
	a.need(core.OptionQueue)
	shared := a.caps.Durability == core.DurabilityBroker
	send := func(s *subject, q string) job {
		j := s.make(nil, core.Queue(q))
		s.accept(single, j)
		return j
	}
	if !shared { // one worker serves all queues
		b := p.open(Setup{Queues: []string{"left", "right"}})
		for _, q := range []string{"left", "right"} {
			j := send(b, q)
			b.awaitRuns([]job{j})
			if got := b.runsOf(j.ref)[0].Job.Queue; got != q {
				p.fail("the job's queue is "+q, "%q", got)
			}
		}
		return
	}
	b := p.open(Setup{Queues: []string{"right"}, Namespace: a.setup.Namespace})
	left, right := send(a, "left"), send(b, "right")
	a.awaitRuns([]job{left})
	b.awaitRuns([]job{right})
	crossed := send(a, "right")
	if !b.await(p.patience(), func() bool { return len(b.inherited()) > 0 }) {
		p.fail("a job for the queue right runs in the worker of right, also if another system has sent it", "%s did not", crossed.ref)
	}
	nobody := send(a, "nobody")
	a.hush()
	if a.count(crossed.ref) > 0 || len(a.inherited()) > 0 {
		p.fail("the worker of left runs only jobs of left", "it ran one of right")
	}
	if a.count(nobody.ref) > 0 || len(b.inherited()) > 1 {
		p.fail("a job for a queue that no worker serves waits", "it ran")
	}
	if got := a.runsOf(left.ref)[0].Job.Queue; got != "left" {
		p.fail("the job's queue is left", "%q", got)
	}
}

func priorities(p *probe) {
	s := p.open(Setup{Slots: 1, Paused: true})
	s.need(core.OptionPriority)
	if s.sys.Inline {
		p.notApplicable("no job ever waits")
	}
	levels := []int{1, 5, 10}
	switch {
	case s.caps.PriorityLevels < 3:
		levels = []int{1, 10}
	case s.caps.PriorityLevels == 10 && s.caps.Ranking == core.RankingStrict:
		levels = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	}
	each := 5
	if s.caps.Ranking == core.RankingWeighted {
		each = 300
	}
	var jobs []job
	level := map[string]int{}
	for range each {
		for _, l := range levels {
			j := s.make(nil, core.Priority(l))
			level[j.ref] = l
			jobs = append(jobs, j)
		}
	}
	p.rand.Shuffle(len(jobs), func(a, b int) { jobs[a], jobs[b] = jobs[b], jobs[a] })
	s.accept(batch, jobs...)
	s.start()
	s.awaitRuns(jobs)
	sum := map[int]int{}
	last := levels[len(levels)-1]
	for rank, ref := range s.order() {
		l := level[ref]
		sum[l] += rank
		if s.caps.Ranking == core.RankingStrict && l > last {
			p.fail("a waiting job of a higher priority always starts first", "priority %d after %d", l, last)
		}
		last = l
	}
	for i, l := range levels[1:] {
		if lower := levels[i]; sum[l] >= sum[lower] {
			p.fail("higher priorities start earlier on average", "priority %d: mean rank %d, priority %d: %d", l, sum[l]/each, lower, sum[lower]/each)
		}
	}
}

func checkAgrees(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	for _, j := range s.offers() {
		want := s.caps.Check(j.in)
		o := s.send(single, j)[0]
		if (want == nil) == (o.State == core.Rejected) {
			p.fail(fmt.Sprintf("Capabilities.Check says %v", want), "the executor: %v: %v", o.State, o.Err)
		}
	}
}
