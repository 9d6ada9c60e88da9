package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// WithFallback sends to secondary what primary could not take: intents that are
// NotSent, and those that primary Rejected because of an option, so that
// errors.Is finds [core.ErrUnsupported]. They go in one call, in their order,
// with the same IDs. An intent that is Unknown or Failed may be stored or has
// run, and never goes to another backend, where its ID would not be recognised;
// what is Rejected for another reason would be refused everywhere.
//
// Each intent goes where it would go alone. If primary refuses a call because of
// options that it does not support, what it did not refuse is offered to it
// once more, and secondary gets only the others. If primary refuses a call for
// any other reason as well, the call is refused: nothing goes to secondary.
//
// When ctx has ended there is no fallback. For an intent that went to secondary
// the outcome is secondary's; its error tells primary's reason too.
//
// The two have ID windows of their own: the same intent sent again later may
// find primary recovered and be stored on both.
func WithFallback(primary, secondary core.Executor) core.Executor {
	return wrap(missing("WithFallback", primary, secondary), func(ctx context.Context, intents []core.Intent) []core.Outcome {
		out := call(ctx, primary, intents)
		if out == nil || refusedWhole(out) && !unsupportedOnly(out) {
			return out
		}
		withoutRefused(ctx, primary, intents, out)
		fallBack(ctx, secondary, intents, out)
		return out
	})
}

// unsupportedOnly reports that nothing was Rejected but for its options.
func unsupportedOnly(out []core.Outcome) bool {
	for i := range out {
		if out[i].State == core.Rejected && !unsupported(&out[i]) {
			return false
		}
	}
	return true
}

func unsupported(o *core.Outcome) bool {
	return o.State == core.Rejected && is(o.Err, core.ErrUnsupported)
}

// fallBack gives secondary what primary's outcomes leave to it and enters its
// answer into out.
func fallBack(ctx context.Context, secondary core.Executor, intents []core.Intent, out []core.Outcome) {
	var left []int
	for i := range out {
		if out[i].State == core.NotSent || unsupported(&out[i]) {
			left = append(left, i)
		}
	}
	if len(left) == 0 {
		return
	}
	if ctx.Err() != nil {
		for _, i := range left {
			if out[i].State == core.NotSent {
				interrupt(ctx, &out[i])
			}
		}
		return
	}
	again := subset(intents, left)
	answer := call(ctx, secondary, again)
	for k, i := range left {
		o := part(answer, again, k)
		if !settled(o.State) {
			o.Err = beside(o.Err, "before that, primary", out[i].Err)
		}
		out[i] = o
	}
}
