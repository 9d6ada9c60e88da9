package compose

import (
	"context"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

// WithHeaders adds the headers that from takes out of the call's context to
// every intent of the call: the dispatch side of tracing. from is called once
// per call; the map is the carrier that propagators fill. If it is nil or empty,
// the intents go on unchanged.
//
// A header that the intent already has wins over one from the context.
//
// If [core.Header] would refuse a header, the intents that would get it are
// Rejected with [core.ErrInvalid], and nothing of the call is sent. If from
// panics, all are Rejected with a [*core.PanicError]. An executor that refuses
// the option header refuses the intents.
//
// Inside WithRetry from is called for each attempt, and outside once for all
// attempts. It is also called for [core.Executor.Check], with the context given
// there, since the answer is that of the intents as they would be sent. So it
// must be quick and have no side effects. It must be safe for concurrent use and
// must not keep the map.
func WithHeaders(exec core.Executor, from func(ctx context.Context) map[string]string) core.Executor {
	bad := needs("WithHeaders", exec)
	if from == nil {
		bad = invalidf("WithHeaders: nil function")
	}
	questions := answerWith(exec.Capabilities, func(ctx context.Context, intents []core.Intent) error {
		if len(intents) == 0 {
			return exec.Check(ctx)
		}
		with, refused := withHeaders(ctx, intents, from)
		if refused != nil {
			return refusal(refused)
		}
		return exec.Check(ctx, with...)
	})
	return wrap(bad, questions, func(ctx context.Context, intents []core.Intent) error {
		with, refused := withHeaders(ctx, intents, from)
		if refused != nil {
			return core.Combine(refused)
		}
		return exec.Call(ctx, with)
	})
}

// withHeaders returns the intents with their headers, or else the outcomes of a
// refused call. It copies the intents only if there are headers to add.
func withHeaders(ctx context.Context, intents []core.Intent, from func(context.Context) map[string]string) (with []core.Intent, refused []core.Outcome) {
	headers, err := headersFrom(ctx, from)
	if err != nil {
		return nil, core.Outcomes(intents, core.Rejected, err)
	}
	if len(headers) == 0 {
		return intents, nil
	}
	keys := make([]string, 0, len(headers))
	for key := range headers {
		keys = append(keys, key)
	}
	slices.Sort(keys) // so that of two bad headers the same one is always reported
	opts := make([]core.Option, 0, len(keys))
	with = make([]core.Intent, len(intents))
	for i := range intents {
		own := intents[i].Headers()
		opts = opts[:0]
		for _, key := range keys {
			if !own.Has(key) {
				opts = append(opts, core.Header(key, headers[key]))
			}
		}
		in, err := intents[i].With(opts...)
		if err != nil {
			refused = core.Reject(refused, intents, i, err)
		}
		with[i] = in
	}
	return with, refused
}

func headersFrom(ctx context.Context, from func(context.Context) map[string]string) (h map[string]string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return from(ctx), nil
}
