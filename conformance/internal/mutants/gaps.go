package mutants

import (
	"context"
	"strings"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// gapMutants were written to pass an earlier version of the suite.
var gapMutants = []Variant{
	queue("snooze-resets-attempts", "P18", "counts from one again after a snooze", bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed {
			j.attempt = 1
		}
	}}),
	queue("retry-loses-queue", "A12", "retries in the default queue", bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry {
			j.queue = ""
		}
	}}),
	queue("folds-ids", "I01", "ignores the case of IDs", bug{id: func(in core.Intent) string { return strings.ToLower(in.ID) }}),
	queue("cuts-ids", "I01", "uses only the first 64 bytes of an ID", bug{id: func(in core.Intent) string { return in.ID[:min(len(in.ID), 64)] }}),
	queue("cuts-keys", "P15", "uses only the first 64 bytes of a unique key", bug{key: func(in core.Intent) string {
		return in.Task + "\n" + in.Options.Queue + "\n" + in.Options.Unique[:min(len(in.Options.Unique), 64)]
	}}),
	queue("glues-keys", "P15", "joins task, queue and key without a separator", bug{key: func(in core.Intent) string {
		return in.Task + in.Options.Queue + in.Options.Unique
	}}),
	queue("clamps-attempts", "P10", "never runs a job more than 25 times", bug{deliver: func(_ *job, d *worker.Delivery) { d.MaxAttempts = min(d.MaxAttempts, 25) }}),
	queue("merges-priorities", "P07", "declares ten priorities and has five", bug{order: func(a, b *job) int {
		if (a.rank+1)/2 != (b.rank+1)/2 {
			return b.rank - a.rank
		}
		return a.seq - b.seq
	}}),
	queue("deadline-into-job", "X03", "uses the producer's deadline as the job's timeout", bug{inner: func(next core.Executor, s *system) core.Executor {
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
	queue("stop-loses-delayed", "L10", "loses delayed jobs when it is stopped", bug{system: func(out *conformance.System, s *system) {
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
	queue("verbose-panics", "X07", "treats a panic with an error as success", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if pe, ok := v.Err.(*core.PanicError); ok && v.Action == worker.Retry {
			if _, isErr := pe.Value.(error); isErr {
				v.Action = worker.Done
			}
		}
	}}),
}
