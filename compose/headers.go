package compose

import (
	"context"
	"runtime/debug"
	"slices"

	"github.com/goairlock/airlock/core"
)

// WithHeaders adds the headers that from takes out of the call's context to
// every intent of the call: the dispatch side of tracing. from is called once
// per call; the map is the carrier that propagators fill. Nil or empty, and the
// intents go on as they are.
//
// A header that the intent brings itself wins over one from the context: who
// set it meant that intent.
//
// A header that [core.Header] would refuse makes the intents that would get it
// Rejected with [core.ErrInvalid], and nothing of the call is sent; so does a
// panic of from, as a [*core.PanicError]. The executor must take the option
// header, or it refuses the intents.
//
// Inside WithRetry from is called for each attempt, and outside for all
// attempts once. It must be safe for concurrent use and must not keep the map.
func WithHeaders(exec core.Executor, from func(ctx context.Context) map[string]string) core.Executor {
	bad := missing("WithHeaders", exec)
	if from == nil {
		bad = invalidf("WithHeaders: nil function")
	}
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		headers, err := headersFrom(ctx, from)
		if err != nil {
			return every(intents, core.Rejected, err)
		}
		if len(headers) == 0 {
			return call(ctx, exec, intents)
		}
		with, refused := addHeaders(intents, headers)
		if refused != nil {
			return refused
		}
		return call(ctx, exec, with)
	})
}

func headersFrom(ctx context.Context, from func(context.Context) map[string]string) (h map[string]string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return from(ctx), nil
}

// addHeaders returns new intents, or else the outcomes of a refused call.
func addHeaders(intents []core.Intent, headers map[string]string) (with []core.Intent, refused []core.Outcome) {
	keys := make([]string, 0, len(headers))
	for key := range headers {
		keys = append(keys, key)
	}
	slices.Sort(keys) // so that of two bad ones always the same is told
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
			refused = refuse(refused, intents, i, err)
		}
		with[i] = in
	}
	return with, refused
}
