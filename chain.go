package airlock

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/goairlock/airlock/core"
)

// scopeChain is a list, innermost first, of the scopes and policy regions of a
// context. An intent keeps the chain with which it was enqueued, and with it every
// policy that judges it.
type scopeChain struct {
	outer   *scopeChain
	scope   *scope // the innermost scope; nil outside of every scope
	policy  Policy // of the scope or region that begins here
	refuses bool   // whether a policy here or further out has OnEnqueue
	filters bool   // whether a policy here or further out has Allows

	judging bool // the context was given to a policy
	preview bool // and the policy is asked what it would drop, see WouldDrop

	recursion *recursion // shared by all scopes and regions of one tree
}

type chainKey struct{}

func chainOf(ctx context.Context) *scopeChain {
	chain, _ := ctx.Value(chainKey{}).(*scopeChain)
	return chain
}

func (c *scopeChain) attach(ctx context.Context) context.Context {
	return context.WithValue(ctx, chainKey{}, c)
}

// within returns a chain that is one longer. A nil scope means that of c.
func (c *scopeChain) within(s *scope, policy Policy) *scopeChain {
	in := &scopeChain{outer: c, scope: s, policy: policy}
	in.refuses, in.filters = policy.OnEnqueue != nil, policy.Allows != nil
	if c != nil {
		in.recursion = c.recursion
		in.judging = c.judging
		in.refuses = in.refuses || c.refuses
		in.filters = in.filters || c.filters
		if s == nil {
			in.scope = c.scope
		}
	}
	if in.recursion == nil {
		in.recursion = new(recursion)
	}
	return in
}

// withoutScopes returns a context that is in no scope. Executors get it: what they
// enqueued would end up in a scope that is about to end, or around it. Only the
// policies of WithDefaults still hold.
func withoutScopes(ctx context.Context) context.Context {
	if d := defaultsOf(ctx); d != nil && !d.policies.empty() {
		return (*scopeChain)(nil).within(nil, d.policies).attach(ctx)
	}
	if chainOf(ctx) == nil {
		return ctx
	}
	return new(scopeChain).attach(ctx)
}

// judge asks every policy whether the intents may be enqueued, innermost first.
func (c *scopeChain) judge(ctx context.Context, intents []core.Intent) error {
	if !c.refuses {
		return nil
	}
	defer c.recursion.leave()
	if !c.recursion.enter() {
		return errRecursion(intents)
	}
	inside := (&scopeChain{scope: c.scope, judging: true}).attach(ctx)
	for at := c; at != nil; at = at.outer {
		if at.policy.OnEnqueue == nil {
			continue
		}
		for i := range intents {
			if err := askOnEnqueue(inside, &at.policy, &intents[i]); err != nil {
				return about(fmt.Sprintf("policy %v refuses task %s", at.policy, intents[i].Task), err)
			}
		}
	}
	if c.recursion.noticed.Load() { // by a call further in
		return errRecursion(intents)
	}
	return nil
}

func askOnEnqueue(ctx context.Context, p *Policy, in *core.Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return p.OnEnqueue(ctx, *in)
}

// allows asks every policy whether the intent may leave, innermost first.
func (c *scopeChain) allows(ctx context.Context, in *core.Intent) bool {
	for at := c; at != nil; at = at.outer {
		if at.policy.Allows != nil && !at.policy.Allows(ctx, *in) {
			return false
		}
	}
	return true
}

// recursion notices a policy that enqueues through a context that it captured, and
// so calls itself. Its calls look like calls of other goroutines, so there is a
// limit to how many may be under way. Once the limit is passed, the scopes of the
// tree take nothing more: otherwise a policy that enqueues twice would go on almost
// forever.
type recursion struct {
	underWay atomic.Int32
	noticed  atomic.Bool
}

// maxUnderWay is more goroutines than can be expected inside the policies of one
// tree of scopes at the same time. That many nested calls take up to 64 MB of stack,
// of the 1 GB after which the runtime ends the process.
const maxUnderWay = 10_000

func (r *recursion) enter() bool {
	if r.underWay.Add(1) > maxUnderWay {
		r.noticed.Store(true)
	}
	return !r.noticed.Load()
}

// leave forgets what was noticed once every call has returned, so that one mistake
// does not close the scopes of a whole server for good.
func (r *recursion) leave() {
	if r.underWay.Add(-1) == 0 {
		r.noticed.Store(false)
	}
}

func errRecursion(intents []core.Intent) error {
	return fmt.Errorf("airlock: %s: a policy calls itself, through a context that it captured: %w", subject(intents), ErrPolicyEnqueue)
}
