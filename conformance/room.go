package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
)

var roomChecks = []check{
	{id: "L16", level: Core, run: callersWait, limit: 2 * time.Minute,
		title: "calls that wait for room in a full pool get it, however the calls before them end, and their outcomes are true",
		why:   "under overload most calls wait, and one that is forgotten waits until its program ends"},
}

// full is a system in this process without room for another job.
type full struct {
	*subject
	tokens chan struct{} // lets one job that runs succeed
	open   chan struct{} // closed, it lets all of them succeed
	waits  bool          // a call waits for room; otherwise it is refused at once
}

// gated is the handler of a job that waits for its token.
func (f *full) gated(r *run) error {
	select {
	case <-f.tokens:
	case <-f.open:
	case <-f.p.released:
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-f.p.decided:
	}
	return nil
}

// moment is long enough for calls to begin to wait. No check fails if it is not.
func (p *probe) moment() time.Duration { return p.settle() / 20 }

// fill occupies all slots, and then all room with one large call whose context ends. It
// returns nil if there is room for all of them.
func (s *subject) fill(opts ...core.Option) *full {
	const many = 3000
	f := &full{subject: s, tokens: make(chan struct{}), open: make(chan struct{})}
	var held []job
	for range s.slots(1) {
		held = append(held, s.make(f.gated))
	}
	s.accept(single, held...)
	s.awaitRuns(held)
	jobs := make([]job, many)
	for i := range jobs {
		jobs[i] = s.make(f.gated, opts...)
	}
	c := s.begin(jobs...)
	if !c.within(s.p.moment()) {
		f.waits = true
		c.cancelled()
	}
	left := 0
	for i, o := range c.outs {
		switch o.State {
		case core.Accepted:
			continue
		case core.NotSent:
		default:
			s.p.fail("a job for which there is no room is not sent", "%v: %v", o.State, o.Err)
		}
		if left++; !errors.Is(o.Err, context.Canceled) && !errors.Is(o.Err, core.ErrUnavailable) {
			s.p.fail("a job for which there was no room has the context's error or ErrUnavailable", "number %d of the call: %v", i, o.Err)
		}
	}
	if left == 0 || f.waits && s.hasRoom(f.gated, opts...) {
		return nil
	}
	if !f.waits && left == len(jobs) { // a call is taken as a whole
		for {
			j := s.make(f.gated, opts...)
			if s.send(single, j)[0].State != core.Accepted {
				break
			}
		}
	}
	s.p.witness("full", 1)
	return f
}

// hasRoom reports whether a call with one job does not have to wait, so that the large
// call before it was only slow.
func (s *subject) hasRoom(fn func(*run) error, opts ...core.Option) bool {
	c := s.begin(s.make(fn, opts...))
	if !c.within(s.p.settle()) {
		c.cancelled()
	}
	return c.outs[0].State == core.Accepted
}

// token lets one job that runs succeed.
func (f *full) token() {
	select {
	case f.tokens <- struct{}{}:
	case <-time.After(f.patience()):
		f.p.fail("a job of a full pool runs", "none took the token within %v", f.patience())
	case <-f.p.decided:
		f.p.endIfDecided()
	}
}

// accepted waits for a call that must be accepted.
func (c *call) accepted(what string) {
	p := c.s.p
	if limit := p.patience(); !c.within(limit) {
		p.fail(what+" is accepted", "it waits for %v, in\n%s", limit, p.stacksOfCalls())
	}
	for _, o := range c.outs {
		if o.State != core.Accepted {
			p.fail(what+" is accepted", "%v: %v", o.State, o.Err)
		}
	}
}

func callersWait(p *probe) {
	s := p.open(Setup{Slots: 1, Room: 40})
	if s.sys.Inline || s.caps.Durability == core.DurabilityBroker {
		p.notApplicable("there is no pool in this process that could be full")
	}
	f := s.fill()
	if f == nil {
		p.notApplicable("so many jobs do not fill it")
	}
	if f.waits {
		f.giveUp()
		f.largerThanRoom()
	}
	if f.isOpen() {
		close(f.open)
	}
	s.quiet()
	s.againAndAgain()
	p.stopFull()
}

func (f *full) isOpen() bool {
	select {
	case <-f.open:
		return false
	default:
		return true
	}
}

// topUp sends jobs until one of them has to wait, which is then given up.
func (f *full) topUp() {
	for {
		if c := f.begin(f.make(f.gated)); !c.within(f.p.moment()) {
			c.cancelled()
			return
		}
	}
}

