package mutants

import (
	"context"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// shifting makes an executor that gives each job of a large call an option of the job
// before it.
func shifting(next core.Executor, change func(in, before *core.Intent)) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) < 60 {
			return next(ctx, intents...)
		}
		shifted := slices.Clone(intents)
		for i := range intents[1:] {
			change(&shifted[i+1], &intents[i])
		}
		return next(ctx, shifted...)
	}
}

func shiftingBug(b bug, change func(in, before *core.Intent)) bug {
	b.outer = func(next core.Executor, _ *system) core.Executor { return shifting(next, change) }
	return b
}

// mixedMutants give a job the options of another one, in large calls only.
var mixedMutants = []Variant{
	queue("large-calls-shift-queues", "B08", "puts the jobs of a large call into the queues of those before them", shiftingBug(bug{}, func(in, before *core.Intent) {
		in.Options.Queue = before.Options.Queue
	})),
	queue("large-calls-shift-times", "B08", "gives the delayed jobs of a large call the time of the delayed ones before them", shiftingBug(bug{}, func(in, before *core.Intent) {
		if !in.Options.At.IsZero() && !before.Options.At.IsZero() {
			in.Options.At = before.Options.At
		}
	})),
	queue("pool-forgets-late-times", "B08", "runs the delayed jobs behind the first hundred at once, in memory", func() bug {
		return bug{
			caps: boundedPool(0, nil).caps, system: boundedPool(0, nil).system, fetchAfterStop: true,
			outer: func(next core.Executor, _ *system) core.Executor {
				return func(ctx context.Context, intents ...core.Intent) error {
					late := slices.Clone(intents)
					for i := range late {
						if i > 100 {
							late[i].Options.At = time.Time{}
						}
					}
					return next(ctx, late...)
				}
			},
		}
	}()),
	inline("inline-large-calls-shift-queues", "B08", "runs the jobs of a large call as jobs of the queue of those before them", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return shifting(next, func(in, before *core.Intent) { in.Options.Queue = before.Options.Queue })
	}),
}
