package airlock

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/goairlock/airlock/core"
)

// Policy judges intents, one by one. It can refuse and drop. It can neither reorder
// nor add. As an option of [Run] or [Begin] it holds for the scope and everything
// inside it. With [WithPolicy] it holds for a region of code. If several policies
// hold, all are asked, the innermost first, and the first no is final.
//
// Both functions are optional and may be called by several goroutines at once. A
// panic in OnEnqueue is a refusal. A panic in Allows fails the flush, and nothing
// is sent.
//
// The functions must not enqueue. With the context that they are given, [Enqueue]
// returns [ErrPolicyEnqueue]. To enqueue through a context that was captured
// earlier is a mistake: in Allows the intent may or may not leave, and in OnEnqueue
// the policy calls itself until the scope refuses every further intent with
// ErrPolicyEnqueue.
type Policy struct {
	// Name shows in errors and is what the policy prints.
	Name string
	// OnEnqueue is asked at the call site. Its error is returned there, and the
	// intent is not added.
	OnEnqueue func(ctx context.Context, in core.Intent) error
	// Allows is asked at the flush, and by [Scope.WouldDrop]. An intent that it does
	// not allow is dropped, and that is no failure.
	Allows func(ctx context.Context, in core.Intent) bool
}

// String returns the policy's name.
func (p Policy) String() string {
	if p.Name == "" {
		return "without a name"
	}
	return p.Name
}

func (p Policy) apply(s *settings) error {
	s.policy = All(s.policy, p)
	return nil
}

func (p Policy) forEveryScope() {}

func (p Policy) empty() bool { return p.OnEnqueue == nil && p.Allows == nil }

// WithPolicy returns a context whose intents are judged by p as well. The policy
// stays on each intent that is enqueued with the context, in whichever scope that
// ends up.
func WithPolicy(ctx context.Context, p Policy) context.Context {
	if ctx == nil || p.empty() {
		return ctx
	}
	return chainOf(ctx).within(nil, p).attach(ctx)
}

// AllowAll is the policy that allows everything. It is what a scope has without a
// policy.
func AllowAll() Policy { return Policy{Name: "AllowAll"} }

// DropAll drops every intent at the flush. It is for migrations, backfills and dry
// runs of code that enqueues as it always does.
func DropAll() Policy {
	return Policy{Name: "DropAll", Allows: func(context.Context, core.Intent) bool { return false }}
}

// AssertNoEffects refuses every intent at the call site with [ErrRefused]. It is for
// code that must have no side effects.
func AssertNoEffects() Policy {
	return Policy{Name: "AssertNoEffects", OnEnqueue: func(context.Context, core.Intent) error { return ErrRefused }}
}

// BlockTasks drops the intents of the named tasks at the flush.
func BlockTasks(names ...string) Policy {
	blocked := slices.Clone(names)
	return Policy{Name: "BlockTasks(" + strings.Join(names, ", ") + ")", Allows: func(_ context.Context, in core.Intent) bool {
		return !slices.Contains(blocked, in.Task)
	}}
}

// LogOnFlush logs each intent that reaches the flush, at level Info, with task, ID
// and queue. Policies further in have been asked before and may have dropped some.
// Policies further out are asked after and may drop some more. A nil logger is
// [slog.Default].
func LogOnFlush(logger *slog.Logger) Policy {
	return Policy{Name: "LogOnFlush", Allows: func(ctx context.Context, in core.Intent) bool {
		if chain := chainOf(ctx); chain != nil && chain.preview {
			return true
		}
		l := logger
		if l == nil {
			l = slog.Default()
		}
		l.LogAttrs(ctx, slog.LevelInfo, "airlock: flush", slog.Any("intent", in))
		return true
	}}
}

// Require refuses at the call site what an executor of these capabilities would
// refuse at the flush, with the same error. A scope does this already if its
// executor can be asked. Require is for a plain function, and for code that must
// stay within the limits of an executor other than its own.
func Require(caps core.Capabilities) Policy {
	name := "Require"
	if caps.Executor != "" {
		name = fmt.Sprintf("Require(%s)", caps.Executor)
	}
	return Policy{Name: name, OnEnqueue: func(_ context.Context, in core.Intent) error { return caps.Check(in) }}
}

// All makes one policy of several. They are asked in the order given.
func All(policies ...Policy) Policy {
	policies = slices.DeleteFunc(slices.Clone(policies), Policy.empty)
	switch len(policies) {
	case 0:
		return AllowAll()
	case 1:
		return policies[0]
	}
	names := make([]string, len(policies))
	for i, p := range policies {
		names[i] = p.String()
	}
	all := Policy{Name: "All(" + strings.Join(names, ", ") + ")"}
	if slices.ContainsFunc(policies, func(p Policy) bool { return p.OnEnqueue != nil }) {
		all.OnEnqueue = func(ctx context.Context, in core.Intent) error {
			for _, p := range policies {
				if p.OnEnqueue == nil {
					continue
				}
				if err := p.OnEnqueue(ctx, in); err != nil {
					return about(p.String(), err)
				}
			}
			return nil
		}
	}
	if slices.ContainsFunc(policies, func(p Policy) bool { return p.Allows != nil }) {
		all.Allows = func(ctx context.Context, in core.Intent) bool {
			for _, p := range policies {
				if p.Allows != nil && !p.Allows(ctx, in) {
					return false
				}
			}
			return true
		}
	}
	return all
}
