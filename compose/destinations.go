package compose

import (
	"context"

	"github.com/goairlock/airlock/core"
)

// destinations are several executors that share the intents of a call.
type destinations []core.Executor

// choose returns the index of the destination of an intent. An error refuses the
// intent, and then nothing of the call is sent.
type choose func(in *core.Intent) (int, error)

// wrapDestinations makes an executor that sends each intent to the destination
// that choose names.
func wrapDestinations(bad error, to destinations, choose choose) core.Executor {
	questions := answerWith(to.capabilities, func(ctx context.Context, intents []core.Intent) error {
		return to.check(ctx, intents, choose)
	})
	return wrap(bad, questions, func(ctx context.Context, intents []core.Intent) error {
		return to.dispatch(ctx, intents, choose)
	})
}

func (d destinations) dispatch(ctx context.Context, intents []core.Intent, choose choose) error {
	var few [32]int
	chosen, refused := assign(few[:0], intents, choose)
	switch {
	case refused != nil:
		return core.Combine(refused)
	case allSame(chosen):
		return d[chosen[0]].Call(ctx, intents)
	}
	parts := d.parts(intents, chosen)
	if refused := d.refuse(ctx, intents, parts); refused != nil {
		return core.Combine(refused)
	}
	return core.Combine(d.deliver(ctx, intents, parts))
}

func (d destinations) check(ctx context.Context, intents []core.Intent, choose choose) error {
	if len(intents) == 0 {
		for _, exec := range d {
			if err := exec.Check(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	var few [32]int
	chosen, refused := assign(few[:0], intents, choose)
	switch {
	case refused != nil:
		return refusal(refused)
	case allSame(chosen):
		return d[chosen[0]].Check(ctx, intents...)
	}
	return refusal(d.refuse(ctx, intents, d.parts(intents, chosen)))
}

func (d destinations) capabilities() (core.Capabilities, bool) {
	all := make([]core.Capabilities, len(d))
	for i, exec := range d {
		caps, ok := exec.Capabilities()
		if !ok {
			return core.Capabilities{}, false
		}
		all[i] = caps
	}
	return CommonCapabilities(all...), true
}

// assign appends the destination of each intent to chosen. It calls choose once
// for each, since that may be the user's function. refused has the outcomes of
// the call if choose refuses an intent.
func assign(chosen []int, intents []core.Intent, choose choose) (_ []int, refused []core.Outcome) {
	for i := range intents {
		to, err := choose(&intents[i])
		if err != nil {
			refused = core.Reject(refused, intents, i, err)
		}
		chosen = append(chosen, to)
	}
	return chosen, refused
}

func allSame(chosen []int) bool {
	for _, to := range chosen {
		if to != chosen[0] {
			return false
		}
	}
	return true
}

// part is what one destination gets of a call.
type part struct {
	exec    core.Executor
	at      []int // positions in the call
	intents []core.Intent
}

// parts returns one part for each destination that was chosen, the destination
// of the call's first intent first.
func (d destinations) parts(intents []core.Intent, chosen []int) []part {
	var parts []part
	index := make([]int, len(d)) // of a destination's part, plus 1
	for i, to := range chosen {
		if index[to] == 0 {
			parts = append(parts, part{exec: d[to]})
			index[to] = len(parts)
		}
		p := &parts[index[to]-1]
		p.at = append(p.at, i)
	}
	for i := range parts {
		parts[i].intents = subset(intents, parts[i].at)
	}
	return parts
}

// refuse asks each destination about its part. It returns the outcomes of the
// call if one of them would refuse: then nothing at all is sent.
func (d destinations) refuse(ctx context.Context, intents []core.Intent, parts []part) (out []core.Outcome) {
	for _, p := range parts {
		for k, o := range check(ctx, p.exec, p.intents) {
			if out == nil {
				out = core.Reject(out, intents, p.at[k], o.Err)
			}
			out[p.at[k]] = o
		}
	}
	return out
}

// deliver makes one call per part. After a part that failed, and once the context
// has ended, no further part is sent.
func (d destinations) deliver(ctx context.Context, intents []core.Intent, parts []part) []core.Outcome {
	out := core.Outcomes(intents, core.Accepted, nil)
	failed, left := false, false
	for _, p := range parts {
		if failed || ctx.Err() != nil {
			left = true
			for _, i := range p.at {
				out[i].State, out[i].Err = core.NotSent, core.ErrEarlierFailed
				if !failed {
					out[i].Err = core.ContextError(ctx)
				}
			}
			continue
		}
		for k, o := range call(ctx, p.exec, p.intents) {
			out[p.at[k]] = o
			failed = failed || !settled(o.State)
		}
	}
	if left && ctx.Err() != nil {
		addContextError(ctx, out)
	}
	return out
}
