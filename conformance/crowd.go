package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var crowdChecks = []check{
	{id: "P26", level: Options, run: crowdsOfDelayed, limit: 2 * time.Minute,
		title: "jobs that become due together, or while no slot and no worker is free, all run, once and not before their time",
		why:   "jobs for midnight are due in one instant, and mostly while a worker is busy or being replaced"},
}

// crowdsOfDelayed sends many jobs that are due at few times.
func crowdsOfDelayed(p *probe) {
	s := p.open(Setup{Slots: 2, Room: 2000})
	claim := s.need(core.OptionDelay)
	if s.sys.Inline {
		p.notApplicable("no job ever waits")
	}
	open := make(chan struct{})
	var held []job
	for range s.slots(2) {
		held = append(held, s.make(p.hold(open)))
	}
	s.accept(single, held...)
	s.awaitRuns(held)
	jobs, last := s.crowd(claim)
	p.sleep(time.Until(last) + claim.Granularity)
	close(open)
	s.awaitCrowd("while all slots were in use", jobs)

	if s.caps.Durability != core.DurabilityBroker || s.sys.Start == nil {
		return
	}
	s = p.open(Setup{Paused: true})
	jobs, last = s.crowd(claim)
	p.sleep(time.Until(last) + claim.Granularity)
	s.start()
	s.awaitCrowd("while no worker was there", jobs)
}

// crowd sends jobs that are due in groups, in an order that is not that of their times,
// and returns the last time.
func (s *subject) crowd(claim core.Claim) (jobs []job, last time.Time) {
	p := s.p
	unit := max(claim.Granularity, 50*time.Millisecond)
	groups, each := 3, 70
	if p.bubble {
		each = 300
	}
	begin := time.Now().Add(2 * unit)
	for range each {
		for g := range groups {
			at := begin.Add(time.Duration(g) * unit)
			if last.Before(at) {
				last = at
			}
			jobs = append(jobs, s.make(nil, core.At(at)))
		}
	}
	p.rand.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	half := len(jobs) / 2
	jobs = append(s.taking(jobs[:half]), s.taking(jobs[half:])...)
	return jobs, last
}

// taking sends jobs with one call and returns those that are accepted: all, unless they
// do not fit into a pool of this process.
func (s *subject) taking(jobs []job) (taken []job) {
	if s.caps.Durability == core.DurabilityBroker {
		s.accept(batch, jobs...)
		return jobs
	}
	c := s.begin(jobs...)
	c.finish()
	for i, o := range c.outs {
		if o.State == core.Accepted {
			taken = append(taken, jobs[i])
		}
	}
	return taken
}

func (s *subject) awaitCrowd(when string, jobs []job) {
	s.awaitRuns(jobs)
	s.hush()
	for _, j := range jobs {
		for i, r := range s.runsOf(j.ref) {
			if early := j.in.Options.At.Sub(r.Began); early > s.p.h.Skew {
				s.p.fail("a job that became due "+when+" does not start before its time", "%v early", early)
			}
			if i > 0 {
				s.p.fail(fmt.Sprintf("one run of a job that became due %s", when), "%d", i+1)
			}
		}
	}
}
