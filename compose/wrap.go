package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// dispatch is what a wrapper does with a call of at least one intent. It returns
// nil or a *core.DispatchError with one outcome per intent.
type dispatch func(ctx context.Context, intents []core.Intent) error

// wrap makes an executor of a dispatch and of what answers questions. It answers
// what needs neither. bad is the mistake in the arguments of the wrapper, or nil.
func wrap(bad error, answer answer, dispatch dispatch) core.Executor {
	if bad != nil {
		answer = mistake(bad)
	}
	return func(ctx context.Context, intents ...core.Intent) error {
		switch {
		case len(intents) == 0:
			answer(ctx)
			return nil
		case bad != nil:
			return core.Combine(core.Outcomes(intents, core.Rejected, bad))
		case ctx == nil:
			return core.Combine(core.Outcomes(intents, core.Rejected, errNilContext))
		case ctx.Err() != nil:
			return core.Combine(core.Outcomes(intents, core.NotSent, core.ContextError(ctx)))
		}
		return dispatch(ctx, intents)
	}
}

// needs returns the mistake of a wrapper that was made with a nil executor.
func needs(wrapper string, execs ...core.Executor) error {
	for _, exec := range execs {
		if exec == nil {
			return invalidf("%s: nil executor", wrapper)
		}
	}
	return nil
}

// call makes one call of an executor and returns the outcomes, or nil if every
// intent was accepted: the common case costs nothing.
func call(ctx context.Context, exec core.Executor, intents []core.Intent) []core.Outcome {
	err := exec.Call(ctx, intents)
	if err == nil {
		return nil
	}
	return core.OutcomesOf(err, intents)
}

// subset returns the intents at these positions, which ascend. It copies only if
// there are gaps.
func subset(intents []core.Intent, at []int) []core.Intent {
	first, last := at[0], at[len(at)-1]
	if last-first == len(at)-1 {
		return intents[first : last+1 : last+1]
	}
	some := make([]core.Intent, len(at))
	for k, i := range at {
		some[k] = intents[i]
	}
	return some
}

// outcomeAt returns the outcome of the k-th intent of a call, given what the
// function call returned for it.
func outcomeAt(out []core.Outcome, intents []core.Intent, k int) core.Outcome {
	if out == nil {
		return intents[k].Outcome(core.Accepted, nil)
	}
	return out[k]
}

// settled reports whether nothing is left to do for an intent.
func settled(s core.State) bool { return s == core.Accepted || s == core.Duplicate }
