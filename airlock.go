// Package airlock decides whether side effects leave, and when.
//
// Domain code says what should happen. It enqueues an intent:
//
//	airlock.Enqueue(ctx, SendReceipt, Receipt{Order: o.ID}, core.Queue("mail"))
//
// [Run] opens a [Scope] around the work. The scope holds the intents back until the
// work has succeeded. Then it sends them to an executor in one call. If the work
// fails or panics, nothing is sent.
//
//	err := airlock.Run(ctx, exec, func(ctx context.Context) error {
//		return shop.Checkout(ctx, order)
//	})
//
// # The outermost scope decides
//
// A scope inside another scope hands its intents to the outer one, even if it has
// an executor of its own. So what is enqueued inside a transaction, a request or a
// job leaves only if that has succeeded. It goes to the executor of the scope that
// flushes it. There are two exceptions:
//
//   - A scope whose executor is Transactional, see [core.Capabilities], flushes to
//     that executor at once, because the transaction decides.
//   - A scope with the option [Independent] flushes to its own executor, unless an
//     outer scope captures what it flushes, see [OnDescendantFlush].
//
// # Checks and policies
//
// [Enqueue] asks the executor that will get the intent whether it takes it. So a
// refused option is an error at the call site, before anything is committed. A
// plain function cannot be asked. It refuses at the flush. See
// [core.Executor.Check].
//
// A [Policy] judges each intent. It can refuse an intent at the call site, drop it
// at the flush, or log it. The policies of every outer scope hold inside it.
//
// # What a scope cannot do
//
// A scope is not an outbox. If the process dies between the end of the work and
// the flush, the intents are lost. Where that must not happen, store them in the
// transaction with package outbox, or dispatch in it with riverexec.InTx. Package
// airlocksql puts a scope around a transaction, and package airlockhttp around a
// request.
package airlock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/goairlock/airlock/core"
)

// Sentinel errors of scopes. Bad input is [core.ErrInvalid].
var (
	// ErrNoScope is returned by [Enqueue] and [Add] outside of every scope, and by
	// [Begin] and [Run] with a nil executor if there is neither an outer scope nor
	// a default.
	ErrNoScope = errors.New("no scope in the context")

	// ErrScopeClosed is returned by [Enqueue] and [Add] if the scope has ended, by
	// a second Flush, and by [Begin] and Flush if the outer scope has ended.
	ErrScopeClosed = errors.New("the scope has ended")

	// ErrNotOwner is returned by Flush and Discard of a scope that came from
	// [FromContext]. Only the caller of [Begin], or [Run] itself, ends a scope.
	ErrNotOwner = errors.New("not the owner of the scope")

	// ErrPolicyEnqueue is returned by [Enqueue], [Add] and [Begin] when a policy
	// calls them. A policy judges intents and makes none.
	ErrPolicyEnqueue = errors.New("enqueue from within a policy")

	// ErrRefused is wrapped by the refusals of [AssertNoEffects].
	ErrRefused = errors.New("refused by policy")
)

// Enqueue makes an intent of the task and adds it to the scope of ctx. If it
// returns an error, nothing was added: [core.ErrInvalid] for bad arguments or
// options, what the executor would refuse the intent with, the refusal of a
// policy, [ErrNoScope] or [ErrScopeClosed].
func Enqueue[A any](ctx context.Context, task core.Task[A], args A, opts ...core.Option) error {
	in, err := task.Intent(args, opts...)
	if err != nil {
		return err
	}
	return add(ctx, in)
}

// Add adds intents that were made before to the scope of ctx, in order. It adds
// all of them, or none if any is refused. Its errors are those of [Enqueue].
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
		return errNilContext
	}
	chain := chainOf(ctx)
	switch {
	case chain == nil || chain.scope == nil:
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrNoScope)
	case chain.judging:
		return fmt.Errorf("airlock: %s: %w", subject(intents), ErrPolicyEnqueue)
	case len(intents) == 0:
		return nil
	}
	if err := chain.judge(ctx, intents); err != nil {
		return err
	}
	for i := range intents {
		if err := chain.scope.check(ctx, &intents[i]); err != nil {
			return about("task "+intents[i].Task, err)
		}
	}
	return chain.scope.buffer(chain, intents)
}

// FromContext returns the innermost scope of ctx, to look at. Its Flush and
// Discard return [ErrNotOwner].
func FromContext(ctx context.Context) (*Scope, bool) {
	if ctx == nil {
		return nil, false
	}
	if chain := chainOf(ctx); chain != nil && chain.scope != nil {
		return &chain.scope.view, true
	}
	return nil, false
}

var errNilContext = fmt.Errorf("airlock: nil context: %w", core.ErrInvalid)

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

// about returns err with a text that begins with the subject. The prefix of our
// messages stays at the front and is there once.
func about(subject string, err error) error {
	text := strings.TrimPrefix(fmt.Sprint(err), "airlock: ")
	if !strings.HasPrefix(text, subject+": ") {
		text = subject + ": " + text
	}
	return &aboutError{"airlock: " + text, err}
}

type aboutError struct {
	text string
	err  error
}

func (e *aboutError) Error() string { return e.text }
func (e *aboutError) Unwrap() error { return e.err }
