package conformance

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// cutChecks are two rows of one ID: only the second needs a connection to cut.
var cutChecks = []check{
	{id: "B05", level: Core, run: cancelBatch, cases: []string{"cancelled"},
		title: "a call that is cancelled half-way tells the truth about every intent, promptly",
		why:   "a deploy cancels calls; what it says of them decides what is sent again"},
	{id: "B05", level: Faults, run: cutBatch, cases: []string{"cut"}, limit: time.Minute,
		title: "a call whose connection is cut half-way tells the truth about every intent",
		why:   "of a batch that broke off, one half is sent again for good reason and the other must not be"},
}

func cancelBatch(p *probe) {
	s := p.open(Setup{Faults: true})
	if s.sys.Proxy != nil { // else a quick call is over before it can be cancelled
		s.warm(func() []job { return s.makeN(300) })
		s.sys.Proxy.Delay(15 * time.Millisecond)
	}
	var jobs []job
	var outs []core.Outcome
	cut, bit := 0, 0
	for _, after := range []time.Duration{0, 100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		round := make([]job, 300)
		for i := range round {
			round[i] = s.make(func(*run) error {
				if s.sys.Inline {
					time.Sleep(time.Millisecond)
				}
				return nil
			})
		}
		ctx, cancel := context.WithCancel(p.ctx)
		fired := make(chan time.Time, 1)
		timer := time.AfterFunc(after, func() { fired <- time.Now(); cancel() })
		got, err := s.dispatch(ctx, round...)
		returned := time.Now()
		if !timer.Stop() {
			cut++
			if late := returned.Sub(<-fired); late > p.scaled(time.Second)+s.caps.CancelLatency {
				p.fail("a cancelled call returns promptly", "%v after it was cancelled", late)
			}
		}
		cancel()
		if slices.ContainsFunc(got, func(o core.Outcome) bool { return o.State != core.Accepted }) {
			bit++
			if !errors.Is(err, context.Canceled) {
				p.fail("errors.Is finds context.Canceled", "%v", err)
			}
		}
		jobs, outs = append(jobs, round...), append(outs, got...)
	}
	if s.sys.Proxy != nil {
		s.heal()
	}
	s.quiet()
	for i, o := range outs {
		switch n := s.count(jobs[i].ref); {
		case o.State == core.Accepted && n == 0:
			p.fail("what was accepted runs", "number %d of a cancelled call did not", i%300)
		case (o.State == core.NotSent || o.State == core.Rejected) && n > 0:
			p.fail("what is told as "+o.State.String()+" does not run", "number %d of a cancelled call did", i%300)
		}
	}
	p.witness("cancelled during the call", cut)
	p.witness("not all accepted", bit)
	switch {
	case bit > 0:
	case s.caps.Durability == core.InProcess && cut == 0:
		p.notApplicable("a call hands over in memory and is over before it can be cancelled")
	default:
		p.inconclusive("every call was over before it could be cancelled")
	}
}

// cutBatch cuts the connection after more and more of a large call.
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
				p.fail("what is cut off is not sent or unknown", "number %d: %v: %v", i, o.State, o.Err)
			}
		}
		s.heal()
	}
	s.balance()
	if p.result.Witness["cut"] == 0 {
		p.inconclusive("no call was cut")
	}
}
