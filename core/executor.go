package core

import "context"

// Executor hands intents to a backend, one or many in a call. It is a function
// type: any function that keeps the following duties is an executor. The
// conformance suite checks each duty.
//
//  1. A nil error means that the backend has acknowledged every intent. For an
//     executor in this process it means that a pool has taken the intent, or that
//     the caller's goroutine has run it successfully.
//  2. Intents of one queue are handed over in the order given. A call without
//     intents returns nil and does no I/O.
//  3. An executor that talks to a backend (not a wrapper) validates the whole
//     call first. If it must refuse any intent, nothing of the call is sent:
//     every refused intent is Rejected and the others are NotSent.
//  4. Every other error is a [*DispatchError] with one outcome per intent. An
//     unknown outcome is reported as Unknown. A network error is NotSent only if
//     nothing can have reached the backend.
//  5. Each option is honoured within the granularity that the executor's
//     [Capabilities] declare, or refused with an [*OptionError]. A time is never
//     early and a duration never rounded to zero. An option is never ignored
//     and never clamped.
//  6. The context is honoured. If it is done before the call, nothing is sent.
//     If it ends during the call, the call returns promptly, and intents without
//     an answer are Unknown. errors.Is finds the context's error. Cancelling the
//     context after the return does not affect the jobs. No value of the
//     producer's context reaches a handler.
//  7. The same intent sent again within the declared ID window is one job. It is
//     Accepted again if its ID was generated, and Duplicate if the caller chose
//     the ID or gave a Unique key.
//  8. It is safe for concurrent use and changes no intent.
//  9. A call with many intents treats each as a call with one intent would. No
//     option is lost, weakened or reordered.
//  10. It neither connects nor closes the client that it was given. It leaves no
//     goroutine behind, except one that finishes I/O already begun, within the
//     client's own time limit. An executor that owns goroutines has a Stop or Run
//     that waits for them.
//  11. It does not panic on any input. A panic of a handler that it runs becomes
//     an error with its stack.
//  12. No payload, header value or credential appears in an error or a log line.
//
// [Executor.Capabilities] and [Executor.Check] ask an executor what it would do.
//
// Guard in package adapter implements duties 3, 5, 6 and 11 for any function, and
// answers these questions. Each makes an executor from a function for one intent.
type Executor func(ctx context.Context, intents ...Intent) error

// Call calls e. It returns nil or a [*DispatchError] with one outcome per intent,
// even if e returned something else: see [OutcomesOf]. If e panics, every intent
// is Unknown with a [*PanicError]. If e is nil, every intent is Rejected with
// [ErrInvalid]. Code that calls unknown executors, such as wrappers and scopes,
// calls them this way.
func (e Executor) Call(ctx context.Context, intents []Intent) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = Combine(Outcomes(intents, Unknown, panicError(v)))
		}
	}()
	if e == nil {
		return Combine(Outcomes(intents, Rejected, errNilExecutor))
	}
	if err := e(ctx, intents...); err != nil {
		return Combine(OutcomesOf(err, intents))
	}
	return nil
}

var errNilExecutor = invalidf("nil executor")

// WithoutValues returns a context that ends when ctx ends but has none of its
// values. Executors that run jobs in the caller's goroutine give it to handlers,
// which must not depend on values that a queue would not deliver. It returns nil
// for a nil ctx.
func WithoutValues(ctx context.Context) context.Context {
	if ctx == nil {
		return nil
	}
	return valueless{ctx}
}

type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// AfterFunc saves one goroutine per child: the context package calls this method
// of a parent whose type it does not know.
func (c valueless) AfterFunc(f func()) func() bool { return context.AfterFunc(c.Context, f) }
