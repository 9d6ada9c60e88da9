package faultproxy

import (
	"context"
	"fmt"
	"net"
)

// Stats counts what a proxy has done since New. Bytes and connections are counted before their effect can be seen from
// outside: when a byte or an error has been received, its cause is counted.
type Stats struct {
	Connections int64 // connections carried: accepted and joined to one to the target
	Open        int64 // those of them that have not ended
	Refused     int64 // accepted, then reset because the target could not be reached; dials while Down never get this far
	Cut         int64 // reset by Down, Reset, CutAfter, Heal or Close, including those not yet joined

	RequestBytes int64 // passed from clients to the target
	ReplyBytes   int64 // passed from the target to clients

	LostRequestBytes int64 // swallowed by LoseRequests, or after a cut
	LostReplyBytes   int64 // swallowed by LoseReplies

	Delayed int64 // bytes held back by Delay
	Pieces  int64 // writes made by Slice
}

// Stats is a snapshot of the counters.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// WaitFor waits until cond holds for the counters, so that a test waits for the fault itself and not for a while. It calls
// cond immediately and after changes, one call at a time.
//
// It returns the context's cause when that is over first, and an error wrapping [net.ErrClosed] when the proxy is closed and
// cond does not hold.
func (p *Proxy) WaitFor(ctx context.Context, cond func(Stats) bool) error {
	for {
		p.mu.Lock()
		stats, over := p.stats, p.over
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()

		if cond(stats) {
			return nil
		}
		if over {
			return fmt.Errorf("faultproxy: %w", net.ErrClosed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("faultproxy: waiting with %+v: %w", stats, context.Cause(ctx))
		}
	}
}

func (p *Proxy) count(change func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.stats)
	p.notify()
}

func (p *Proxy) countPassed(dir direction, n int, sliced bool) {
	p.count(func(s *Stats) {
		if dir == requests {
			s.RequestBytes += int64(n)
		} else {
			s.ReplyBytes += int64(n)
		}
		if sliced {
			s.Pieces++
		}
	})
}

// countLost needs mu.
func (p *Proxy) countLost(dir direction, n int) {
	if dir == requests {
		p.stats.LostRequestBytes += int64(n)
	} else {
		p.stats.LostReplyBytes += int64(n)
	}
	p.notify()
}

// notify needs mu.
func (p *Proxy) notify() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}
