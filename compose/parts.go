package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// destinations are several executors that share the intents of a call.
type destinations []core.Executor

// deliver sends each intent to the destination that to names by its index. An
// error of to refuses the intent, and then nothing of the call is sent.
func (d destinations) deliver(ctx context.Context, intents []core.Intent, to func(in *core.Intent) (int, error)) []core.Outcome {
	var (
		few     [32]int
		sides   = few[:0] // of each intent; to is asked once, for it may be the user's
		refused []core.Outcome
		mixed   bool
	)
	for i := range intents {
		side, err := to(&intents[i])
		if err != nil {
			refused = refuse(refused, intents, i, err)
		}
		sides = append(sides, side)
		mixed = mixed || side != sides[0]
	}
	switch {
	case refused != nil:
		return refused
	case !mixed:
		return call(ctx, d[sides[0]], intents)
	}
	return d.deliverParts(ctx, intents, sides)
}

// deliverParts makes one call per destination, in the order in which the
// destinations first occur in sides.
func (d destinations) deliverParts(ctx context.Context, intents []core.Intent, sides []int) []core.Outcome {
	parts := make([][]int, len(d))
	var order []int
	for i, side := range sides {
		if parts[side] == nil {
			order = append(order, side)
		}
		parts[side] = append(parts[side], i)
	}
	var (
		out   = every(intents, core.Accepted, nil)
		ended error
	)
	for _, side := range order {
		if ended == nil && ctx.Err() != nil {
			ended = contextError(ctx)
		}
		if ended != nil {
			for _, i := range parts[side] {
				out[i].State, out[i].Err = core.NotSent, ended
			}
			continue
		}
		for k, o := range call(ctx, d[side], subset(intents, parts[side])) {
			out[parts[side][k]] = o
			if !settled(o.State) {
				ended = errAfterFailure
			}
		}
		if ended != nil && ctx.Err() != nil { // which may be why it failed
			ended = contextError(ctx)
		}
	}
	return out
}
