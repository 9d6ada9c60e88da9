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
		title: "an option is accepted or refused as declared, loudly, in a call of one and in a batch",
		why:   "an option that is silently ignored is found by the customer whose reminder came at once"},
	{id: "P02", level: Core, run: unsetIsDefault,
		title: "an option that is not given changes nothing",
		why:   "hidden defaults cut off long jobs and try others twice"},
	{id: "P03", level: Options, run: optionPairs,
		title: "options given together all hold",
		why:   "the second one overwrites the first where both use one field of the backend"},
	{id: "P05", level: Options, run: granularity, cases: []string{"delay", "timeout", "backoff"},
		title: "durations hold within the claimed granularity: never early, never zero, never for ever",
		why:   "int(d.Seconds()) makes 500ms none and 1.5s one"},
	{id: "P06", level: Options, run: queues,
		title: "a job runs where its queue is worked, and nowhere else",
		why:   "queues keep slow work from quick work"},
	{id: "P07", level: Options, run: priorities, limit: time.Minute,
		title: "jobs of higher priority start first, as strictly as claimed",
		why:   "an inverted priority is worse than none, and a clamped one a surprise"},
	{id: "P20", level: Core, run: checkAgrees,
		title: "the executor refuses exactly what its capabilities refuse",
		why:   "airlock.Require refuses before a transaction commits; it must not be wrong either way"},
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
		if claim.Support != core.Refused {
			if o.State != core.Accepted {
				p.fail(fmt.Sprintf("option %s is accepted, as claimed, %s", name, m), "%v: %v", o.State, o.Err)
			}
			continue
		}
		var oe *core.OptionError
		switch {
		case o.State != core.Rejected || !errors.Is(o.Err, core.ErrUnsupported):
			p.fail(fmt.Sprintf("option %s is rejected with ErrUnsupported, as claimed, %s", name, m), "%v: %v", o.State, o.Err)
		case !errors.As(o.Err, &oe) || oe.Option != name || oe.Executor != s.caps.Executor:
			p.fail(fmt.Sprintf("the error names option %s and executor %q", name, s.caps.Executor), "%v", o.Err)
		}
		for i, other := range outs {
			if i != at && other.State != core.NotSent {
				p.fail("the others of a refused call are not sent", "%v", other.State)
			}
		}
	}
	if claim.Support == core.Refused {
		p.refused(string(name))
	}
	if claim.Support == core.NotApplicable && claim.Reason == "" {
		p.fail("a claim of not-applicable gives its reason", "option %s has none", name)
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

// optionPairs sets every pair of honoured options once and looks at both.
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
			if n != core.OptionBackoff { // needs failures: P11
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
		what := fmt.Sprintf("%s of %v, claimed to hold to %v", name, d, claim.Granularity)
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

// longestTimeout sends a few jobs and returns the most time that the context of
// one of them had left: a busy machine makes it shorter, never longer.
func (s *subject) longestTimeout(d time.Duration) (time.Duration, bool) {
	var longest time.Duration // guarded by the ledger's lock, as is the next
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
	shared := a.caps.Durability == core.InBroker
	send := func(s *subject, q string) job {
		j := s.make(nil, core.Queue(q))
		s.accept(single, j)
		return j
	}
	if !shared { // one worker has all queues: each job knows its own
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
	// What a job of one system is to the other's ledger is a phantom, so its
	// jobs are told apart by who ran them.
	left, right := send(a, "left"), send(b, "right")
	a.awaitRuns([]job{left})
	b.awaitRuns([]job{right})
	crossed := send(a, "right")
	if !b.await(p.patience(), func() bool { return len(b.phantoms()) > 0 }) {
		p.fail("a job for the queue right runs in the worker of right, whoever sent it", "%s did not", crossed.ref)
	}
	nobody := send(a, "nobody")
	a.hush()
	if a.count(crossed.ref) > 0 || len(a.phantoms()) > 0 {
		p.fail("the worker of left runs jobs of left alone", "it ran one of right")
	}
	if a.count(nobody.ref) > 0 || len(b.phantoms()) > 1 {
		p.fail("a job for a queue that nobody works waits", "it ran")
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
	case s.caps.PriorityLevels == 10 && s.caps.Ranking == core.Strict:
		levels = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	}
	each := 5
	if s.caps.Ranking == core.Weighted {
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
	if !s.await(3*p.patience(), func() bool { n, _ := s.ran(refsOf(jobs)); return n == len(jobs) }) {
		s.awaitRuns(jobs)
	}
	sum := map[int]int{}
	last := levels[len(levels)-1]
	for rank, ref := range s.order() {
		l := level[ref]
		sum[l] += rank
		if s.caps.Ranking == core.Strict && l > last {
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
	jobs := []job{s.make(nil), s.make(nil, core.NativeOption("conformance-stranger", 1)), s.make(nil, core.Priority(1)), s.make(nil, core.Priority(10))}
	for _, b := range s.badJobs() {
		jobs = append(jobs, b.job)
	}
	for _, name := range core.PortableOptions() {
		jobs = append(jobs, s.make(nil, sampleOption(p, name)))
		claim := s.caps.Options[name]
		if most := claim.Most; most > 0 && name == core.OptionMaxAttempts {
			jobs = append(jobs, s.make(nil, core.MaxAttempts(most)), s.make(nil, core.MaxAttempts(most+1)))
		}
		if longest := claim.Longest; longest > 0 && name == core.OptionDelay {
			jobs = append(jobs, s.make(nil, core.Delay(longest+time.Hour)))
		}
	}
	for _, j := range jobs {
		want := s.caps.Check(j.in)
		o := s.send(single, j)[0]
		if (want == nil) == (o.State == core.Rejected) {
			p.fail(fmt.Sprintf("Capabilities.Check says %v", want), "the executor: %v: %v", o.State, o.Err)
		}
	}
}
