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

	// judgements counts those under way in any place of the same tree. Nil in the
	// places that policies and executors are given: a tree begins anew there.
	judgements *atomic.Int32
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
	if p != nil {
		in.judgements = p.judgements
		in.judging = p.judging
		in.refuses = in.refuses || p.refuses
		in.filters = in.filters || p.filters
		if scope == nil {
			in.scope = p.scope
		}
	}
	if in.judgements == nil {
		in.judgements = new(atomic.Int32)
	}
	return in
}

func (p *place) attach(ctx context.Context) context.Context {
	return context.WithValue(ctx, placeKey{}, p)
}

// inPolicy reports whether a policy is calling. One that uses the context it was
// given is known by its place. One that kept another context would enqueue
// behind its own back, or call itself for ever; that can only be while a
// judgement is under way here, so only then is the stack searched.
func (p *place) inPolicy() bool {
	return p.judging || p.judgements.Load() > 0 && calledByPolicy()
}

// judge asks every policy whether the intents may be enqueued, innermost first.
func (p *place) judge(ctx context.Context, intents []core.Intent) error {
	if !p.refuses {
		return nil
	}
	p.judgements.Add(1)
	defer p.judgements.Add(-1)
	inside := (&place{scope: p.scope, judging: true}).attach(ctx)
	for at := p; at != nil; at = at.outer {
		if at.policy.OnEnqueue == nil {
			continue
		}
		for i := range intents {
			if err := askOnEnqueue(inside, &at.policy, &intents[i]); err != nil {
				return fmt.Errorf("airlock: policy %s refuses task %s: %w", at.policy.name(), intents[i].Task, err)
			}
		}
	}
	return nil
}

// allows asks every policy whether the intent may leave, innermost first.
func (p *place) allows(ctx context.Context, in *core.Intent) bool {
	for at := p; at != nil; at = at.outer {
		if at.policy.Allows != nil && !askAllows(ctx, &at.policy, in) {
			return false
		}
	}
	return true
}

// The functions that call a policy are found by calledByPolicy on the stack, so
// they must not be inlined.

//go:noinline
func askOnEnqueue(ctx context.Context, p *Policy, in *core.Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return p.OnEnqueue(ctx, *in)
}

//go:noinline
func askAllows(ctx context.Context, p *Policy, in *core.Intent) bool { return p.Allows(ctx, *in) }

func calledByPolicy() bool {
	var pcs [64]uintptr
	for skip := 0; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		frames := runtime.CallersFrames(pcs[:n])
		for {
			f, more := frames.Next()
			switch f.Function {
			case "github.com/goairlock/airlock.askOnEnqueue", "github.com/goairlock/airlock.askAllows":
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
