package core

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
)

// Executor hands intents to a backend. One function type serves one intent and
// many. No interface, nothing to embed: any function that keeps these duties is
// an executor, and each duty is a check of the conformance suite.
//
//  1. A nil error means that the backend has acknowledged every intent; in
//     process, that a pool has taken it or the caller's goroutine has run it to
//     success.
//  2. Intents of one queue are handed over in the order given. Without intents
//     the answer is nil and there is no I/O.
//  3. A leaf, an executor that does not call another one, checks the whole call
//     first: if it must refuse any intent, nothing of the call is sent, every
//     refusal is reported as Rejected, and the others are NotSent.
//  4. Every other answer is a [*DispatchError] with one outcome per intent.
//     Unknown is never reported as anything else: a network error is NotSent
//     only if the dial itself failed and nothing below has retried.
//  5. Each option is honoured within the granularity that the executor's
//     [Capabilities] declare, a time never early and a duration never rounded
//     to zero, or refused with an [*OptionError]. It is never ignored, and
//     never clamped.
//  6. The context is honoured. Done before the call: nothing is sent. Done
//     during it: the call returns promptly, within the declared CancelLatency,
//     and what is undecided is Unknown. errors.Is finds the context's error.
//     Cancelling after the return does not touch the jobs, and nothing of the
//     producer's context reaches a handler.
//  7. The same intent again within the declared ID window is one job: Accepted
//     again if its ID was generated, Duplicate if the caller chose the ID or
//     gave a Unique key.
//  8. It is safe for concurrent use and changes no intent.
//  9. A batch treats each intent as a call of its own would: no option is lost,
//     weakened or reordered.
//  10. It dials nothing and closes nothing that it was given, and leaves no
//     goroutine behind, except one that finishes an I/O already begun, bounded
//     by the client's own time limit and holding nothing of the caller's.
//     Whatever owns goroutines has a Stop or Run that waits for them.
//  11. It never panics, whatever the input; a panic of a handler that it runs
//     becomes an error with its stack.
//  12. No payload, header value or credential shows in an error or a log line.
//
// [Guard] gives any function duties 3, 5 and 11 from its Capabilities, and
// [Each] makes an executor of a function for one intent.
type Executor func(ctx context.Context, intents ...Intent) error

// Guard returns an executor that judges every call by caps before exec sees it:
// a call with an intent that [Capabilities.Check] refuses, or with a context
// that is done, is answered without calling exec (duties 3, 5 and 6). What exec
// returns is brought into the form of duty 4 by [OutcomesOf], and a panic of
// exec becomes a [*PanicError] with every intent Unknown. A nil exec is answered
// with [ErrInvalid] at each call.
func Guard(caps Capabilities, exec Executor) Executor {
	caps.Options = maps.Clone(caps.Options)
	check := caps.checker()
	return func(ctx context.Context, intents ...Intent) error {
		if len(intents) == 0 {
			return nil
		}
		if exec == nil {
			return refuseAll(intents, Rejected, invalidf("nil executor"))
		}
		if ctx == nil {
			return refuseAll(intents, Rejected, invalidf("nil context"))
		}
		if err := check.all(intents); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return refuseAll(intents, NotSent, contextError(ctx))
		}
		return contain(ctx, exec, intents)
	}
}

func refuseAll(intents []Intent, s State, err error) error {
	out := make([]Outcome, len(intents))
	for i := range intents {
		out[i] = intents[i].outcome(s, err)
	}
	return Combine(out)
}

// contextError is the context's error together with its cause, where somebody
// gave it one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// contain calls exec and brings its answer into the form of duty 4. Looking into
// an error of exec's own type may panic as well as exec itself.
func contain(ctx context.Context, exec Executor, intents []Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = refuseAll(intents, Unknown, &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	if err := exec(ctx, intents...); err != nil {
		return Combine(OutcomesOf(err, intents))
	}
	return nil
}

// Each makes an executor of a function that handles one intent, guarded by caps
// (see [Guard]; no capabilities, no options). It is the simplest way to write
// an executor of one's own. fn is called for one intent after the other, and
// the first error ends the call: the intents before it are Accepted, those
// after it NotSent, and the intent itself is what fn's error says, see
// [OutcomesOf], which is Unknown for an error that wraps no sentinel. A
// duplicate does not end the call. A context that is done is noticed between
// intents.
func Each(caps Capabilities, fn func(ctx context.Context, in Intent) error) Executor {
	if fn == nil {
		return Guard(caps, nil)
	}
	one := func(ctx context.Context, intents ...Intent) error { return fn(ctx, intents[0]) }
	return Guard(caps, func(ctx context.Context, intents ...Intent) error {
		var out []Outcome // made at the first intent that is not simply accepted
		ended := error(nil)
		for i := range intents {
			if ended == nil && i > 0 && ctx.Err() != nil {
				ended = contextError(ctx)
			}
			var err error
			if ended == nil {
				if err = contain(ctx, one, intents[i:i+1]); err == nil {
					continue
				}
			}
			if out == nil {
				out = OutcomesOf(nil, intents)
			}
			if ended != nil {
				out[i].State, out[i].Err = NotSent, ended
				continue
			}
			out[i] = OutcomesOf(err, intents[i:i+1])[0]
			switch {
			case out[i].State == Duplicate:
			case ctx.Err() != nil: // which may be why it failed
				ended = contextError(ctx)
			default:
				ended = errAfterFailure
			}
		}
		return Combine(out)
	})
}

var errAfterFailure = fmt.Errorf("airlock: an earlier intent of the call failed: %w", ErrNotSent)

// WithoutValues returns a context that ends when ctx ends and carries none of
// its values: what an executor that runs jobs in the caller's goroutine gives
// to handlers, so that they see no more of their producer than on a queue. Of a
// nil ctx it makes nil.
func WithoutValues(ctx context.Context) context.Context {
	if ctx == nil {
		return nil
	}
	return valueless{ctx}
}

type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// AfterFunc spares the context package a goroutine per child: it uses this
// method of a parent whose type it does not know.
func (c valueless) AfterFunc(f func()) func() bool { return context.AfterFunc(c.Context, f) }
