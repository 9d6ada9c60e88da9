package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

var ownOptionChecks = []check{
	{id: "B08", level: Options, run: largeMixedBatches, bare: true, limit: 2 * time.Minute,
		title: "in large batches in which every job has its own options, each job has its own",
		why:   "code that stores many jobs with one statement puts each option into a list, and a list that is short by one gives every job the options of another"},
}

// largeMixedBatches sends batches of which each job has other options than those
// next to it. What a run gets is compared at the end of every check; here the jobs
// also run in the right queue, not before their time, and once.
func largeMixedBatches(p *probe) {
	queues := []string{"", "conformance", "left", "right"}
	s := p.open(Setup{Queues: queues})
	if !s.honours(core.OptionQueue) {
		queues = queues[:1]
	}
	unit := max(20*time.Millisecond, s.caps.Options[core.OptionDelay].Granularity)
	sizes := []int{p.around(100), p.around(500)}
	if p.bubble {
		sizes = []int{p.around(100), 150 + p.rand.IntN(300), p.around(500), p.around(1000), 1100}
	}
	large := 48 << 10
	if most := s.caps.MaxPayload; most > 0 {
		large = min(large, most/2)
	}
	for round, n := range sizes {
		jobs := make([]job, 0, n)
		for i := range n {
			opts := s.ownOptions(fmt.Sprintf("%d-%d", round, i), queues, unit)
			body := fmt.Sprintf(`"body %d of %d"`, i, round)
			if p.rand.IntN(25) == 0 { // a large one among small ones
				body = `"` + strings.Repeat("x", 1+p.rand.IntN(large)) + body[1:]
			}
			j := s.makeBody(nil, []byte(body), opts...)
			if s.caps.Check(j.in) != nil { // two of its options exclude each other
				j = s.make(nil)
			}
			jobs = append(jobs, j)
		}
		s.accept(batch, jobs...)
		s.patient = p.patience() + 4*unit + s.caps.Options[core.OptionDelay].Granularity
		s.awaitRuns(jobs)
		p.wantAsSent()
	}
	s.quiet()
	p.wantAsSent()
	s.ownBackoffs()
}

// wantAsSent ends the check if a run was not as it was sent.
func (p *probe) wantAsSent() {
	if found := p.sent.found(); len(found) > 0 {
		p.fail("each job of a large batch has its own options", "%d differ, first %s", len(found), found[0])
	}
}

// ownOptions draws options that differ from those of other jobs, from what the
// executor honours.
func (s *subject) ownOptions(name string, queues []string, unit time.Duration) (opts []core.Option) {
	p := s.p
	has := func(n core.OptionName, percent int) bool { return s.honours(n) && p.rand.IntN(100) < percent }
	within := func(n core.OptionName, d time.Duration) time.Duration { return farther(s.caps.Options[n], d) }
	if has(core.OptionQueue, 70) {
		if q := queues[p.rand.IntN(len(queues))]; q != "" {
			opts = append(opts, core.Queue(q))
		}
	}
	if has(core.OptionDelay, 40) {
		opts = append(opts, core.Delay(within(core.OptionDelay, unit+time.Duration(p.rand.Int64N(int64(3*unit))))))
	}
	if has(core.OptionPriority, 50) {
		opts = append(opts, core.Priority(1+p.rand.IntN(10)))
	}
	if has(core.OptionMaxAttempts, 50) {
		most := 1000
		if m := s.caps.Options[core.OptionMaxAttempts].Most; m > 0 {
			most = min(most, m)
		}
		opts = append(opts, core.MaxAttempts(1+p.rand.IntN(most)))
	}
	if has(core.OptionTimeout, 50) {
		opts = append(opts, core.Timeout(within(core.OptionTimeout, time.Hour+time.Duration(p.rand.IntN(3600))*time.Second)))
	}
	if has(core.OptionDeadline, 50) {
		opts = append(opts, core.Deadline(time.Now().Add(within(core.OptionDeadline, 20*time.Hour+time.Duration(p.rand.IntN(3600))*time.Second))))
	}
	if has(core.OptionID, 40) {
		opts = append(opts, core.ID(fmt.Sprintf("%s-own-%s", s.setup.Namespace, name)))
	}
	if has(core.OptionUnique, 30) {
		opts = append(opts, core.Unique("own-"+name))
	}
	if has(core.OptionHeader, 60) {
		for i := range 1 + p.rand.IntN(3) {
			opts = append(opts, core.Header(fmt.Sprintf("Own-%d", p.rand.IntN(9)), fmt.Sprintf("%d of %s", i, name)))
		}
	}
	return opts
}

// telling returns one value of each option that a handler can see, and that the
// executor takes.
func (s *subject) telling() []core.Option {
	hour := func(n core.OptionName) time.Duration { return farther(s.caps.Options[n], time.Hour) }
	var opts []core.Option
	for _, opt := range []core.Option{
		core.Queue("conformance"), core.Header("Told", "value"), core.Timeout(hour(core.OptionTimeout)), core.MaxAttempts(3),
	} {
		if !s.excludes(append(opts, opt)...) {
			opts = append(opts, opt)
		}
	}
	return opts
}

// ownBackoffs sends a call in which every second job has a long backoff. The others,
// which have none, are tried again by the executor's own.
func (s *subject) ownBackoffs() {
	p := s.p
	far := s.far(core.OptionBackoff)
	const soonEnough = 10 * time.Second
	if !s.retries() || s.sys.Inline || far < 2*p.retryWithin() || !p.bubble && p.h.RetryWithin > soonEnough {
		return
	}
	var without, with []job
	var all []job
	for range 5 {
		failOnce := func(r *run) error {
			if r.ordinal == 1 {
				return errOnPurpose
			}
			return nil
		}
		a := s.make(failOnce, core.MaxAttempts(3), core.Backoff(core.Fixed(far)))
		b := s.make(failOnce, core.MaxAttempts(3))
		with, without, all = append(with, a), append(without, b), append(all, a, b)
	}
	s.accept(batch, all...)
	for _, j := range without {
		s.awaitEnd(j, 2, 2*p.retryWithin())
	}
	for _, j := range with {
		if n := len(s.awaitEnd(j, 1, s.patience())); s.count(j.ref) != n {
			p.fail(fmt.Sprintf("a job that is next to others without a backoff waits for its own, %v", far), "%d runs", s.count(j.ref))
		}
	}
}
