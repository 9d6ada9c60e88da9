// Package airlock decides when side effects leave, and whether.
//
// Domain code says what should happen and hands over an intent:
//
//	airlock.Enqueue(ctx, SendReceipt, Receipt{Order: o.ID}, core.Queue("mail"))
//
// A [Scope] around it, opened by [Run], holds the intents back until the work
// has succeeded, and lets them go to an executor in one call; if the work
// fails, or panics, nothing has left the process.
//
//	err := airlock.Run(ctx, exec, func(ctx context.Context) error {
//		return shop.Checkout(ctx, order)
//	})
//
// A [Policy] judges each intent: it can refuse it at the call site, drop it at
// the flush, or log it. Scopes nest: one without an executor of its own hands
// its intents to the scope around it.
//
// A scope is not an outbox. Between the end of the work and the flush a crash
// loses the intents; where that must not be, dispatch inside the transaction,
// as riverexec.InTx does. For a scope around a transaction or a request see
// the packages airlocksql and airlockhttp.
package airlock

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/core"
)

// The errors of scopes. Bad input is [core.ErrInvalid].
var (
	// ErrNoScope is returned by [Enqueue] and [Add] outside of every scope, and
	// by [Begin] and [Run] with a nil executor where there is neither an outer
	// scope nor a default.
	ErrNoScope = errors.New("no scope in the context")

	// ErrScopeClosed is returned by whatever is asked of a scope that has ended:
	// by [Enqueue] and [Add] with its context, and by a second Flush.
	ErrScopeClosed = errors.New("the scope has ended")

	// ErrPolicyEnqueue is returned by [Enqueue] and [Add] when a policy calls
	// them: a policy judges intents, it makes none.
	ErrPolicyEnqueue = errors.New("enqueue from within a policy")

	// ErrRefused is wrapped by the refusals of [AssertNoEffects].
	ErrRefused = errors.New("refused by policy")
)

// Enqueue makes an intent of the task and adds it to the scope of ctx. What is
// wrong with it is told here and nothing is added: [core.ErrInvalid] for bad
// arguments or options, [ErrNoScope], [ErrScopeClosed], and the refusals of
// policies.
func Enqueue[A any](ctx context.Context, task core.Task[A], args A, opts ...core.Option) error {
	in, err := task.Intent(args, opts...)
	if err != nil {
		return err
	}
	return add(ctx, in)
}

// Add adds intents that were made before to the scope of ctx, in order: all of
// them, or none if any of them is refused. Its errors are those of [Enqueue].
func Add(ctx context.Context, intents ...core.Intent) error {
	for i := range intents {
		if err := intents[i].Validate(); err != nil {
			return err
		}
	}
	return add(ctx, intents...)
}

func add(ctx context.Context, intents ...core.Intent) error {
	if ctx == nil {
		return fmt.Errorf("airlock: nil context: %w", core.ErrInvalid)
	}
	at := placeOf(ctx)
	switch {
	case at == nil || at.scope == nil:
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrNoScope)
	case at.inPolicy():
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrPolicyEnqueue)
	case len(intents) == 0:
		return nil
	}
	if err := at.judge(ctx, intents); err != nil {
		return err
	}
	return at.scope.buffer(at, intents)
}

// subject names what an error is about.
func subject(intents []core.Intent) string {
	switch len(intents) {
	case 0:
		return "no intents"
	case 1:
		return "task " + intents[0].Task
	}
	return fmt.Sprintf("task %s and %d more", intents[0].Task, len(intents)-1)
}

// FromContext returns the innermost scope of ctx.
func FromContext(ctx context.Context) (*Scope, bool) {
	if ctx == nil {
		return nil, false
	}
	if at := placeOf(ctx); at != nil && at.scope != nil {
		return at.scope, true
	}
	return nil, false
}
