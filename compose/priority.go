package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// The priorities that [WithPriority] goes by; the bounds are those of
// [core.Priority].
const (
	defaultThreshold = 8
	unsetPriority    = 5
	lowestPriority   = 1
	highestPriority  = 10
)

// WithPriority sends intents whose priority is threshold or more to urgent and
// all others to base: two queues with workers of their own in place of
// priorities within one. An intent without a priority counts as 5. A threshold
// of 0 means 8; one outside 1 to 10 is [core.ErrInvalid] at each call.
//
// The option goes on with the intent, since an executor may rank by it as well.
// One that refuses priorities is given as Strip(exec, core.OptionPriority).
func WithPriority(base, urgent core.Executor, threshold int) core.Executor {
	bad := missing("WithPriority", base, urgent)
	if threshold == 0 {
		threshold = defaultThreshold
	}
	if threshold < lowestPriority || threshold > highestPriority {
		bad = invalidf("WithPriority: threshold %d, want %d to %d", threshold, lowestPriority, highestPriority)
	}
	both := destinations{base, urgent}
	side := func(in *core.Intent) (int, error) {
		p := in.Options.Priority
		if p == 0 {
			p = unsetPriority
		}
		if p >= threshold {
			return 1, nil
		}
		return 0, nil
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		return both.deliver(ctx, intents, side)
	})
}
