package compose

import "github.com/goairlock/airlock/core"

// The priorities by which [WithPriority] decides; the bounds are those of
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
// The intent keeps the option, since an executor may rank by it as well. Wrap an
// executor that refuses priorities with Strip(exec, core.OptionPriority).
func WithPriority(base, urgent core.Executor, threshold int) core.Executor {
	bad := needs("WithPriority", base, urgent)
	if threshold == 0 {
		threshold = defaultThreshold
	}
	if threshold < lowestPriority || threshold > highestPriority {
		bad = invalidf("WithPriority: threshold %d, want %d to %d", threshold, lowestPriority, highestPriority)
	}
	return wrapDestinations(bad, destinations{base, urgent}, func(in *core.Intent) (int, error) {
		priority := in.Options.Priority
		if priority == 0 {
			priority = unsetPriority
		}
		if priority >= threshold {
			return 1, nil
		}
		return 0, nil
	})
}
