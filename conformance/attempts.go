package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var attemptChecks = []check{
	{id: "P04", level: Options, run: permanentEnds,
		title: "a permanent failure ends the job immediately",
		why:   "a job that cannot succeed must not be retried for hours"},
	{id: "P10", level: Options, run: maxAttempts,
		title: "with MaxAttempts(n) a failing job runs n times, numbered from 1",
		why:   "n runs are not n retries, and MaxAttempts(1) means that a job must not run again"},
	{id: "P11", level: Options, run: backoff,
		title: "the time between attempts is that of the backoff",
		why:   "too many retries at once take down a service that has just recovered"},
	{id: "P13", level: Options, run: timeout, limit: time.Minute,
		title: "the context of each attempt ends at the timeout, which starts anew with each attempt",
		why:   "otherwise a call that hangs blocks a worker forever"},
	{id: "P14", level: Options, run: deadline, limit: time.Minute,
		title: "after its deadline a job is neither started nor retried",
		why:   "a reminder after the event is worse than none"},
	{id: "P18", level: Options, run: snooze, limit: time.Minute,
		title: "a snoozed job runs again later and has used no attempt",
		why:   "a job that waits for something has not failed"},
	{id: "P21", level: Options, run: defaultAttempts, limit: 3 * time.Minute,
		title: "a failing job without MaxAttempts runs as often as declared, which is 25 times on a queue",
		why:   "most jobs set no limit, and one that can never succeed must not run forever"},
}

// soon returns the shortest backoff that the executor can keep.
func (s *subject) soon() core.BackoffPolicy {
	return core.Fixed(max(s.caps.Options[core.OptionBackoff].Granularity, 2*time.Millisecond))
}

// tries returns the options for a job that runs n times if it fails, with a short
// backoff if that can be set, and how long all runs may take. It ends the check if a
// job cannot run so often.
func (s *subject) tries(n int) (opts []core.Option, within time.Duration) {
	within = s.p.retryWithin()
	switch {
	case s.honours(core.OptionMaxAttempts):
		opts = append(opts, core.MaxAttempts(n))
	case s.caps.DefaultAttempts < n:
		s.p.notApplicable("a job is tried %d times by default, and max-attempts is %s",
			s.caps.DefaultAttempts, supportOf(s.caps, core.OptionMaxAttempts))
	}
	if s.honours(core.OptionBackoff) {
		opts = append(opts, core.Backoff(s.soon()))
		within = s.soon().Max + s.p.patience()
	}
	return opts, time.Duration(n) * within
}

func supportOf(caps core.Capabilities, name core.OptionName) string {
	if s := caps.Options[name].Support; s != core.SupportRefused {
		return string(s)
	}
	return "refused"
}

func attemptsEqual(p *probe) {
	s := p.open(Setup{Queues: []string{"", "conformance"}})
	opts, within := s.tries(3)
	if s.takes(core.OptionQueue) {
		opts = append(opts, core.Queue("conformance"))
	}
	if s.honours(core.OptionHeader) {
		opts = append(opts, core.Header("Color", "red"), core.Header("Empty", ""))
	}
	failTwice := func(r *run) error {
		if r.ordinal < 3 {
			return errOnPurpose
		}
		return nil
	}
	j := s.makeBody(failTwice, []byte(`{"keep":[1,2,"three"]}`), opts...)
	s.push(single, j)
	runs := s.awaitEnd(j, 3, within)
	want := maps.Collect(j.in.Headers().All())
	for i, r := range runs[:3] {
		what := fmt.Sprintf("run %d", i+1)
		switch first := runs[0]; {
		case !bytes.Equal(r.Body, first.Body) || len(r.Body) == 0:
			p.fail("every attempt has the payload: "+show(first.Body), "%s: %s", what, show(r.Body))
		case r.Job.ID != first.Job.ID:
			p.fail("every attempt has the same ID: "+first.Job.ID, "%s: %q", what, r.Job.ID)
		case r.Job.Task != first.Job.Task || r.Job.Queue != first.Job.Queue || r.Job.MaxAttempts != first.Job.MaxAttempts:
			p.fail(fmt.Sprintf("every attempt is %+v", first.Job), "%s: %+v", what, r.Job)
		}
		got := maps.Collect(r.Job.Headers.All())
		for k, v := range want {
			if g, ok := got[k]; !ok || g != v {
				p.fail(fmt.Sprintf("every attempt has header %s: %q", k, v), "%s: %q, %v", what, g, ok)
			}
		}
	}
	s.largeInEveryAttempt(failTwice, opts, within)
}

