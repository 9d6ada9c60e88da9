package mutants

import (
	"context"
	"sync/atomic"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// atOnce makes an executor that drops options of the jobs of a call while another
// call is under way.
func atOnce(next core.Executor, names ...core.OptionName) core.Executor {
	var inside atomic.Int64
	return func(ctx context.Context, intents ...core.Intent) error {
		busy := inside.Add(1) > 1
		defer inside.Add(-1)
		yield()
		if busy {
			plain := make([]core.Intent, len(intents))
			for i := range intents {
				plain[i] = intents[i].Without(names...)
			}
			intents = plain
		}
		return next(ctx, intents...)
	}
}

// sentMutants lose a part of a job in places where no check looks at this part. Each
// is found because every run of every check is compared with what was sent.
var sentMutants = []Variant{
	queue("at-once-without-headers", AnyEnding, "forgets the headers of jobs that are sent while another call is under way", bug{
		inner: func(next core.Executor, _ *system) core.Executor { return atOnce(next, core.OptionHeader) },
	}),
	queue("long-queue-has-no-timeout", AnyEnding, "forgets the timeout of a job if more than 100 wait", bug{admit: func(s *store, j *job) bool {
		if len(s.ready) > 100 {
			j.in = j.in.Without(core.OptionTimeout)
		}
		return true
	}}),
	queue("full-pool-forgets-attempts", AnyEnding, "forgets the attempts of the jobs of a large call that waits for room", func() bug {
		b := boundedPool(64, nil)
		b.inner = func(next core.Executor, s *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				var out []core.Outcome
				for _, in := range intents {
					s.store.mu.Lock()
					full := len(s.store.ready)+len(s.store.later) >= 64
					s.store.mu.Unlock()
					err := s.awaitRoom(ctx, 64, nil)
					if full && len(intents) > 10 {
						in = in.Without(core.OptionMaxAttempts)
					}
					if err == nil {
						err = next(ctx, in)
					}
					out = append(out, core.OutcomesOf(err, []core.Intent{in})...)
				}
				return core.Combine(out)
			}
		}
		return b
	}()),
	inline("inline-at-once-without-headers", AnyEnding, "forgets the headers of jobs that are run while another call is under way", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return atOnce(next, core.OptionHeader)
	}),
}
