package mutants

import (
	"context"
	"slices"
	"sync"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// inParts makes an executor that splits calls into parts of n around the guard, so
// that each part is checked when its turn comes.
func inParts(n int, next core.Executor) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if ctx == nil || len(intents) <= n {
			return next(ctx, intents...)
		}
		var out []core.Outcome
		for part := range slices.Chunk(intents, n) {
			out = append(out, core.OutcomesOf(next(ctx, part...), part)...)
		}
		return core.Combine(out)
	}
}

func outerParts(n int) bug {
	return bug{outer: func(next core.Executor, _ *system) core.Executor { return inParts(n, next) }}
}

// losing makes an executor that drops one intent of calls of some sizes.
func losing(which func(size int) (at int, lost bool)) bug {
	return bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if at, lost := which(len(intents)); lost {
				intents = slices.Delete(slices.Clone(intents), at, at+1)
			}
			return next(ctx, intents...)
		}
	}}
}

// sizeMutants do wrong in batches of some sizes.
var sizeMutants = []Variant{
	queue("checks-parts-of-100", "B06", "finds a refusal behind the first 100 intents after it has sent them", outerParts(100)),
	queue("checks-parts-of-512", "B06", "finds a refusal behind the first 512 intents after it has sent them", outerParts(512)),
	queue("checks-no-more-than-256", "B06", "does not check the intents behind the first 256", bug{outer: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if ctx == nil || ctx.Err() != nil || len(intents) <= 256 {
				return next(ctx, intents...)
			}
			out := core.OutcomesOf(next(ctx, intents[:256]...), intents[:256])
			return core.Combine(append(out, core.OutcomesOf(s.execute(ctx, intents[256:]...), intents[256:])...))
		}
	}}),
	queue("loses-one-of-200", "B07", "loses the last of a batch of just 200, 400, 600", losing(func(n int) (int, bool) { return n - 1, n > 0 && n%200 == 0 })),
	queue("loses-the-101st", "B07", "loses the first of the second hundred, if that is all there is of it", losing(func(n int) (int, bool) { return 100, n == 101 })),
	queue("one-buffer-for-all", "B07", "keeps the second part of a large call where another call finds it", func() bug {
		var mu sync.Mutex
		var buffer []core.Intent
		return bug{inner: func(next core.Executor, _ *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				if len(intents) <= 100 {
					return next(ctx, intents...)
				}
				mu.Lock()
				buffer = append(buffer[:0], intents[100:]...)
				mu.Unlock()
				out := core.OutcomesOf(next(ctx, intents[:100]...), intents[:100])
				yield()
				mu.Lock()
				rest := slices.Clone(buffer)
				mu.Unlock()
				out = append(out, core.OutcomesOf(next(ctx, rest...), intents[100:])...)
				return core.Combine(out)
			}
		}}
	}()),
	queue("duplicates-end-parts", "B07", "says duplicate for the rest of a part behind a duplicate", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			for i := 1; i < len(out) && len(out) > 60; i++ {
				if out[i-1].State == core.Duplicate && i%100 != 0 {
					out[i].State, out[i].Err = core.Duplicate, core.ErrDuplicate
				}
			}
			return core.Combine(out)
		}
	}}),
	inline("inline-parts-of-100", "B06", "finds a refusal behind the first 100 intents after it has run them", inlineCaps(), func(next core.Executor, _ *worker.Registry) core.Executor {
		return inParts(100, next)
	}),
}
