package otel_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

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
)

// patience bounds every wait for something that must happen. A green run never uses it
// up.
const patience = 2 * time.Minute

// canary is the secret in payloads, header values and errors.
const canary = "c4n4ry"

var quiet = slog.New(slog.DiscardHandler)

// testEnv is a Telemetry, and what it has reported.
type testEnv struct {
	*testing.T
	tel    *otelairlock.Telemetry
	tracer trace.Tracer // for spans of the test's own
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
}

func setup(t *testing.T, system string) *testEnv {
	t.Helper()
	return setupWith(t, system, propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
}

func setupWith(t *testing.T, system string, p propagation.TextMapPropagator) *testEnv {
	t.Helper()
	e := &testEnv{T: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(e.spans))
	e.tracer = tracers.Tracer("test")
	tel, err := otelairlock.New(&otelairlock.Options{
		TracerProvider: tracers,
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(e.reader)),
		Propagator:     p,
		System:         system,
		Tasks:          []string{parent.Name(), child.Name()},
	})
	e.must(err)
	e.tel = tel
	return e
}

func (e *testEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// request returns a context in a span, with baggage, as an API has it.
func (e *testEnv) request() (context.Context, trace.SpanContext) {
	e.Helper()
	bag, err := baggage.Parse("tenant=" + canary)
	e.must(err)
	ctx, span := e.tracer.Start(baggage.ContextWithBaggage(e.Context(), bag), "POST /orders")
	span.End()
	return ctx, span.SpanContext()
}

// ended returns the spans of a kind that have ended, in the order of their starts.
func (e *testEnv) ended(kind trace.SpanKind) []sdktrace.ReadOnlySpan {
	spans := slices.DeleteFunc(e.spans.Ended(), func(s sdktrace.ReadOnlySpan) bool { return s.SpanKind() != kind })
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return spans
}

// ofTask returns those of the spans that are about a task.
func ofTask(spans []sdktrace.ReadOnlySpan, task string) []sdktrace.ReadOnlySpan {
	return slices.DeleteFunc(slices.Clone(spans), func(s sdktrace.ReadOnlySpan) bool { return attr(s, "airlock.task") != task })
}

func attr(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, kv := range s.Attributes() {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// linkedTo checks that a span is linked to another one, and to no more.
func (e *testEnv) linkedTo(s, sender sdktrace.ReadOnlySpan) {
	e.Helper()
	if l := s.Links(); len(l) != 1 || l[0].SpanContext.SpanID() != sender.SpanContext().SpanID() || l[0].SpanContext.TraceID() != sender.SpanContext().TraceID() {
		e.Errorf("%s is linked to %v, want %v", s.Name(), l, sender.SpanContext())
	}
}

// points returns the data points of all instruments as "name{labels}" and value. That of
// a histogram is its count.
func (e *testEnv) points() map[string]int {
	e.Helper()
	var data metricdata.ResourceMetrics
	e.must(e.reader.Collect(context.Background(), &data))
	points := make(map[string]int)
	add := func(name string, set attribute.Set, n int) {
		var labels []string
		for _, kv := range set.ToSlice() {
			labels = append(labels, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
		}
		points[name+"{"+strings.Join(labels, " ")+"}"] = n
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, int(p.Value))
				}
			case metricdata.Histogram[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, int(p.Count))
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, int(p.Count))
				}
			}
		}
	}
	return points
}

// sum adds the points of an instrument that have all these labels.
func (e *testEnv) sum(instrument string, labels ...string) int {
	e.Helper()
	n := 0
	for name, v := range e.points() {
		if strings.HasPrefix(name, instrument+"{") && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(name, l) }) {
			n += v
		}
	}
	return n
}

func (e *testEnv) wantSum(want int, instrument string, labels ...string) {
	e.Helper()
	// An observer records several instruments, one after the other.
	e.await(fmt.Sprintf("%s%v is %d", instrument, labels, want), func() bool { return e.sum(instrument, labels...) >= want })
	if got := e.sum(instrument, labels...); got != want {
		e.Errorf("%s%v is %d, want %d", instrument, labels, got, want)
	}
}

// await waits until ok returns true.
func (e *testEnv) await(what string, ok func() bool) {
	e.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("%s does not happen:\n%s", what, e.text())
		}
	}
}

// text is everything that was reported.
func (e *testEnv) text() string {
	var b strings.Builder
	names := map[trace.SpanID]string{}
	spans := e.spans.Ended()
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	for i, s := range spans {
		names[s.SpanContext().SpanID()] = fmt.Sprintf("#%d", i+1)
	}
	for i, s := range spans {
		fmt.Fprintf(&b, "#%d %s (%v, %v)", i+1, s.Name(), s.SpanKind(), s.EndTime().Sub(s.StartTime()).Round(time.Microsecond))
		if p := s.Parent(); p.IsValid() {
			fmt.Fprintf(&b, " parent %s", names[p.SpanID()])
		}
		for _, l := range s.Links() {
			fmt.Fprintf(&b, " linked to %s", names[l.SpanContext.SpanID()])
		}
		fmt.Fprintln(&b)
		for _, kv := range s.Attributes() {
			fmt.Fprintf(&b, "     %s = %s\n", kv.Key, kv.Value.String())
		}
		for _, event := range s.Events() {
			fmt.Fprintf(&b, "     event %s %v\n", event.Name, event.Attributes)
		}
	}
	points := e.points()
	for _, name := range slices.Sorted(maps.Keys(points)) {
		fmt.Fprintf(&b, "%s %d\n", name, points[name])
	}
	return b.String()
}

// wantNoSecret checks that nothing that was reported shows the canary.
func (e *testEnv) wantNoSecret() {
	e.Helper()
	if text := e.text(); strings.Contains(text, canary) {
		e.Errorf("a secret is shown:\n%s", text)
	}
}

func (e *testEnv) intent(task core.Task[string], opts ...core.Option) core.Intent {
	e.Helper()
	in, err := task.Intent(canary, opts...)
	e.must(err)
	return in
}

var (
	parent = core.DeclareTask[string]("order.placed")
	child  = core.DeclareTask[string]("email.receipt")
)
