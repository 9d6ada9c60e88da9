package conformance

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
)

var shutdownChecks = []check{
	{id: "L03", level: Core, run: fullPool,
		title: "a dispatch to a full pool waits until its context ends, or returns ErrUnavailable, and loses no job",
		why:   "jobs are lost most often under overload"},
	{id: "L10", level: Core, run: drainDeadline,
		title: "Stop returns when its context ends, and interrupted jobs run again if jobs survive the worker",
		why:   "a job that hangs must not block a deployment, and must not be lost in it"},
	{id: "L11", level: Core, run: stopUnderLoad,
		title: "when Stop is called during many dispatches, each job is accepted and runs, or is reported as not sent",
		why:   "there are always calls in progress when a program stops"},
}

func fullPool(p *probe) {
	s := p.open(Setup{Slots: 1, Room: 200})
	if s.sys.Inline || s.caps.Durability == core.DurabilityBroker {
		p.notApplicable("there is no pool in this process that could be full")
	}
	open := make(chan struct{})
	first := s.make(p.hold(open))
	s.accept(single, first)
	s.awaitRuns([]job{first})
	ctx, cancel := context.WithTimeout(p.ctx, p.patience()/10)
	defer cancel()
	jobs := []job{first}
	full := false
	for range 5000 {
		j := s.make(nil)
		outs, err := s.dispatch(ctx, j)
		if outs[0].State == core.Accepted {
			jobs = append(jobs, j)
			continue
		}
		full = true
		if outs[0].State != core.NotSent && outs[0].State != core.Unknown {
			p.fail("a dispatch to a full pool is not sent", "%v: %v", outs[0].State, outs[0].Err)
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, core.ErrUnavailable) {
			p.fail("a dispatch to a full pool ends with its context or is ErrUnavailable", "%v", err)
		}
		break
	}
	close(open)
	s.awaitRuns(jobs)
	if !full {
		p.notApplicable("5000 jobs do not fill it")
	}
	p.witness("full", 1)
}

func drainDeadline(p *probe) {
	s := p.stoppable(Setup{Slots: 2})
	if s.sys.Inline {
		p.notApplicable("jobs run in the goroutines of their callers")
	}
	var cutOff atomic.Int64
	forever := make(chan struct{}) // never closed
	stuck := s.make(func(r *run) error {
		select {
		case <-r.ctx.Done():
			cutOff.Add(1)
			return r.ctx.Err()
		case <-forever:
		case <-p.decided:
		}
		return nil
	})
	s.accept(single, stuck)
	s.awaitRuns([]job{stuck})
	left := 1 // jobs for the next worker
	durable := s.caps.Durability == core.DurabilityBroker && s.caps.Delivery == core.GuaranteeAtLeastOnce
	if durable && s.honours(core.OptionDelay) {
		s.accept(single, s.make(nil, core.Delay(p.patience()/10+s.caps.Options[core.OptionDelay].Granularity)))
		left++
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.patience()/20)
	defer cancel()
	returned := make(chan error, 1)
	began := time.Now()
	p.hist.add(Event{Kind: EventFault, System: s.system, Text: "stopped before its job has ended", State: "working"})
	go func() { returned <- s.sys.Stop(ctx) }()
	timer := time.NewTimer(p.patience())
	defer timer.Stop()
	var err error
	select {
	case err = <-returned:
	case <-timer.C:
		p.fail("Stop returns when its context ends", "not within %v", time.Since(began))
	}
	if err == nil {
		p.fail("Stop returns an error if it could not wait for a job", "nil")
	}
	if !s.await(p.patience(), func() bool { return cutOff.Load() > 0 && len(ended(s.runsOf(stuck.ref))) > 0 }) {
		p.fail("the context of a job that Stop gave up on ends", "it did not within %v", p.patience())
	}
	if !durable {
		return
	}
	next := p.open(Setup{Namespace: s.setup.Namespace})
	if !next.awaitAll(p.recoverWithin(), left, next.inherits) {
		p.fail("an interrupted job, and one that was not due, run in the next worker", "%d of %d within %v", next.inherits(), left, p.recoverWithin())
	}
}

