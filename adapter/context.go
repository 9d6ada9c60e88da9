package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/core"
)

// AddContextError adds the context's error to the outcomes of a call during which
// ctx has ended, so that errors.Is finds it on the [*core.DispatchError] whatever
// the worst state is (duty 6 of [core.Executor]). It changes every outcome that
// is neither accepted nor a duplicate. It changes nothing if ctx has not ended, or
// if every intent has a definite answer: then the end of ctx has prevented
// nothing.
func AddContextError(ctx context.Context, out []core.Outcome) {
	if ctx.Err() == nil || !undecided(out) {
		return
	}
	for i := range out {
		o := &out[i]
		switch {
		case o.State == core.Accepted || o.State == core.Duplicate:
		case o.Err == nil:
			o.Err = core.ContextError(ctx)
		case !errors.Is(o.Err, ctx.Err()):
			o.Err = fmt.Errorf("%w; the context ended: %w", o.Err, core.ContextError(ctx))
		}
	}
}

func undecided(out []core.Outcome) bool {
	for i := range out {
		if s := out[i].State; s == core.Unknown || s == core.NotSent {
			return true
		}
	}
	return false
}
