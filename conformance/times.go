package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var timeChecks = []check{
	{id: "P08", level: Options, run: delays, limit: time.Minute,
		title: "a delayed job starts soon after its time, and never before it",
		why:   "a job may depend on its time, and must not be forgotten"},
	{id: "P09", level: Options, run: moments,
		title: "a time in the past means immediately, the time zone makes no difference, and a far time waits or is refused",
		why:   "with local times and zero values, jobs run at the wrong time or never"},
}

func delays(p *probe) {
	s := p.open(Setup{})
	claim := s.need(core.OptionDelay)
	unit := max(claim.Granularity, 30*time.Millisecond)
	spans := []time.Duration{unit, 3 * unit}
	if p.bubble {
		spans = append(spans, time.Hour)
	}
	slack := p.slack()
	for _, d := range spans {
		if claim.Longest > 0 && d > claim.Longest {
			continue
		}
		early, late := s.make(nil, core.Delay(d)), s.make(nil, core.Delay(d))
		p.sleep(unit / 2) // a delay begins when the intent is made
		s.accept(single, early, late)
		taken := time.Now()
		for _, j := range []job{early, late} {
			if !s.await(d+claim.Granularity+p.patience(), func() bool { return s.count(j.ref) > 0 }) {
				p.fail(fmt.Sprintf("a job delayed by %v runs", d), "not within %v", d+claim.Granularity+p.patience())
			}
			at := s.runsOf(j.ref)[0].Began
			if off := at.Sub(j.in.Options.At); off < -p.h.Skew {
				p.fail(fmt.Sprintf("a job delayed by %v does not start before its time", d), "%v early", -off)
			}
			if taken.Before(j.in.Options.At) {
				taken = j.in.Options.At
			}
			if off := at.Sub(taken); off > claim.Granularity+slack+p.h.Skew {
				p.fail(fmt.Sprintf("a job delayed by %v starts at most %v after its time", d, claim.Granularity+slack), "%v", off)
			}
		}
	}
}

func moments(p *probe) {
	s := p.open(Setup{})
	claim := s.need(core.OptionDelay)
	past := s.make(nil, core.At(time.Now().Add(-time.Hour)))
	ancient := s.make(nil, core.At(time.Unix(1, 0)))
	s.accept(single, past, ancient)
	s.awaitRuns([]job{past, ancient})

	at := time.Now().Add(max(2*claim.Granularity, 60*time.Millisecond))
	zones := []*time.Location{time.UTC, time.FixedZone("far east", 14*3600), time.FixedZone("far west", -12*3600)}
	var jobs []job
	for _, z := range zones {
		jobs = append(jobs, s.make(nil, core.At(at.In(z))))
	}
	s.accept(batch, jobs...)
	if !s.await(time.Until(at)+claim.Granularity+p.patience(), func() bool { n, _ := s.ran(refsOf(jobs)); return n == len(jobs) }) {
		p.fail("one instant is the same in every zone", "not all of %d ran", len(jobs))
	}
	for i, j := range jobs {
		if early := at.Sub(s.runsOf(j.ref)[0].Began); early > p.h.Skew {
			p.fail("not before its time", "in zone %v %v early", zones[i], early)
		}
	}
	far := s.make(nil, core.Delay(99*365*24*time.Hour))
	o := s.send(single, far)[0]
	s.quiet()
	if n := s.count(far.ref); n > 0 || o.State != core.Accepted && o.State != core.Rejected {
		p.fail("a job for the next century waits or is refused", "%v, %d runs", o.State, n)
	}
}
