package mutants

import (
	"context"
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// endingMutants do wrong in places where no check looks. Each is found because every
// check ends by judging all that it has seen, and what it leaves behind.
var endingMutants = []Variant{
	queue("twice-with-deadline", AnyEnding, "runs a job with a deadline within two days again after it is done", bug{admit: func(s *store, j *job) bool {
		if d := j.in.Options.Deadline; !d.IsZero() && time.Until(d) < 48*time.Hour {
			twice(150*time.Millisecond).admit(s, j)
		}
		return true
	}}),
	queue("leaks-when-full", AnyEnding, "leaves a goroutine behind for a caller that found no room in the pool", func() bug {
		b := boundedPool(64, nil)
		b.outer = func(next core.Executor, _ *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				err := next(ctx, intents...)
				if errors.Is(err, core.ErrUnavailable) {
					go func() { select {} }()
				}
				return err
			}
		}
		return b
	}()),
	inline("late-failure-is-success", AnyEnding, "says accepted of a job that failed because its time was up", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			for i, o := range out {
				if o.State == core.Failed && errors.Is(o.Err, context.DeadlineExceeded) {
					out[i].State, out[i].Err = core.Accepted, nil
				}
			}
			return core.Combine(out)
		}
	}),
	inline("leaks-when-failed", AnyEnding, "leaves a goroutine behind for a job that has failed", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			for _, o := range core.OutcomesOf(err, intents) {
				if o.State == core.Failed {
					go func() { select {} }()
				}
			}
			return err
		}
	}),
}
