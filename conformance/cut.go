package conformance

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
)

// cutChecks are two rows with one ID. Only the second needs a connection that breaks.
var cutChecks = []check{
	{id: "B05", level: Core, run: cancelBatch, cases: []string{"cancelled"},
		title: "a call that is cancelled half-way returns promptly, with the right outcome for every intent",
		why:   "a deployment cancels calls, and the outcomes decide what is sent again"},
	{id: "B05", level: Faults, run: cutBatch, bare: true, cases: []string{"cut"}, limit: time.Minute,
		title: "a call whose connection breaks half-way returns the right outcome for every intent",
		why:   "of an interrupted batch, some intents must be sent again and the others must not"},
}

// lookedAt is a context that is cancelled when it is looked at for the n-th time. So
// even a fast call is cancelled in its middle, if it looks at its context.
type lookedAt struct {
	context.Context
	cancel context.CancelFunc
	left   *atomic.Int64
	at     chan<- time.Time // when it was cancelled
}

func newLookedAt(ctx context.Context, n int64, at chan<- time.Time) lookedAt {
	l := lookedAt{left: new(atomic.Int64), at: at}
	l.left.Store(n)
	l.Context, l.cancel = context.WithCancel(ctx)
	return l
}

func (l lookedAt) look() {
	if l.left.Add(-1) == 0 {
		l.at <- time.Now()
		l.cancel()
	}
}

func (l lookedAt) Done() <-chan struct{} {
	l.look()
	return l.Context.Done()
}

func (l lookedAt) Err() error {
	l.look()
	return l.Context.Err()
}

// cancelBatch cancels some calls after a time, and others when they look at their
// context.
func cancelBatch(p *probe) {
	s := p.open(Setup{Faults: true})
	if s.sys.Proxy != nil { // otherwise a quick call is over before it can be cancelled
		s.warm(func() []job { return s.makeN(300) })
		s.sys.Proxy.Delay(15 * time.Millisecond)
	}
	var c cancelled
	for _, after := range []time.Duration{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		at := make(chan time.Time, 1)
		ctx, cancel := context.WithCancel(p.ctx)
		timer := time.AfterFunc(after, func() { at <- time.Now(); cancel() })
		c.call(s, ctx, at)
		timer.Stop()
		cancel()
	}
	for _, looks := range []int64{1, 2, 5, 20, 100} {
		at := make(chan time.Time, 1)
		ctx := newLookedAt(p.ctx, looks, at)
		c.call(s, ctx, at)
		ctx.cancel()
	}
	if s.sys.Proxy != nil {
		s.heal()
	}
	s.quiet()
	for i, o := range c.outs {
		switch n := s.count(c.jobs[i].ref); {
		case o.State == core.Accepted && n == 0:
			p.fail("what was accepted runs", "number %d of a cancelled call did not", i%300)
		case (o.State == core.NotSent || o.State == core.Rejected) && n > 0:
			p.fail("what is reported as "+o.State.String()+" does not run", "number %d of a cancelled call did", i%300)
		}
	}
	p.witness("cancelled during the call", c.during)
	p.witness("not all accepted", c.bit)
	if c.bit == 0 {
		p.inconclusive("%d calls were cancelled, and each answered that all is accepted", c.during)
	}
}

// cancelled are the jobs of cancelled calls, and their outcomes.
type cancelled struct {
	jobs   []job
	outs   []core.Outcome
	during int // calls that were cancelled before they returned
	bit    int // calls that did not accept all of their jobs
}

// call makes a call with a context that may be cancelled before the call returns. The
// channel at receives the time.
func (c *cancelled) call(s *subject, ctx context.Context, at <-chan time.Time) {
	round := make([]job, 300)
	for i := range round {
		round[i] = s.make(func(*run) error {
			if s.sys.Inline {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	}
	got, err := s.dispatch(ctx, round...)
	returned := time.Now()
	select {
	case when := <-at:
		c.during++
		if late := returned.Sub(when); late > s.p.scaled(time.Second) {
			s.p.fail("a cancelled call returns promptly", "%v after it was cancelled", late)
		}
	default:
	}
	if slices.ContainsFunc(got, func(o core.Outcome) bool { return o.State != core.Accepted }) {
		c.bit++
		if !errors.Is(err, context.Canceled) {
			s.p.fail("errors.Is finds context.Canceled", "%v", err)
		}
	}
	c.jobs, c.outs = append(c.jobs, round...), append(c.outs, got...)
}

// cutBatch breaks the connection in the middle of large calls, later in each.
func cutBatch(p *probe) {
	s := p.faulty(Setup{})
	const n, cuts = 150, 10
	size := s.warm(func() []job { return s.makeN(n) })
	for k := range p.rounds(cuts) {
		before := s.sys.Proxy.Stats().Cut
		s.broke("cut", false)
		s.sys.Proxy.CutAfter(1 + size*int64(k)/int64(p.rounds(cuts)))
		c := s.begin(s.makeN(n)...)
		c.finish()
		undecided := slices.ContainsFunc(c.outs, func(o core.Outcome) bool { return o.State != core.Accepted })
		if undecided && s.sys.Proxy.Stats().Cut > before {
			p.witness("cut", 1)
		}
		for i, o := range c.outs {
			if o.State != core.Accepted && o.State != core.NotSent && o.State != core.Unknown {
				p.fail("an interrupted job is not sent or unknown", "number %d: %v: %v", i, o.State, o.Err)
			}
		}
		s.heal()
	}
	s.balance()
	if p.result.Witness["cut"] == 0 {
		p.inconclusive("no call was cut")
	}
}
