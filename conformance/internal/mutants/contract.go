package mutants

import (
	"bytes"
	"context"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var contractMutants = []Variant{
	queue("keeps-slice", "K05", "reads the caller's slice after it has returned", bug{outer: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) < 3 || ctx == nil || ctx.Err() != nil {
				return next(ctx, intents...)
			}
			for i := range intents {
				if err := referenceCaps().Check(intents[i]); err != nil {
					return next(ctx, intents...)
				}
			}
			time.AfterFunc(time.Millisecond, func() {
				next(context.Background(), intents...) //nolint:errcheck // that is the bug
			})
			return nil
		}
	}}),
	queue("writes-defaults-back", "K05", "sets options of the caller's intents", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			for i := range intents {
				if intents[i].Options.MaxAttempts == 0 {
					intents[i].Options.MaxAttempts = 25
				}
			}
			return err
		}
	}}),
	queue("scribbles-on-payload", "K05", "uses the payload's memory as its own", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			for i := range intents {
				clear(intents[i].Payload())
			}
			return err
		}
	}, admit: func(_ *store, j *job) bool {
		j.payload = bytes.Clone(j.payload)
		return true
	}}),
	queue("dedups-by-content", "K06", "treats equal arguments as the same job", bug{id: func(in core.Intent) string {
		if in.Has(core.OptionID) {
			return in.ID
		}
		return in.Task + string(in.Payload())
	}}),
	queue("panics-on-nil-context", "K07", "panics without a context", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if ctx.Err() != nil && len(intents) == 0 {
				return nil
			}
			return next(ctx, intents...)
		}
	}}),
	queue("blank-job", "K07", "takes a zero intent", bug{outer: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) == 1 && intents[0].ID == "" {
				return nil
			}
			return next(ctx, intents...)
		}
	}}),
	queue("own-ids", "K10", "gives each job another ID", bug{deliver: func(j *job, d *worker.Delivery) { d.ID = "job-" + d.ID }}),
	queue("acks-unknown-tasks", "K11", "acknowledges a job that no handler knows", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Parked {
			*v = worker.Verdict{Action: worker.Done}
		}
	}}),
	inline("hides-unknown-tasks", "K11", "returns nil for an unknown task and runs nothing", inlineCaps(), func(next core.Executor, reg *worker.Registry) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) == 1 && intents[0].Task != "" && !reg.Handles(intents[0].Task) {
				return nil
			}
			return next(ctx, intents...)
		}
	}),
}
