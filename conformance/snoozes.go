package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// snoozeAfterFailure sends a job that fails, snoozes and fails again. The snooze must
// not change the number of the attempt.
func (s *subject) snoozeAfterFailure(wait time.Duration) {
	if !s.honours(core.OptionMaxAttempts) {
		return
	}
	opts, within := s.tries(3)
	j := s.make(func(r *run) error {
		switch r.ordinal {
		case 2:
			return worker.Snooze(wait)
		case 4:
			return nil
		}
		return errOnPurpose
	}, opts...)
	s.push(single, j)
	for i, r := range s.awaitEnd(j, 4, within+wait+s.p.retryWithin()) {
		if want := []int{1, 2, 2, 3}[i]; r.Job.Attempt != want {
			s.p.fail(fmt.Sprintf("run %d of a job that failed, snoozed and failed is attempt %d", i+1, want), "attempt %d", r.Job.Attempt)
		}
	}
}

func snooze(p *probe) {
	s := p.open(Setup{})
	if s.sys.Inline {
		p.notApplicable("the executor runs jobs itself, once")
	}
	var opts []core.Option
	if s.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(2))
	}
	wait := max(s.caps.Options[core.OptionDelay].Granularity, 30*time.Millisecond)
	j := s.make(func(r *run) error {
		if r.ordinal <= 3 {
			return worker.Snooze(wait)
		}
		return nil
	}, opts...)
	s.push(single, j)
	for i, r := range s.awaitEnd(j, 4, 4*p.retryWithin()) {
		if r.Job.Attempt != 1 {
			p.fail("a snooze costs no attempt", "run %d is attempt %d", i+1, r.Job.Attempt)
		}
	}
	s.snoozeAfterFailure(wait)
	s.manySnoozes(wait)
	s.longSnoozes()
	runs := s.runsOf(j.ref)
	for i := range 3 {
		if gap := runs[i+1].Began.Sub(runs[i].Ended); gap < wait-p.h.Skew {
			p.fail(fmt.Sprintf("at least %v between snooze and next run", wait), "%v", gap)
		}
	}
}

// manySnoozes sends a job that snoozes again and again, after an attempt that has
// failed where it can be set that there is another one.
func (s *subject) manySnoozes(wait time.Duration) {
	p := s.p
	many, failed := 6, 0
	if p.bubble {
		many = 150
	}
	var opts []core.Option
	if s.retries() {
		failed, opts = 1, []core.Option{core.MaxAttempts(2), core.Backoff(s.soon())}
	}
	j := s.make(func(r *run) error {
		switch {
		case r.ordinal <= failed:
			return errOnPurpose
		case r.ordinal <= failed+many:
			return worker.Snooze(wait)
		}
		return nil
	}, opts...)
	s.push(single, j)
	for i, r := range s.awaitEnd(j, failed+many+1, time.Duration(failed+many+1)*(wait+p.retryWithin())) {
		if want := min(i, failed) + 1; r.Job.Attempt != want {
			p.fail(fmt.Sprintf("run %d of a job that snoozes %d times is attempt %d", i+1, many, want), "attempt %d", r.Job.Attempt)
		}
	}
}

// longSnoozes sends jobs that snooze for a very short and for a very long time. In a
// bubble it waits for them, and otherwise only looks that they do not run too early.
func (s *subject) longSnoozes() {
	p := s.p
	claim := s.caps.Options[core.OptionDelay]
	within := func(d time.Duration) bool { return claim.Longest == 0 || d <= claim.Longest }
	waits := map[string]time.Duration{}
	var jobs []job
	for _, d := range spans {
		if !within(d) || d > 400*24*time.Hour || !p.bubble && d > time.Millisecond && d < time.Hour {
			continue
		}
		j := s.make(func(r *run) error {
			if r.ordinal == 1 {
				return worker.Snooze(d)
			}
			return nil
		})
		waits[j.ref] = d
		jobs = append(jobs, j)
	}
	s.push(single, jobs...)
	for _, j := range jobs {
		d := waits[j.ref]
		what := fmt.Sprintf("a job that snoozes for %v", d)
		if !p.bubble && d >= time.Hour {
			s.awaitEnd(j, 1, s.patience())
			continue
		}
		runs := s.awaitEnd(j, 2, d+claim.Granularity+p.retryWithin())
		gap := runs[1].Began.Sub(runs[0].Ended)
		if gap < d-p.h.Skew {
			p.fail(what+" does not run before", "%v early", d-gap)
		}
		if most := d + claim.Granularity + p.slack(); p.bubble && gap > most {
			p.fail(fmt.Sprintf("%s runs at most %v later", what, most), "%v later", gap)
		}
	}
	s.quiet()
	for _, j := range jobs {
		if n := s.count(j.ref); n > 1 && !p.bubble && waits[j.ref] >= time.Hour {
			p.fail(fmt.Sprintf("a job that snoozes for %v does not run before", waits[j.ref]), "%d runs", n)
		}
	}
}
