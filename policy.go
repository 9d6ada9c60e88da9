package airlock

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/goairlock/airlock/core"
)

// Policy judges intents, one by one. It can refuse and drop; it can neither
// reorder nor add. Given to [Run] or [Begin] as an option it holds for the scope
// and everything inside it, given to [WithPolicy] for a region of code. Where
// several hold, all are asked, the innermost first, and the first no is final.
//
// Both functions are optional, may be called by several goroutines at once, and
// must not enqueue. A panic in OnEnqueue is a refusal; a panic in Allows fails
// the flush, and then nothing is sent.
type Policy struct {
	// Name shows in errors.
	Name string
	// OnEnqueue is asked at the call site. Its error is returned there, and the
	// intent is not added.
	OnEnqueue func(ctx context.Context, in core.Intent) error
	// Allows is asked at the flush. An intent that it does not allow is dropped,
	// and that is no failure.
	Allows func(ctx context.Context, in core.Intent) bool
}

func (p Policy) name() string {
	if p.Name == "" {
		return "without a name"
	}
	return p.Name
}

func (p Policy) apply(s *settings) error {
	s.policy = All(s.policy, p)
	return nil
}

func (p Policy) empty() bool { return p.OnEnqueue == nil && p.Allows == nil }

// WithPolicy returns a context whose intents are judged by p as well. The
// policy stays on each intent that is enqueued with the context, whichever
// scope it ends up in.
func WithPolicy(ctx context.Context, p Policy) context.Context {
	if ctx == nil || p.empty() {
		return ctx
	}
	return placeOf(ctx).within(nil, p).attach(ctx)
}

// AllowAll is the policy that judges nothing; what a scope has without one.
func AllowAll() Policy { return Policy{Name: "AllowAll"} }

// DropAll lets nothing leave: for migrations, backfills and dry runs of code
// that enqueues as it always does.
func DropAll() Policy {
	return Policy{Name: "DropAll", Allows: func(context.Context, core.Intent) bool { return false }}
}

// AssertNoEffects refuses every intent at the call site, with [ErrRefused]: for
// code that must be without side effects.
func AssertNoEffects() Policy {
	return Policy{Name: "AssertNoEffects", OnEnqueue: func(context.Context, core.Intent) error { return ErrRefused }}
}

// BlockTasks drops the intents of the named tasks at the flush and lets all
// others leave.
func BlockTasks(names ...string) Policy {
	blocked := slices.Clone(names)
	return Policy{Name: "BlockTasks", Allows: func(_ context.Context, in core.Intent) bool {
		return !slices.Contains(blocked, in.Task)
	}}
}

// LogOnFlush logs each intent that reaches the flush, at level Info, by task, ID
// and queue. A policy further in may have dropped some before; one further out
// may drop some after. A nil logger is [slog.Default].
func LogOnFlush(logger *slog.Logger) Policy {
	return Policy{Name: "LogOnFlush", Allows: func(ctx context.Context, in core.Intent) bool {
		l := logger
		if l == nil {
			l = slog.Default()
		}
		l.LogAttrs(ctx, slog.LevelInfo, "airlock: flush", slog.Any("intent", in))
		return true
	}}
}

// Require refuses at the call site what an executor of these capabilities would
// refuse at the flush, with the same error: before anything is committed.
func Require(caps core.Capabilities) Policy {
	name := "Require"
	if caps.Executor != "" {
		name = fmt.Sprintf("Require(%s)", caps.Executor)
	}
	return Policy{Name: name, OnEnqueue: func(_ context.Context, in core.Intent) error { return caps.Check(in) }}
}

// All makes one policy of several, asked in the order given.
func All(policies ...Policy) Policy {
	policies = slices.DeleteFunc(slices.Clone(policies), Policy.empty)
	switch len(policies) {
	case 0:
		return AllowAll()
	case 1:
		return policies[0]
	}
	all := Policy{Name: "All"}
	if slices.ContainsFunc(policies, func(p Policy) bool { return p.OnEnqueue != nil }) {
		all.OnEnqueue = func(ctx context.Context, in core.Intent) error {
			for _, p := range policies {
				if p.OnEnqueue == nil {
					continue
				}
				if err := p.OnEnqueue(ctx, in); err != nil {
					return fmt.Errorf("%s: %w", p.name(), err)
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