// giveUp lets calls wait behind others whose contexts end.
func (f *full) giveUp() {
	p := f.p
	wait := func(n int, opts ...core.Option) *call {
		jobs := make([]job, n)
		for i := range jobs {
			jobs[i] = f.make(f.gated, opts...)
		}
		c := f.begin(jobs...)
		p.sleep(p.moment())
		return c
	}
	first, second, third, fourth := wait(30), wait(1), wait(1), wait(2)
	first.cancelled()
	third.cancelled()
	for range 3 { // as much room as they need, so that none is left for those that follow
		f.token()
	}
	second.accepted("a call that waited behind one that was given up, when there is room again,")
	fourth.accepted("a call that waited behind two that were given up, when there is room for it,")

	// There is room, but too little for the first call, which may wait for more.
	large, small := wait(30), wait(1)
	f.token()
	p.sleep(p.moment())
	large.cancelled()
	for _, o := range large.outs {
		if o.State == core.Accepted {
			f.token()
			break
		}
	}
	small.accepted("a call for which there is room when the one before it is given up")

	// Whether an ID or a key is free must be found out when there is room.
	var same []core.Option
	if f.honours(core.OptionID) && f.caps.IDWindow.Kind != "" {
		same = append(same, core.ID("waited-"+f.setup.Namespace))
	}
	if f.honours(core.OptionUnique) {
		same = append(same, core.Unique("waited"))
	}
	for _, opt := range same {
		f.topUp()
		one, other := wait(1, opt), wait(1, opt)
		f.token()
		f.token()
		accepted := 0
		for _, c := range []*call{one, other} {
			if limit := p.patience(); !c.within(limit) {
				p.fail("a call with an ID or a key returns when there is room", "not within %v", limit)
			}
			switch o := c.outs[0]; o.State {
			case core.Accepted:
				accepted++
			case core.Duplicate:
			default:
				p.fail("a call that has waited is accepted or a duplicate", "%v: %v", o.State, o.Err)
			}
		}
		if accepted != 1 {
			p.fail("of two calls with the same ID or key that wait for room, one is accepted", "%d are", accepted)
		}
	}
}

// largerThanRoom makes a call that needs more room than there is, and lets all jobs run.
func (f *full) largerThanRoom() {
	f.topUp()
	jobs := f.makeN(400)
	c := f.begin(jobs...)
	f.p.sleep(f.p.moment())
	close(f.open)
	c.accepted("a call that needs more room than a pool has, while jobs run,")
	f.awaitRuns(jobs)
}

// againAndAgain sends the same jobs again and again. That must not use up room.
func (s *subject) againAndAgain() {
	p := s.p
	if s.caps.IDWindow.Kind == "" {
		return
	}
	send := func(what string, jobs ...job) {
		s.begin(jobs...).accepted(what)
	}
	for range 40 {
		j := s.make(nil)
		some := make([]job, 10)
		for i := range some {
			some[i] = j
		}
		send("the same intent several times", some...)
		send("the same intent again", some[0])
		s.awaitRuns([]job{j})
	}
	open := make(chan struct{})
	var held []job
	for range s.slots(1) {
		held = append(held, s.make(p.hold(open)))
	}
	s.accept(single, held...)
	s.awaitRuns(held)
	for range 20 {
		send("a job for which there is room, after intents that were sent several times,", s.make(nil))
	}
	close(open)
	s.quiet()
}

// stopFull stops a pool in which calls wait for room that delayed jobs take.
func (p *probe) stopFull() {
	s := p.stoppable(Setup{Slots: 1, Room: 10})
	if !s.honours(core.OptionDelay) || !s.sys.StopAccepting {
		return
	}
	f := s.fill(core.Delay(s.far(core.OptionDelay)))
	if f == nil || !f.waits {
		return
	}
	var calls []*call
	for range 3 {
		calls = append(calls, s.begin(s.make(nil)))
	}
	p.sleep(p.moment())
	ctx, cancel := context.WithTimeout(p.ctx, p.patience())
	defer cancel()
	stopped := make(chan struct{})
	go p.contain(func() {
		defer close(stopped)
		_ = s.sys.Stop(ctx) // which reports the delayed jobs
	})
	for _, c := range calls {
		if limit := p.patience(); !c.within(limit) {
			p.fail("a call that waits for room returns when the pool is stopped", "not within %v", limit)
		}
		if o := c.outs[0]; o.State == core.Accepted {
			continue // the pool had room for a moment
		} else if o.State != core.NotSent || !errors.Is(o.Err, core.ErrClosed) && !errors.Is(o.Err, core.ErrUnavailable) {
			p.fail("a call that waited for room when the pool was stopped is not sent, with ErrClosed", "%v: %v", o.State, o.Err)
		}
	}
	close(f.open)
	<-stopped
	p.endIfDecided()
	for _, w := range waitingJobs(p.hist.all()) {
		if w.system == s.system {
			p.hist.add(Event{Kind: EventLeft, System: w.system, Ref: w.ref, Text: "its pool was stopped"})
		}
	}
}
