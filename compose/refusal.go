package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// check asks exec about these intents and returns the outcomes with which it
// would refuse them, or nil if it would not.
func check(ctx context.Context, exec core.Executor, intents []core.Intent) []core.Outcome {
	err := exec.Check(ctx, intents...)
	if err == nil {
		return nil
	}
	out := core.OutcomesOf(err, intents)
	for i := range out {
		if out[i].State == core.Unknown { // an error without a sentinel; a question sends nothing
			out[i].State = core.Rejected
		}
	}
	return out
}

// refusal is the answer to a Check, given the outcomes of a refused call, or nil.
// For one intent it is the reason itself.
func refusal(out []core.Outcome) error {
	if len(out) == 1 {
		return out[0].Err
	}
	return core.Combine(out)
}

// refusedWhole reports whether a call was refused as one: an intent was Rejected
// and for that reason none was sent (duty 3 of core.Executor).
func refusedWhole(out []core.Outcome) bool {
	rejected := false
	for i := range out {
		switch out[i].State {
		case core.Rejected:
			rejected = true
		case core.NotSent:
		default:
			return false
		}
	}
	return rejected
}

// sendUnrefused sends the rest of a call that was refused as one, without the
// refused intents, so that each intent gets what it would get alone (duty 9). It
// updates out.
func sendUnrefused(ctx context.Context, exec core.Executor, intents []core.Intent, out []core.Outcome) {
	if !refusedWhole(out) || ctx.Err() != nil {
		return
	}
	var rest []int
	for i := range out {
		if out[i].State == core.NotSent {
			rest = append(rest, i)
		}
	}
	if len(rest) == 0 {
		return
	}
	again := subset(intents, rest)
	answer := call(ctx, exec, again)
	for k, i := range rest {
		out[i] = outcomeAt(answer, again, k)
	}
}
