package compose

import (
	"context"
	"errors"

	"github.com/goairlock/airlock/core"
)

// WithFallback sends to secondary what primary could not take: intents that are
// NotSent, and intents that primary Rejected because of an option, so that
// errors.Is finds [core.ErrUnsupported]. They go in one call, in their order,
// with the same IDs. An intent that is Unknown or Failed never goes to secondary:
// it may be stored or has run, and another backend does not know its ID. An
// intent that is Rejected for another reason would be refused everywhere.
//
// A plain error means Unknown. A function of your own around primary, such as a
// circuit breaker, therefore wraps [core.ErrUnavailable] or [core.ErrNotSent] in
// the error of a call that it did not make.
//
// If primary refuses a call, and only because of options, then primary is offered
// the other intents once more and secondary gets the refused ones. If secondary
// would refuse one of these too, or primary has refused an intent for another
// reason, the whole call is refused and nothing is sent.
//
// Once ctx has ended there is no fallback. The outcome of an intent that went to
// secondary is secondary's; its error shows primary's reason as well.
//
// The two have ID windows of their own: the same intent sent again later may
// find primary recovered and be stored on both.
//
// The [core.Capabilities] take an option if either executor takes it. What they
// promise is what both keep: they have the weaker delivery, durability and order,
// and no ID window. The payload limit is primary's. An option that each takes
// only without the other's is refused by their Refuse function. Native options
// pass only between executors of one name.
func WithFallback(primary, secondary core.Executor) core.Executor {
	f := fallback{primary, secondary}
	bad := needs("WithFallback", primary, secondary)
	return wrap(bad, answerWith(f.capabilities, f.check), f.dispatch)
}

type fallback struct{ primary, secondary core.Executor }

func (f fallback) dispatch(ctx context.Context, intents []core.Intent) error {
	out := call(ctx, f.primary, intents)
	if out == nil {
		return nil
	}
	if refusedWhole(out) {
		if !refusedForOptions(out) {
			return core.Combine(out)
		}
		if refused := f.refusedByBoth(ctx, intents, out); refused != nil {
			return core.Combine(refused)
		}
		sendUnrefused(ctx, f.primary, intents, out)
	}
	f.fallBack(ctx, intents, out)
	return core.Combine(out)
}

func (f fallback) check(ctx context.Context, intents []core.Intent) error {
	if len(intents) == 0 {
		if err := f.primary.Check(ctx); err != nil {
			return err
		}
		return f.secondary.Check(ctx)
	}
	out := check(ctx, f.primary, intents)
	if out == nil || !refusedForOptions(out) {
		return refusal(out)
	}
	return refusal(f.refusedByBoth(ctx, intents, out))
}

// refusedForOptions reports whether every intent that is Rejected is so because
// of its options.
func refusedForOptions(out []core.Outcome) bool {
	for i := range out {
		if out[i].State == core.Rejected && !unsupported(&out[i]) {
			return false
		}
	}
	return true
}

func unsupported(o *core.Outcome) bool {
	return o.State == core.Rejected && errors.Is(o.Err, core.ErrUnsupported)
}

// forSecondary returns the positions of the intents that primary's outcomes leave
// to secondary.
func forSecondary(out []core.Outcome, refusedOnly bool) (left []int) {
	for i := range out {
		if unsupported(&out[i]) || !refusedOnly && out[i].State == core.NotSent {
			left = append(left, i)
		}
	}
	return left
}

// refusedByBoth asks secondary about the intents that primary has refused for
// their options. It returns the outcomes of the call if secondary refuses one of
// them as well.
func (f fallback) refusedByBoth(ctx context.Context, intents []core.Intent, out []core.Outcome) []core.Outcome {
	left := forSecondary(out, true)
	if len(left) == 0 || ctx.Err() != nil {
		return nil
	}
	answer := check(ctx, f.secondary, subset(intents, left))
	if answer == nil {
		return nil
	}
	refused := make([]core.Outcome, len(out))
	copy(refused, out)
	for k, i := range left {
		refused[i] = answer[k]
		refused[i].Err = annotate(answer[k].Err, fromPrimary, out[i].Err)
	}
	return refused
}

// fallBack gives secondary what primary's outcomes leave to it and enters its
// answer into out.
func (f fallback) fallBack(ctx context.Context, intents []core.Intent, out []core.Outcome) {
	left := forSecondary(out, false)
	if len(left) == 0 {
		return
	}
	if ctx.Err() != nil {
		addContextError(ctx, out)
		return
	}
	again := subset(intents, left)
	answer := call(ctx, f.secondary, again)
	for k, i := range left {
		o := outcomeAt(answer, again, k)
		if !settled(o.State) {
			o.Err = annotate(o.Err, fromPrimary, out[i].Err)
		}
		out[i] = o
	}
}

func (f fallback) capabilities() (core.Capabilities, bool) {
	first, ok := f.primary.Capabilities()
	if !ok {
		return core.Capabilities{}, false
	}
	second, ok := f.secondary.Capabilities()
	if !ok {
		return core.Capabilities{}, false
	}
	either := eitherCapabilities(first, second)
	// The claims judge each option alone. Only the executors together know which
	// of them takes all options of one intent.
	either.Refuse = func(in core.Intent) error {
		return f.check(context.Background(), []core.Intent{in})
	}
	return either, true
}
