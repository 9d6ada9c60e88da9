package compose

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// WithTimeout limits the duration of each call: the executor's context ends d
// after the call began, or earlier if the caller's context ends. What was not
// decided in time is Unknown, and errors.Is finds [context.DeadlineExceeded].
//
// The call still returns when the executor returns. WithTimeout starts no
// goroutine and leaves no slow call behind: it is the executor's duty to return
// promptly when its context ends. What the executor has answered holds, also if
// it answered late: an accepted intent is accepted.
//
// d is more than 0; anything else is [core.ErrInvalid] at each call. The option
// [core.Timeout] is another thing: it limits the job.
func WithTimeout(exec core.Executor, d time.Duration) core.Executor {
	bad := needs("WithTimeout", exec)
	if d <= 0 {
		bad = invalidf("WithTimeout: %v, want more than 0", d)
	}
	cause := fmt.Errorf("WithTimeout limits each call to %v", d)
	return wrap(bad, passOn(exec), func(ctx context.Context, intents []core.Intent) error {
		ctx, cancel := context.WithTimeoutCause(ctx, d, cause)
		defer cancel()
		out := call(ctx, exec, intents)
		if ctx.Err() != nil && undecided(out) {
			addContextError(ctx, out)
		}
		return core.Combine(out)
	})
}

// undecided reports whether something was not sent, or has no answer.
func undecided(out []core.Outcome) bool {
	for i := range out {
		if s := out[i].State; s == core.Unknown || s == core.NotSent {
			return true
		}
	}
	return false
}
