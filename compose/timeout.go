package compose

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// WithTimeout bounds each call: the executor's context ends d after the call
// began, unless it ends earlier by itself. errors.Is then finds
// [context.DeadlineExceeded], and what was not decided in time is Unknown.
//
// The call still returns when the executor does. It keeps no goroutine to leave
// a slow one behind: that an executor returns promptly when its context ends is
// its duty, and where it cannot, the CancelLatency of its [core.Capabilities]
// says how long it takes. What it has answered by then holds, accepted intents
// included.
//
// d is more than 0; anything else is [core.ErrInvalid] at each call. Not to be
// confused with the option [core.Timeout], which bounds the job.
func WithTimeout(exec core.Executor, d time.Duration) core.Executor {
	bad := missing("WithTimeout", exec)
	if d <= 0 {
		bad = invalidf("WithTimeout: %v, want more than 0", d)
	}
	cause := fmt.Errorf("airlock: WithTimeout gives each call %v", d)
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		ctx, cancel := context.WithTimeoutCause(ctx, d, cause)
		defer cancel()
		out := call(ctx, exec, intents)
		if out == nil || ctx.Err() == nil {
			return out
		}
		for i := range out {
			if s := out[i].State; s == core.Unknown || s == core.NotSent {
				interrupt(ctx, &out[i])
			}
		}
		return out
	})
}