func permanentEnds(p *probe) {
	s := p.open(Setup{})
	opts, _ := s.tries(3)
	wrapped := func(*run) error {
		return fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", worker.Permanent(errOnPurpose)))
	}
	j := s.make(wrapped, opts...)
	s.push(single, j)
	s.awaitEnd(j, 1, p.patience())
	control := s.make(failing, opts...) // shows that there was time for retries
	s.push(single, control)
	s.awaitEnd(control, 3, 3*p.retryWithin())
	s.quiet()
	if n := s.count(j.ref); n != 1 {
		p.fail("one run of a job that failed for good", "%d runs", n)
	}
}

func maxAttempts(p *probe) {
	s := p.open(Setup{})
	s.need(core.OptionMaxAttempts)
	within := p.retryWithin()
	for _, n := range []int{1, 2, 5} {
		opts := []core.Option{core.MaxAttempts(n)}
		if s.honours(core.OptionBackoff) {
			opts = append(opts, core.Backoff(s.soon()))
		}
		j := s.make(failing, opts...)
		s.push(single, j)
		s.awaitEnd(j, n, time.Duration(n)*within)
		s.quiet()
		if !s.honours(core.OptionBackoff) {
			p.sleep(p.h.RetryWithin)
		}
		runs := s.runsOf(j.ref)
		if len(runs) != n {
			p.fail(fmt.Sprintf("%d runs for max attempts %d", n, n), "%d", len(runs))
		}
		for i, r := range runs {
			if r.Job.Attempt != i+1 {
				p.fail(fmt.Sprintf("run %d is attempt %d", i+1, i+1), "attempt %d", r.Job.Attempt)
			}
			if r.Job.MaxAttempts != n {
				p.fail(fmt.Sprintf("the job knows its %d attempts", n), "%d", r.Job.MaxAttempts)
			}
		}
	}
	s.manyAttempts()
}

// defaultAttempts may take more time than other checks, since it only waits.
func defaultAttempts(p *probe) {
	const most = 3 * worth
	s := p.open(Setup{})
	n := s.caps.DefaultAttempts
	if n < 1 {
		p.notApplicable("how often a job without max-attempts runs is not declared")
	}
	if n != core.DefaultMaxAttempts && s.caps.Durability == core.DurabilityBroker {
		p.fail(fmt.Sprintf("a queue runs a job without max-attempts %d times", core.DefaultMaxAttempts), "%d are declared", n)
	}
	what := fmt.Sprintf("to run a job %d times", n)
	var opts []core.Option
	within, gap := p.retryWithin(), p.h.RetryWithin
	if s.honours(core.OptionBackoff) {
		opts = append(opts, core.Backoff(s.soon()))
		within, gap = s.soon().Max+p.patience(), 0
	}
	p.affordsUpTo(most, what, time.Duration(n)*gap)
	j := s.make(failing, opts...)
	s.push(single, j)
	if n > 1 {
		runs := s.awaitEnd(j, 2, 2*within)
		gap = max(gap, runs[1].Ended.Sub(runs[0].Ended))
		p.affordsUpTo(most, what, time.Duration(n)*gap)
		s.awaitEnd(j, n, time.Duration(n)*within)
	}
	s.quiet()
	p.sleep(2 * gap) // another run would come in this time
	if got := s.count(j.ref); got != n {
		p.fail(fmt.Sprintf("%d runs of a job without max-attempts, as is declared", n), "%d", got)
	}
}

// manyAttempts sets a number of attempts that an executor might reduce.
func (s *subject) manyAttempts() {
	many := 1000
	if most := s.caps.Options[core.OptionMaxAttempts].Most; most > 0 {
		many = min(many, most)
	}
	j := s.make(nil, core.MaxAttempts(many))
	s.push(single, j)
	s.awaitRuns([]job{j})
	if got := s.runsOf(j.ref)[0].Job.MaxAttempts; got != many {
		s.p.fail(fmt.Sprintf("the job knows its %d attempts", many), "%d", got)
	}
}

func backoff(p *probe) {
	s := p.open(Setup{})
	claim := s.need(core.OptionBackoff)
	if !s.honours(core.OptionMaxAttempts) && s.caps.DefaultAttempts < 4 {
		p.notApplicable("a job is tried %d times", s.caps.DefaultAttempts)
	}
	unit := max(claim.Granularity, 20*time.Millisecond)
	for _, policy := range []core.BackoffPolicy{core.Fixed(unit), core.Exponential(unit, 3*unit)} {
		opts := []core.Option{core.Backoff(policy)}
		if s.honours(core.OptionMaxAttempts) {
			opts = append(opts, core.MaxAttempts(4))
		}
		j := s.make(failing, opts...)
		s.push(single, j)
		runs := s.awaitEnd(j, 4, 3*(policy.Max+claim.Granularity)+p.patience())
		for i := range 3 {
			gap, want := runs[i+1].Began.Sub(runs[i].Ended), policy.Wait(i+1)
			most := want + claim.Granularity + p.slack()
			if gap < want-p.h.Skew || gap > most {
				p.fail(fmt.Sprintf("%v to %v between attempts %d and %d of %v", want, most, i+1, i+2, policy),
					"%v between the runs as attempts %d and %d", gap, runs[i].Job.Attempt, runs[i+1].Job.Attempt)
			}
		}
	}
}

