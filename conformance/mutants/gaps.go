package mutants

import (
	"context"
	"strings"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
)

// gapMutants were written to get past the suite as it was.
var gapMutants = []Variant{
	queue("snooze-resets-attempts", "P18", "counts from one again after a snooze", bug{verdict: func(j *job, _ core.Delivery, v *core.Verdict) {
		if v.Action == core.Snoozed {
			j.attempt = 1
		}
	}}),
	queue("retry-loses-queue", "A12", "retries in the default queue", bug{verdict: func(j *job, _ core.Delivery, v *core.Verdict) {
		if v.Action == core.Retry {
			j.queue = ""
		}
	}}),
	queue("folds-ids", "I01", "takes IDs that differ in case for one", bug{id: func(in core.Intent) string { return strings.ToLower(in.ID) }}),
	queue("cuts-ids", "I01", "looks at the first 64 bytes of an ID", bug{id: func(in core.Intent) string { return in.ID[:min(len(in.ID), 64)] }}),
	queue("cuts-keys", "P15", "looks at the first 64 bytes of a unique key", bug{key: func(in core.Intent) string {
		return in.Task + "\n" + in.Options.Queue + "\n" + in.Options.Unique[:min(len(in.Options.Unique), 64)]
	}}),
	queue("glues-keys", "P15", "joins task, queue and key without a mark between", bug{key: func(in core.Intent) string {
		return in.Task + in.Options.Queue + in.Options.Unique
	}}),
	queue("clamps-attempts", "P10", "runs a job 25 times at most, whatever it says", bug{deliver: func(_ *job, d *core.Delivery) { d.MaxAttempts = min(d.MaxAttempts, 25) }}),
	queue("merges-priorities", "P07", "claims ten priorities and has five", bug{order: func(a, b *job) int {
		if (a.rank+1)/2 != (b.rank+1)/2 {
			return b.rank - a.rank
		}
		return a.seq - b.seq
	}}),
	queue("deadline-into-job", "X03", "gives a job the time that its producer has left", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if end, ok := ctx.Deadline(); ok {
				limited := make([]core.Intent, len(intents))
				for i, in := range intents {
					if limited[i] = in; in.Options.Timeout == 0 {
						limited[i], _ = in.With(core.Timeout(max(time.Until(end), time.Millisecond)))
					}
				}
				intents = limited
			}
			return next(ctx, intents...)
		}
	}}),
	queue("stop-loses-delayed", "L10", "forgets at Stop what waits for its time", bug{system: func(out *conformance.System, s *system) {
		stop := out.Stop
		out.Stop = func(ctx context.Context) error {
			s.store.mu.Lock()
			s.store.later = nil
			s.store.mu.Unlock()
			return stop(ctx)
		}
	}}),
	queue("headers-of-last", "A11", "gives every job of a batch the headers of the last", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) < 2 {
				return next(ctx, intents...)
			}
			last := intents[len(intents)-1]
			var opts []core.Option
			for k, v := range last.Headers().All() {
				opts = append(opts, core.Header(k, v))
			}
			same := make([]core.Intent, len(intents))
			for i, in := range intents {
				same[i], _ = in.Without(core.OptionHeader).With(opts...)
			}
			return next(ctx, same...)
		}
	}}),
	queue("verbose-panics", "X07", "calls a job done whose handler panicked with an error", bug{verdict: func(_ *job, _ core.Delivery, v *core.Verdict) {
		if pe, ok := v.Err.(*core.PanicError); ok && v.Action == core.Retry {
			if _, isErr := pe.Value.(error); isErr {
				v.Action = core.Done
			}
		}
	}}),
}
