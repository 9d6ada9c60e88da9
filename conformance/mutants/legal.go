package mutants

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

var legal = []Variant{
	queue("reference", "", "nothing: it is the correct system", bug{}),
	inline("inline", "", "runs jobs before it returns", inlineCaps(), nil),
	inline("refuses-everything", "", "has no option at all", core.Capabilities{Executor: "plain"}, nil),
	queue("slow", "", "takes 300 ms for each call", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) > 0 && ctx != nil && ctx.Err() == nil {
				time.Sleep(300 * time.Millisecond)
			}
			return next(ctx, intents...)
		}
	}}),
	queue("wraps-errors", "", "wraps every error once more", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if err := next(ctx, intents...); err != nil {
				return fmt.Errorf("odd: %w", err)
			}
			return nil
		}
	}}),
	queue("splits-batches", "", "hands over a batch in parts of three", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			var out []core.Outcome
			for len(intents) > 0 {
				n := min(3, len(intents))
				out = append(out, core.OutcomesOf(next(ctx, intents[:n]...), intents[:n])...)
				intents = intents[n:]
			}
			return core.Combine(out)
		}
	}, caps: func(c *core.Capabilities) { c.Batch = core.PartialBatch }}),
	queue("reorders", "", "starts the last job first, and claims no order", bug{
		order: func(a, b *job) int {
			if a.rank != b.rank {
				return b.rank - a.rank
			}
			return b.seq - a.seq
		},
		caps: func(c *core.Capabilities) { c.Order = core.Unordered },
	}),
	queue("one-slot", "", "runs one job at a time, and says so", bug{
		slots:  func(int) int { return 1 },
		system: func(s *conformance.System, _ *system) { s.Slots = 1 },
	}),
	queue("own-header", "", "adds a header of its own", bug{deliver: func(_ *job, d *core.Delivery) {
		m := map[string]string{"Airlock-Trace": "1"}
		for k, v := range d.Headers.All() {
			m[k] = v
		}
		d.Headers = core.NewHeaders(m)
	}}),
	queue("coarse", "", "keeps times to a second, and says so", bug{
		admit: func(_ *store, j *job) bool {
			if !j.at.IsZero() {
				j.at = roundUp(j.at)
			}
			return true
		},
		verdict: func(_ *job, _ core.Delivery, v *core.Verdict) {
			if v.After > 0 {
				v.After = (v.After + time.Second - 1).Truncate(time.Second)
			}
		},
		caps: func(c *core.Capabilities) {
			for _, o := range []core.OptionName{core.OptionDelay, core.OptionBackoff} {
				c.Options[o] = core.Claim{Support: core.Native, Granularity: time.Second}
			}
		},
	}),
	queue("bounded-pool", "", "keeps at most 64 waiting jobs, in this process, and lets callers wait", boundedPool(64, nil)),
	queue("no-memory", "", "remembers no IDs, and says so", bug{
		id:   func(in core.Intent) string { return fmt.Sprint(in.ID, time.Now().UnixNano(), nextNumber()) },
		caps: func(c *core.Capabilities) { c.IDWindow = core.Window{} },
	}),
	{Name: "on-a-line", Breaks: "has a broker on the other end of a connection", Harness: func() conformance.Harness {
		h := lineHarness(lineBug{})
		h.Scale, h.Settle = 15, 30*time.Millisecond // it is to pass on a busy machine too, and waits for nothing in vain
		return h
	}},
}

func roundUp(t time.Time) time.Time {
	if r := t.Truncate(time.Second); r.Before(t) {
		return r.Add(time.Second)
	}
	return t
}

// boundedPool has room for so many waiting jobs. A caller that finds none waits, or
// is told what full says.
func boundedPool(room int, full func() error) bug {
	return bug{
		fetchAfterStop: true, // what waits in memory is run before Stop returns, or lost
		caps: func(c *core.Capabilities) {
			c.Durability, c.Delivery, c.Batch = core.InProcess, core.AtMostOnce, core.PartialBatch
		},
		system: func(out *conformance.System, _ *system) { out.Kill, out.Corrupt = nil, nil },
		inner: func(next core.Executor, s *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				var out []core.Outcome
				for _, in := range intents {
					err := s.store.awaitRoom(ctx, room, full)
					if err == nil {
						err = next(ctx, in)
					}
					out = append(out, core.OutcomesOf(err, []core.Intent{in})...)
				}
				return core.Combine(out)
			}
		},
	}
}

// unlockedPool lets go of the lock between the look whether it is closed and the
// keeping of the job.
func unlockedPool() bug {
	b := boundedPool(0, nil)
	b.inner = func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			s.mu.RLock()
			closed := s.closed
			s.mu.RUnlock()
			if closed {
				return next(ctx, intents...)
			}
			time.Sleep(20 * time.Microsecond)
			return s.store.addAll(intents)
		}
	}
	return b
}

// awaitRoom waits until fewer jobs wait than there is room for.
func (s *store) awaitRoom(ctx context.Context, room int, full func() error) error {
	for {
		s.mu.Lock()
		wake, waiting := s.wake, len(s.ready)+len(s.later)
		s.mu.Unlock()
		if waiting < room {
			return nil
		}
		if full != nil {
			return full()
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", core.ErrUnavailable, ctx.Err())
		}
	}
}
