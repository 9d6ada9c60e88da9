package mutants

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var errorMutants = []Variant{
	queue("ignores-context", "X01", "sends although the context is done", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if ctx == nil {
				return next(ctx, intents...)
			}
			return next(context.WithoutCancel(ctx), intents...)
		}
	}}),
	queue("bare-ignores-context", "X01", "ignores the context, and only the guard around it does not", bug{system: func(out *conformance.System, s *system) {
		out.Bare = func(ctx context.Context, intents ...core.Intent) error {
			return s.execute(context.WithoutCancel(ctx), intents...)
		}
	}}).like("go-cloud drivertest: the portable layer hides a driver that ignores its context"),
	queue("sends-then-complains", "X01", "looks at the context after it has sent", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if ctx == nil || ctx.Err() == nil {
				return next(ctx, intents...)
			}
			if err := next(context.WithoutCancel(ctx), intents...); err != nil {
				return err
			}
			return core.Combine(outcomes(intents, core.NotSent, ctx.Err()))
		}
	}}),
	queue("context-into-handler", "X03", "runs jobs with the producer's context", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			s.store.mu.Lock()
			for i := range intents {
				s.store.contexts[intents[i].ID] = ctx
			}
			s.store.mu.Unlock()
			return next(ctx, intents...)
		}
	}, perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		w.store.mu.Lock()
		ctx := w.store.contexts[d.ID]
		w.store.mu.Unlock()
		if ctx == nil || ctx.Err() != nil {
			ctx = w.ctx
		}
		return w.registry.Perform(ctx, d)
	}}),
	inline("values-into-handler", "X03", "passes the values of the producer's context to the handler", inlineCaps(), func(next core.Executor, reg *worker.Registry) core.Executor {
		return adapter.Each(inlineCaps(), func(ctx context.Context, in core.Intent) error { return performHere(ctx, reg, in) })
	}),
	queue("plain-errors", "X04", "returns the first error unchanged", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			var de *core.DispatchError
			if err := next(ctx, intents...); errors.As(err, &de) && len(intents) == 1 && de.Outcomes[0].Err != nil {
				return de.Outcomes[0].Err
			} else {
				return err
			}
		}
	}}),
	queue("stringly-errors", "X04", "formats errors with %v", bug{outer: rewording(func(o core.Outcome, _ core.Intent) error { return fmt.Errorf("executor: %v", o.Err) })}),
	queue("two-sentinels", "X04", "says ErrInvalid too for everything that it refuses", bug{outer: rewording(func(o core.Outcome, _ core.Intent) error {
		return fmt.Errorf("%w: %w", core.ErrInvalid, o.Err)
	})}),
	queue("shuffled-outcomes", "X04", "lists the refused intents first", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			var de *core.DispatchError
			if errors.As(err, &de) && len(de.Outcomes) == 2 && de.Outcomes[1].State == core.Rejected {
				return core.Combine([]core.Outcome{de.Outcomes[1], de.Outcomes[0]})
			}
			return err
		}
	}}),
	queue("says-not-sent-for-all", "B02", "does not say which intent of a batch it refused", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			out := core.OutcomesOf(err, intents)
			if len(out) < 4 {
				return err
			}
			for i := range out {
				if out[i].State == core.Rejected {
					for j := range out {
						out[j].State, out[j].Err = core.Rejected, out[i].Err
					}
					break
				}
			}
			return core.Combine(out)
		}
	}}),
	queue("sends-the-good-part", "B02", "sends what is before a refused intent", bug{outer: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			for i, o := range core.OutcomesOf(err, intents) {
				if o.State == core.Rejected && i > 0 && ctx != nil && len(intents) > 3 {
					s.execute(ctx, intents[:i]...) //nolint:errcheck // that is the bug
				}
			}
			return err
		}
	}}),
	queue("dumps-payload", "X05", "shows the payload in its errors", bug{outer: rewording(func(o core.Outcome, in core.Intent) error {
		return fmt.Errorf("%w (payload %s)", o.Err, in.Payload())
	})}),
	queue("dumps-headers", "X05", "shows headers in its errors", bug{outer: rewording(func(o core.Outcome, in core.Intent) error {
		return fmt.Errorf("%w (authorization %s)", o.Err, in.Headers().Get("Authorization"))
	})}),
	inline("stringly-handler-errors", "X06", "returns only the text of a handler's error", inlineCaps(), rewordingFailures(func(err error) error {
		return fmt.Errorf("job failed: %v", err)
	})),
	inline("failure-is-unknown", "X06", "says unknown for a failed job", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			for i := range out {
				if out[i].State == core.Failed && out[i].Err != nil && !isPanic(out[i].Err) {
					out[i].State = core.Unknown
				}
			}
			return core.Combine(out)
		}
	}),
	inline("panic-is-success", "X07", "treats a panic as success", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			for i := range out {
				if out[i].State == core.Failed && isPanic(out[i].Err) {
					out[i].State, out[i].Err = core.Accepted, nil
				}
			}
			return core.Combine(out)
		}
	}),
	queue("panic-is-done", "X07", "does not retry a job whose handler panicked", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Err != nil && isPanic(v.Err) {
			*v = worker.Verdict{Action: worker.Done}
		}
	}}),
	queue("panic-leaks-slot", "X07", "loses a slot with every panic", bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Err != nil && isPanic(v.Err) {
			j.holder.running++
		}
	}}),
}

func isPanic(err error) bool {
	var p *core.PanicError
	return errors.As(err, &p)
}

// rewording changes the error of every rejected intent.
func rewording(change func(core.Outcome, core.Intent) error) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			if err == nil {
				return nil
			}
			out := core.OutcomesOf(err, intents)
			for i := range out {
				if out[i].State == core.Rejected {
					out[i].Err = change(out[i], intents[i])
				}
			}
			return core.Combine(out)
		}
	}
}

func rewordingFailures(change func(error) error) func(core.Executor, *worker.Registry) core.Executor {
	return func(next core.Executor, _ *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			for i := range out {
				if out[i].State == core.Failed {
					out[i].Err = change(out[i].Err)
				}
			}
			return core.Combine(out)
		}
	}
}
