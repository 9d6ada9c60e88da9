package airlock

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/goairlock/airlock/core"
)

// place is where a context stands: a list, innermost first, of the scopes and
// regions that it is in. An intent keeps the place at which it was enqueued, and
// so knows every policy that judges it, in order.
type place struct {
	outer   *place
	scope   *Scope // the innermost scope here; nil outside of every one
	policy  Policy // of the scope or region that begins here
	refuses bool   // whether a policy here or further out has OnEnqueue
	filters bool   // whether a policy here or further out has Allows
	judging bool   // inside a policy's function

	judgements *atomic.Int32 // how many are under way in this and all places around it
}

type placeKey struct{}

func placeOf(ctx context.Context) *place {
	at, _ := ctx.Value(placeKey{}).(*place)
	return at
}

// within returns a place one further in. A nil scope means that of p.
func (p *place) within(scope *Scope, policy Policy) *place {
	in := &place{outer: p, scope: scope, policy: policy}
	in.refuses, in.filters = policy.OnEnqueue != nil, policy.Allows != nil
	if p == nil {
		in.judgements = new(atomic.Int32)
	} else {
		in.judgements = p.judgements
		in.refuses = in.refuses || p.refuses
		in.filters = in.filters || p.filters
		if scope == nil {
			in.scope = p.scope
		}
	}
	return in
}

func (p *place) attach(ctx context.Context) context.Context {
	return context.WithValue(ctx, placeKey{}, p)
}

// judge asks every policy whether the intents may be enqueued, innermost first.
func (p *place) judge(ctx context.Context, intents []core.Intent) error {
	if !p.refuses {
		return nil
	}
	// A policy that enqueues with the context it was given is seen by add. One
	// that kept another context would call itself for ever; that can only be
	// while a judgement is under way here, so only then is the stack searched.
	under := p.judgements.Add(1)
	defer p.judgements.Add(-1)
	if under > 1 && calledByPolicy() {
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrPolicyEnqueue)
	}
	inside := (&place{scope: p.scope, judging: true, judgements: p.judgements}).attach(ctx)
	for at := p; at != nil; at = at.outer {
		if at.policy.OnEnqueue == nil {
			continue
		}
		for i := range intents {
			if err := askPolicy(inside, &at.policy, &intents[i]); err != nil {
				return fmt.Errorf("airlock: policy %s refuses task %s: %w", at.policy.name(), intents[i].Task, err)
			}
		}
	}
	return nil
}

// askPolicy is found by calledByPolicy on the stack, so it must not be inlined.
//
//go:noinline
func askPolicy(ctx context.Context, p *Policy, in *core.Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return p.OnEnqueue(ctx, *in)
}

const askPolicyName = "github.com/goairlock/airlock.askPolicy"

func calledByPolicy() bool {
	var pcs [64]uintptr
	for skip := 0; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		frames := runtime.CallersFrames(pcs[:n])
		for {
			f, more := frames.Next()
			if f.Function == askPolicyName {
				return true
			}
			if !more {
				break
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}

// allows asks every policy whether the intent may leave, innermost first.
func (p *place) allows(ctx context.Context, in *core.Intent) bool {
	for at := p; at != nil; at = at.outer {
		if at.policy.Allows != nil && !at.policy.Allows(ctx, *in) {
			return false
		}
	}
	return true
}
