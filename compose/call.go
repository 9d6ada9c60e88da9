package compose

import (
	"context"
	"runtime/debug"

	"github.com/goairlock/airlock/core"
)

// dispatch is the inside of a wrapper. It answers with one outcome per intent,
// or with nil if all of them were accepted: the common case costs nothing.
type dispatch func(ctx context.Context, intents []core.Intent) []core.Outcome

// wrap makes an executor of a dispatch and answers for it what needs no
// dispatch. bad is what was wrong when the wrapper was made.
func wrap(bad error, d dispatch) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		switch {
		case len(intents) == 0:
			return nil
		case bad != nil:
			return core.Combine(every(intents, core.Rejected, bad))
		case ctx == nil:
			return core.Combine(every(intents, core.Rejected, invalidf("nil context")))
		case ctx.Err() != nil:
			return core.Combine(every(intents, core.NotSent, contextError(ctx)))
		}
		return core.Combine(d(ctx, intents))
	}
}

// missing tells of a wrapper made with a nil executor.
func missing(wrapper string, execs ...core.Executor) error {
	for _, exec := range execs {
		if exec == nil {
			return invalidf("%s: nil executor", wrapper)
		}
	}
	return nil
}

// call makes one call of an executor. Its panic, or that of an error type of its
// own, leaves every intent Unknown. Nil means that all were accepted.
func call(ctx context.Context, exec core.Executor, intents []core.Intent) (out []core.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			out = every(intents, core.Unknown, &core.PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	err := exec(ctx, intents...)
	if err == nil {
		return nil
	}
	out = core.OutcomesOf(err, intents)
	for i := range out {
		if out[i].State > core.Failed { // not a state: nothing may be assumed
			out[i].State = core.Unknown
		}
	}
	return out
}

func outcome(in *core.Intent, s core.State, err error) core.Outcome {
	return core.Outcome{ID: in.ID, State: s, Err: err, Task: in.Task, Queue: in.Options.Queue}
}

// every answers the same for each intent.
func every(intents []core.Intent, s core.State, err error) []core.Outcome {
	out := make([]core.Outcome, len(intents))
	for i := range intents {
		out[i] = outcome(&intents[i], s, err)
	}
	return out
}

// refuse adds a refusal to out, which is nil until there is one: the i-th intent
// is Rejected, and those that nobody refuses are NotSent.
func refuse(out []core.Outcome, intents []core.Intent, i int, err error) []core.Outcome {
	if out == nil {
		out = every(intents, core.NotSent, errRefusedBeside)
	}
	out[i].State, out[i].Err = core.Rejected, err
	return out
}

// subset returns the intents at these positions, which ascend. It copies only
// where there are gaps.
func subset(intents []core.Intent, at []int) []core.Intent {
	first, last := at[0], at[len(at)-1]
	if last-first == len(at)-1 {
		return intents[first : last+1 : last+1]
	}
	part := make([]core.Intent, len(at))
	for k, i := range at {
		part[k] = intents[i]
	}
	return part
}

// part returns the outcome of the k-th intent of a call, given call's answer.
func part(out []core.Outcome, intents []core.Intent, k int) core.Outcome {
	if out == nil {
		return outcome(&intents[k], core.Accepted, nil)
	}
	return out[k]
}

// settled reports that there is nothing left to be done for an intent.
func settled(s core.State) bool { return s == core.Accepted || s == core.Duplicate }

// refusedWhole reports that a call was refused as one: an intent was Rejected
// and for that reason none was sent (duty 3).
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

// withoutRefused sends once more, without what was refused, the rest of a call
// that was refused as one, so that each intent fares as it would have fared
// alone (duty 9). It changes out.
func withoutRefused(ctx context.Context, exec core.Executor, intents []core.Intent, out []core.Outcome) {
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
		out[i] = part(answer, again, k)
	}
}
