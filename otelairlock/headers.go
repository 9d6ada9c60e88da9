package otelairlock

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
)

const baggageField = "baggage"

// withHeaders returns the intents with the headers in which the propagator puts the
// context. An intent that does not take them stays as it is: a trace is not worth a
// job. withHeaders copies the intents only if there are headers to add.
func (t *Telemetry) withHeaders(ctx context.Context, intents []core.Intent) []core.Intent {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return intents
	}
	keys := carrier.Keys()
	all := make([]core.Option, len(keys))
	for i, key := range keys {
		all[i] = core.Header(key, carrier[key])
	}
	with := make([]core.Intent, len(intents))
	for i := range intents {
		opts := all
		if own := intents[i].Headers(); own.Len() > 0 {
			opts = t.without(own, keys, all)
		}
		in, err := intents[i].With(opts...)
		if err != nil {
			in = intents[i]
		}
		with[i] = in
	}
	return with
}

// without returns the options that do not replace an intent's own headers. opts[i] is
// the header keys[i].
func (t *Telemetry) without(own core.Headers, keys []string, opts []core.Option) []core.Option {
	ownTrace := slices.ContainsFunc(t.traceFields, own.Has)
	var rest []core.Option
	for i, key := range keys {
		if !own.Has(key) && !(ownTrace && slices.Contains(t.traceFields, key)) {
			rest = append(rest, opts[i])
		}
	}
	return rest
}

// ownContexts returns a link for each intent that has brought a context in its own
// headers, such as one that an outbox has stored.
func (t *Telemetry) ownContexts(intents []core.Intent) []trace.Link {
	var links []trace.Link
	for i := range intents {
		if sc := t.sent(intents[i].Headers()); sc.IsValid() {
			link := trace.Link{SpanContext: sc}
			if len(intents) > 1 {
				link.Attributes = append(link.Attributes, semconv.MessagingMessageID(intents[i].ID))
			}
			links = append(links, link)
		}
	}
	return links
}

// sent returns the context of the span that headers came from. It is invalid if they
// have none.
func (t *Telemetry) sent(headers core.Headers) trace.SpanContext {
	if headers.Len() == 0 || !slices.ContainsFunc(t.traceFields, headers.Has) {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(t.propagator.Extract(context.Background(), carrierOf{headers}))
}

// carrierOf lets a propagator read the headers of an intent or a job.
type carrierOf struct{ core.Headers }

// Set does nothing: headers do not change.
func (carrierOf) Set(string, string) {}

func (c carrierOf) Keys() []string {
	keys := make([]string, 0, c.Len())
	for key := range c.All() {
		keys = append(keys, key)
	}
	return keys
}

// withSomeSpan returns a context that is in a span, as the context of a dispatch will
// be. A question starts no span, but the size of the headers counts.
func withSomeSpan(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, someSpan)
}

var someSpan = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
