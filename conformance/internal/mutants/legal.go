package mutants

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var legal = []Variant{
	queue("reference", "", "nothing: it is the correct system", bug{}),
	inline("inline", "", "runs jobs before it returns", inlineCaps(), nil),
	inline("refuses-everything", "", "honours no option", core.Capabilities{Executor: "plain"}, nil),
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
	queue("splits-batches", "", "stores a batch in parts of three", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			var out []core.Outcome
			for len(intents) > 0 {
				n := min(3, len(intents))
				out = append(out, core.OutcomesOf(next(ctx, intents[:n]...), intents[:n])...)
				intents = intents[n:]
			}
			return core.Combine(out)
		}
	}, caps: func(c *core.Capabilities) { c.AtomicBatch = false }}),
	queue("reorders", "", "starts the last job first, and declares no order", bug{
		order: func(a, b *job) int {
			if a.rank != b.rank {
				return b.rank - a.rank
			}
			return b.seq - a.seq
		},
		caps: func(c *core.Capabilities) { c.Order = "" },
	}),
	queue("one-slot", "", "runs one job at a time, and declares it", bug{
		slots:  func(int) int { return 1 },
		system: func(s *conformance.System, _ *system) { s.Slots = 1 },
	}),
	queue("own-header", "", "adds a header of its own", bug{deliver: func(_ *job, d *worker.Delivery) {
		m := map[string]string{"Airlock-Trace": "1"}
		for k, v := range d.Headers.All() {
			m[k] = v
		}
		d.Headers = core.NewHeaders(m)
	}}),
	queue("coarse", "", "keeps times to the second, and declares it", bug{
		admit: func(_ *store, j *job) bool {
			if !j.at.IsZero() {
				j.at = roundUp(j.at)
			}
			return true
		},
		verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
			if v.After > 0 {
				v.After = (v.After + time.Second - 1).Truncate(time.Second)
			}
		},
		caps: func(c *core.Capabilities) {
			for _, o := range []core.OptionName{core.OptionDelay, core.OptionBackoff} {
				c.Options[o] = core.Claim{Support: core.SupportNative, Granularity: time.Second}
			}
		},
	}),
	queue("bounded-pool", "", "holds at most 64 waiting jobs, in this process, and makes callers wait", boundedPool(64, nil)),
	queue("stored-ids", "", "remembers an ID until some time after its job has ended", bug{stored: true}),
	queue("stale-success-counts", "", "ends a job that another worker runs when the one that has lost it succeeds", bug{stale: func(mine bool, v *worker.Verdict) bool {
		return !mine && v.Action == worker.Done
	}}),
	inline("inline-memory", "", "runs jobs before it returns, and remembers IDs", memoryCaps(), remembering(idWindow, false)),
	queue("no-memory", "", "remembers no IDs, and declares it", bug{
		id:   func(in core.Intent) string { return fmt.Sprint(in.ID, time.Now().UnixNano(), nextNumber()) },
		caps: func(c *core.Capabilities) { c.IDWindow = core.Window{}; delete(c.Options, core.OptionID) },
	}),
	{Name: "on-a-line", Breaks: "has a broker on the other end of a connection", Harness: func() conformance.Harness {
		h := lineHarness(lineBug{})
		h.Scale, h.Settle = 15, 30*time.Millisecond // for busy machines
		return h
	}},
}

func roundUp(t time.Time) time.Time {
	if r := t.Truncate(time.Second); r.Before(t) {
		return r.Add(time.Second)
	}
	return t
}

// boundedPool returns a pool that holds at most room waiting jobs. A caller that finds
// it full waits, or gets the error of full.
func boundedPool(room int, full func() error) bug {
	return bug{
		fetchAfterStop: true, // jobs in memory must run before Stop returns
		caps: func(c *core.Capabilities) {
			c.Durability, c.Delivery, c.AtomicBatch = core.DurabilityProcess, core.GuaranteeAtMostOnce, false
		},
		system: func(out *conformance.System, _ *system) { out.Kill, out.Corrupt = nil, nil },
		inner: func(next core.Executor, s *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				var out []core.Outcome
				for _, in := range intents {
					err := s.awaitRoom(ctx, room, full)
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

// unlockedPool does not hold the lock between the check that the pool is open and the
// storing of the job.
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

// awaitRoom waits until fewer jobs wait than there is room for, or the pool is stopped.
func (sys *system) awaitRoom(ctx context.Context, room int, full func() error) error {
	s := sys.store
	for {
		sys.mu.RLock()
		closed := sys.closed
		sys.mu.RUnlock()
		s.mu.Lock()
		wake, waiting := s.wake, len(s.ready)+len(s.later)
		s.mu.Unlock()
		if waiting < room || closed { // which the call finds out then
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
