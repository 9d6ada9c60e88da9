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
		title: "a dispatch that finds no room waits for its context, or says unavailable, and loses nothing",
		why:   "overload is when jobs are lost"},
	{id: "L10", level: Core, run: drainDeadline,
		title: "Stop returns when its context ends; what was cut off runs again if jobs outlive the worker",
		why:   "a job that hangs must not hang the deployment, nor vanish with it"},
	{id: "L11", level: Core, run: stopUnderLoad,
		title: "Stop beside many dispatches: each is accepted and run, or told not",
		why:   "every shutdown meets calls that are under way"},
}

func fullPool(p *probe) {
	s := p.open(Setup{Slots: 1, Room: 200})
	if s.sys.Inline || s.caps.Durability == core.InBroker {
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
	var told atomic.Int64
	forever := make(chan struct{}) // stays closed to everybody
	stuck := s.make(func(r *run) error {
		select {
		case <-r.ctx.Done():
			told.Add(1)
			return r.ctx.Err()
		case <-forever:
		case <-p.decided:
		}
		return nil
	})
	s.accept(single, stuck)
	s.awaitRuns([]job{stuck})
	left := 1 // jobs for the next worker
	durable := s.caps.Durability == core.InBroker && s.caps.Delivery == core.AtLeastOnce
	if durable && s.honours(core.OptionDelay) {
		s.accept(single, s.make(nil, core.Delay(p.patience()/10+s.caps.Options[core.OptionDelay].Granularity)))
		left++
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.patience()/20)
	defer cancel()
	returned := make(chan error, 1)
	began := time.Now()
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
		p.fail("Stop tells that it could not wait for a job", "nil")
	}
	if !s.await(p.patience(), func() bool { return told.Load() > 0 && len(ended(s.runsOf(stuck.ref))) > 0 }) {
		p.fail("the context of a job that Stop gave up on ends", "it did not within %v", p.patience())
	}
	if !durable {
		return
	}
	next := p.open(Setup{Namespace: s.setup.Namespace})
	if !next.await(p.recoverWithin(), func() bool { return len(next.phantoms()) >= left }) {
		p.fail("a job that Stop cut off, and one that was not due, run in the next worker", "%d of %d within %v", len(next.phantoms()), left, p.recoverWithin())
	}
}

// recoverWithin is how long a job of a dead worker may take to run again.
func (p *probe) recoverWithin() time.Duration {
	return max(p.patience(), p.scaled(p.h.RecoversWithin))
}

// stopUnderLoad stops a pool in this process many times, early and late: what its
// Stop can lose is lost between two instructions. A broker's worker takes seconds
// to start and is stopped once.
func stopUnderLoad(p *probe) {
	early := []time.Duration{50 * time.Microsecond, 0, 200 * time.Microsecond, time.Millisecond}
	refused, accepting := 0, false
	for i := range p.rounds(20) {
		s := p.stoppable(Setup{Slots: 2})
		refused += s.stopAmidDispatches(early[i%len(early)])
		accepting = accepting || s.sys.StopAccepting
		if s.caps.Durability == core.InBroker {
			break
		}
	}
	if refused == 0 && accepting {
		p.inconclusive("all dispatches were over before Stop began")
	}
}

// stopAmidDispatches stops the system a while after many have begun to dispatch,
// and returns how many jobs it has refused.
func (s *subject) stopAmidDispatches(after time.Duration) int {
	p := s.p
	const callers = 50
	jobs := make([][]job, callers)
	for i := range jobs {
		jobs[i] = s.makeN(10)
	}
	outs := make([][]core.Outcome, callers)
	go p.contain(func() {
		time.Sleep(after)
		ctx, cancel := context.WithTimeout(p.ctx, p.patience())
		defer cancel()
		s.sys.Stop(ctx) //nolint:errcheck // L07 and L10 judge its answer
	})
	p.together(callers, func(i int) {
		for _, j := range jobs[i] {
			outs[i] = append(outs[i], s.send(single, j)...)
			time.Sleep(10 * time.Microsecond)
		}
	})
	var accepted, refused []job
	for i := range outs {
		for k, o := range outs[i] {
			switch {
			case o.State == core.Accepted:
				accepted = append(accepted, jobs[i][k])
			case o.State == core.NotSent && errors.Is(o.Err, core.ErrClosed):
				refused = append(refused, jobs[i][k])
			default:
				p.fail("accepted, or not sent and ErrClosed", "%v: %v", o.State, o.Err)
			}
		}
	}
	p.witness("accepted", len(accepted))
	p.witness("refused", len(refused))
	s.hush()
	if n, _ := s.ran(refsOf(refused)); n > 0 {
		p.fail("what was refused by Stop does not run", "%d ran", n)
	}
	n, _ := s.ran(refsOf(accepted))
	if s.caps.Durability == core.InBroker {
		next := p.open(Setup{Namespace: s.setup.Namespace})
		left := len(accepted) - n
		if !next.await(p.recoverWithin(), func() bool { return len(next.phantoms()) >= left }) {
			p.fail("what was accepted and not run before Stop runs in the next worker", "%d of %d did", len(next.phantoms()), left)
		}
	} else if n < len(accepted) {
		p.fail("what was accepted before Stop has run", "%d of %d did", n, len(accepted))
	}
	return len(refused)
}