// recoverWithin is how long it may take until the job of a killed worker runs again.
func (p *probe) recoverWithin() time.Duration {
	return max(p.patience(), p.scaled(p.h.RecoversWithin))
}

// stopUnderLoad stops a pool in this process many times, at different moments, since
// a race in Stop shows rarely. A broker's worker takes seconds to start, and is
// stopped once.
func stopUnderLoad(p *probe) {
	early := []time.Duration{50 * time.Microsecond, 0, 200 * time.Microsecond, time.Millisecond}
	var rounds []stopRound
	for i := range p.rounds(20) {
		s := p.stoppable(Setup{Slots: 2})
		rounds = append(rounds, s.stopAmidDispatches(early[i%len(early)]))
		if s.caps.Durability == core.DurabilityBroker {
			break
		}
	}
	rounds[len(rounds)-1].s.hush() // one wait for all rounds
	refused, accepting := 0, false
	for _, r := range rounds {
		r.judge()
		refused += len(r.refused)
		accepting = accepting || r.s.sys.StopAccepting
	}
	if refused == 0 && accepting {
		p.inconclusive("all dispatches were over before Stop began")
	}
}

// stopRound is a system that was stopped while many dispatched to it.
type stopRound struct {
	s                 *subject
	accepted, refused []job
}

// stopAmidDispatches stops the system a while after many have begun to dispatch.
func (s *subject) stopAmidDispatches(after time.Duration) stopRound {
	p := s.p
	const callers = 50
	jobs := make([][]job, callers)
	for i := range jobs {
		jobs[i] = s.makeN(10)
	}
	outs := make([][]core.Outcome, callers)
	stopped := make(chan struct{})
	go p.contain(func() {
		defer close(stopped)
		time.Sleep(after)
		ctx, cancel := context.WithTimeout(p.ctx, p.patience())
		defer cancel()
		s.sys.Stop(ctx) //nolint:errcheck // L07 and L10 judge what it returns
	})
	p.together(callers, func(i int) {
		for _, j := range jobs[i] {
			outs[i] = append(outs[i], s.send(single, j)...)
			time.Sleep(10 * time.Microsecond)
		}
	})
	<-stopped
	p.endIfDecided()
	r := stopRound{s: s}
	for i := range outs {
		for k, o := range outs[i] {
			switch {
			case o.State == core.Accepted:
				r.accepted = append(r.accepted, jobs[i][k])
			case o.State == core.NotSent && errors.Is(o.Err, core.ErrClosed):
				r.refused = append(r.refused, jobs[i][k])
			default:
				p.fail("accepted, or not sent and ErrClosed", "%v: %v", o.State, o.Err)
			}
		}
	}
	p.witness("accepted", len(r.accepted))
	p.witness("refused", len(r.refused))
	return r
}

// judge compares the outcomes with the runs.
func (r *stopRound) judge() {
	s, p := r.s, r.s.p
	if n, _ := s.ran(refsOf(r.refused)); n > 0 {
		p.fail("a job that was refused because of Stop does not run", "%d ran", n)
	}
	n, _ := s.ran(refsOf(r.accepted))
	if s.caps.Durability == core.DurabilityBroker {
		next := p.open(Setup{Namespace: s.setup.Namespace})
		left := len(r.accepted) - n
		if !next.awaitAll(p.recoverWithin(), left, next.inherits) {
			p.fail("a job that was accepted and not run before Stop runs in the next worker", "%d of %d did", next.inherits(), left)
		}
	} else if n < len(r.accepted) {
		p.fail("a job that was accepted before Stop has run", "%d of %d did", n, len(r.accepted))
	}
}
