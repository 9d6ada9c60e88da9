package otelairlock_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

// canary is the secret in payloads, header values and errors.
const canary = "c4n4ry"

var plain = core.DeclareTask[string]("test.plain")

var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// testEnv is a Telemetry, and what it has reported.
type testEnv struct {
	*testing.T
	tel    *otelairlock.Telemetry
	tracer trace.Tracer // for spans of the test's own
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
}

// setup makes a Telemetry with these options, and providers of the test's own.
func setup(t *testing.T, opts otelairlock.Options) *testEnv {
	t.Helper()
	e := &testEnv{T: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(e.spans))
	e.tracer = provider.Tracer("test")
	if opts.TracerProvider == nil {
		opts.TracerProvider = provider
	}
	opts.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(e.reader))
	if opts.Propagator == nil {
		opts.Propagator = w3c
	}
	tel, err := otelairlock.New(&opts)
	if err != nil {
		t.Fatal(err)
	}
	e.tel = tel
	return e
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func intent(t testing.TB, opts ...core.Option) core.Intent {
	t.Helper()
	return must(plain.Intent(canary, opts...))(t)
}

// keep returns an executor that keeps the intents that it gets, and answers with
// these outcomes, or accepts all if there are none.
func keep(got *[]core.Intent, out ...core.Outcome) core.Executor {
	return func(_ context.Context, intents ...core.Intent) error {
		*got = append(*got, intents...)
		if len(out) == 0 {
			return nil
		}
		for i := range out {
			out[i].ID = intents[i].ID
		}
		return core.Combine(out)
	}
}

// ended returns the spans that have ended and are not the test's own.
func (e *testEnv) ended() []sdktrace.ReadOnlySpan {
	return slices.DeleteFunc(e.spans.Ended(), func(s sdktrace.ReadOnlySpan) bool { return s.InstrumentationScope().Name == "test" })
}

// one returns the only span that has ended.
func (e *testEnv) one() sdktrace.ReadOnlySpan {
	e.Helper()
	spans := e.ended()
	if len(spans) != 1 {
		e.Fatalf("%d spans, want 1", len(spans))
	}
	return spans[0]
}

// text prints attributes as "key=value key=value", ordered by key. IDs are left out.
func text(attrs []attribute.KeyValue) string {
	set := attribute.NewSet(attrs...)
	var words []string
	for _, kv := range set.ToSlice() {
		if kv.Key != "messaging.message.id" {
			words = append(words, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
		}
	}
	return strings.Join(words, " ")
}

func wantText(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

// points returns the data points of all instruments as "name{labels} = value". The
// value of a histogram is its count.
func (e *testEnv) points() map[string]float64 {
	e.Helper()
	var data metricdata.ResourceMetrics
	if err := e.reader.Collect(context.Background(), &data); err != nil {
		e.Fatal(err)
	}
	points := make(map[string]float64)
	add := func(name string, set attribute.Set, v float64) {
		points[name+"{"+text(set.ToSlice())+"}"] = v
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Histogram[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			default:
				e.Fatalf("%s is a %T", m.Name, d)
			}
		}
	}
	return points
}

// wantPoints checks the data points of the instruments whose names begin with prefix.
func (e *testEnv) wantPoints(prefix string, want map[string]float64) {
	e.Helper()
	got := e.points()
	maps.DeleteFunc(got, func(name string, _ float64) bool { return !strings.HasPrefix(name, prefix) })
	if !maps.Equal(got, want) {
		e.Errorf("got:\n%s\nwant:\n%s", lines(got), lines(want))
	}
}

func lines(m map[string]float64) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "  %s = %v\n", name, m[name])
	}
	return b.String()
}

// registry makes a registry with middleware, observer and a handler of plain.
func (e *testEnv) registry(fn func(ctx context.Context, arg string) error) *worker.Registry {
	e.Helper()
	return must(worker.NewRegistry(e.tel.Middleware(), e.tel.Observer(), worker.Handle(plain, fn)))(e)
}

// inSpan returns a context in a span of the test's own, with baggage.
func (e *testEnv) inSpan() (context.Context, trace.SpanContext) {
	e.Helper()
	ctx, span := e.tracer.Start(e.Context(), "request")
	span.End()
	bag := must(baggage.Parse("tenant=" + canary))(e)
	return baggage.ContextWithBaggage(ctx, bag), span.SpanContext()
}

// linked returns the span IDs that a span is linked to.
func linked(s sdktrace.ReadOnlySpan) []trace.SpanID {
	var ids []trace.SpanID
	for _, l := range s.Links() {
		ids = append(ids, l.SpanContext.SpanID())
	}
	return ids
}

// remote reads the context in an intent's headers.
func remote(in core.Intent) trace.SpanContext {
	carrier := propagation.MapCarrier{}
	for key, value := range in.Headers().All() {
		carrier[key] = value
	}
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), carrier))
}