func timeout(p *probe) {
	s := p.open(Setup{Slots: 4})
	claim := s.need(core.OptionTimeout)
	d := max(claim.Granularity, 400*time.Millisecond)
	var causes atomic.Pointer[error]
	waits := func(r *run) error {
		select {
		case <-r.ctx.Done():
			err := context.Cause(r.ctx)
			causes.Store(&err)
			return r.ctx.Err()
		case <-time.After(d + claim.Granularity + p.patience()):
			return nil
		}
	}
	opts := []core.Option{core.Timeout(d)}
	n := 1
	if s.honours(core.OptionMaxAttempts) && (s.honours(core.OptionBackoff) || p.h.RetryWithin < 10*time.Second) {
		n = 2
		opts = append(opts, core.MaxAttempts(2))
	}
	if s.honours(core.OptionBackoff) {
		opts = append(opts, core.Backoff(s.soon()))
	}
	j := s.make(waits, opts...)
	s.push(single, j)
	for i, r := range s.awaitEnd(j, n, time.Duration(n)*(d+claim.Granularity+2*p.retryWithin())) {
		took := r.Ended.Sub(r.Began)
		switch {
		case !errors.Is(r.Err, context.DeadlineExceeded):
			p.fail(fmt.Sprintf("run %d: the context ends with DeadlineExceeded", i+1), "%v after %v", r.Err, took)
		case took < d/2: // a busy machine may note the beginning late
			p.fail(fmt.Sprintf("run %d has its own %v", i+1, d), "its context ended after %v", took)
		}
		if cause := causes.Load(); cause == nil || !errors.Is(*cause, context.DeadlineExceeded) {
			p.fail("the cause is DeadlineExceeded", "%v", cause)
		}
	}
}

func deadline(p *probe) {
	s := p.open(Setup{Slots: 1})
	claim := s.need(core.OptionDeadline)
	d := max(2*claim.Granularity, 400*time.Millisecond)
	// A job waits behind another one, which holds the only slot until the deadline.
	if !s.sys.Inline {
		open := make(chan struct{})
		gate := s.make(func(*run) error { <-open; return nil })
		s.accept(single, gate)
		s.await(p.patience(), func() bool { return s.count(gate.ref) > 0 })
		opts := []core.Option{core.Deadline(time.Now().Add(d))}
		keyed := s.honours(core.OptionUnique) && !s.excludes(append(opts, core.Unique("late"))...)
		if keyed {
			opts = append(opts, core.Unique("late"))
		}
		late := s.make(nil, opts...)
		s.push(single, late)
		p.sleep(d + claim.Granularity + p.h.Skew + 50*time.Millisecond)
		close(open)
		s.quiet()
		if n := s.count(late.ref); n > 0 {
			p.fail("a job is not started after its deadline", "%d runs", n)
		}
		if keyed {
			s.becomesFree("when the job that has it was not started by its deadline", "late")
		}
	}
	// A job has many attempts left at its deadline.
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		end := time.Now().Add(d)
		j := s.make(failing, core.Deadline(end), core.MaxAttempts(10000), core.Backoff(core.Fixed(max(d/8, s.soon().First))))
		s.push(single, j)
		p.sleep(d + claim.Granularity)
		s.quiet()
		moment := 10 * time.Millisecond // between the worker's look at the clock and the handler's
		if p.bubble {
			moment = 0
		}
		for _, r := range s.runsOf(j.ref) {
			if r.Began.After(end.Add(claim.Granularity + p.h.Skew + moment)) {
				p.fail("a job is not retried after its deadline", "attempt %d began %v after it", r.Job.Attempt, r.Began.Sub(end))
			}
		}
	}
	seen := make(chan time.Time, 1)
	end := time.Now().Add(time.Hour)
	look := s.make(func(r *run) error {
		at, _ := r.ctx.Deadline()
		select {
		case seen <- at:
		default:
		}
		return nil
	}, core.Deadline(end))
	s.push(single, look)
	s.awaitRuns([]job{look})
	if at := <-seen; at.Before(end.Add(-p.h.Skew-time.Second)) || at.After(end.Add(claim.Granularity+p.h.Skew)) {
		p.fail(fmt.Sprintf("the context's deadline is %v", end), "%v", at)
	}
}
