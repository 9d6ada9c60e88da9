package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Guard returns an executor that checks every call against caps before it calls
// exec. It does not call exec if [core.Capabilities.Check] refuses an intent or if
// the context is done (duties 3, 5 and 6 of [core.Executor]). It converts what exec
// returns to the form of duty 4. If exec panics, every intent is Unknown with a
// [*core.PanicError]. Guard answers questions from caps without calling exec: see
// [core.Answer]. If exec is nil, every call and every Check returns
// [core.ErrInvalid].
func Guard(caps core.Capabilities, exec core.Executor) core.Executor {
	caps = caps.Clone()
	if exec == nil {
		return Invalid(fmt.Errorf("airlock: nil executor: %w", core.ErrInvalid))
	}
	capabilities := func() (core.Capabilities, bool) { return caps.Clone(), true }
	check := func(_ context.Context, intents []core.Intent) error { return refusal(&caps, intents) }
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, capabilities, check)
			return nil
		}
		if ctx == nil {
			return core.Combine(core.Outcomes(intents, core.Rejected, errNilContext))
		}
		if err := caps.CheckCall(intents); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return core.Combine(core.Outcomes(intents, core.NotSent, core.ContextError(ctx)))
		}
		return exec.Call(ctx, intents)
	}
}

// refusal answers a Check: with the plain error if it is about one intent.
func refusal(caps *core.Capabilities, intents []core.Intent) error {
	err := caps.CheckCall(intents)
	if err != nil && len(intents) == 1 {
		return caps.Check(intents[0])
	}
	return err
}

var errNilContext = fmt.Errorf("airlock: nil context: %w", core.ErrInvalid)

// Invalid returns an executor that rejects every intent with err. Its Check returns
// err, and it has no capabilities. Constructors without an error result return it
// for bad input.
func Invalid(err error) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, nil, func(context.Context, []core.Intent) error { return err })
			return nil
		}
		return core.Combine(core.Outcomes(intents, core.Rejected, err))
	}
}

// Each makes an executor from a function that handles one intent, guarded by caps
// (see [Guard]). It is the simplest way to write an executor.
//
// Each calls fn for one intent after the other until fn returns an error. Intents
// before the error are Accepted, and intents after it are NotSent. The error
// determines the state of its own intent as in [core.OutcomesOf]: Unknown if it
// wraps no sentinel. A duplicate does not end the call. A context that is done ends
// the call before the next intent, and errors.Is finds its error on the answer.
func Each(caps core.Capabilities, fn func(ctx context.Context, in core.Intent) error) core.Executor {
	if fn == nil {
		return Guard(caps, nil)
	}
	one := core.Executor(func(ctx context.Context, intents ...core.Intent) error { return fn(ctx, intents[0]) })
	return Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		var out []core.Outcome // nil while every intent is accepted
		var ended error
		for i := range intents {
			if ended == nil && i > 0 && ctx.Err() != nil {
				ended = core.ContextError(ctx)
			}
			var err error
			if ended == nil {
				if err = one.Call(ctx, intents[i:i+1]); err == nil {
					continue
				}
			}
			if out == nil {
				out = core.Outcomes(intents, core.Accepted, nil)
			}
			if ended != nil {
				out[i].State, out[i].Err = core.NotSent, ended
				continue
			}
			out[i] = core.OutcomesOf(err, intents[i:i+1])[0]
			if out[i].State != core.Duplicate {
				ended = core.ErrEarlierFailed
			}
		}
		AddContextError(ctx, out) // the end of ctx may be why an intent failed
		return core.Combine(out)
	})
}

// EncodeIntent returns the whole intent, including payload and headers, as
// versioned JSON. An outbox stores this form. It is the same as
// [core.Intent.MarshalJSON], except that the zero Intent is [core.ErrInvalid] too.
func EncodeIntent(in core.Intent) ([]byte, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	return in.MarshalJSON()
}

// DecodeIntent reads what [EncodeIntent] wrote, in this or an earlier release. It
// returns [core.ErrInvalid] for anything else. For an intent that a later release has
// encoded, errors.Is also finds [worker.ErrLaterVersion].
func DecodeIntent(data []byte) (core.Intent, error) {
	var in core.Intent
	if err := in.UnmarshalJSON(data); err != nil {
		if later := (interface{ LaterVersion() bool })(nil); errors.As(err, &later) {
			err = fmt.Errorf("%w: %w", err, worker.ErrLaterVersion)
		}
		return core.Intent{}, err
	}
	return in, in.Validate() // in is the zero Intent if data is null
}
