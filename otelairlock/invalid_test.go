package otelairlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/embedded"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

func wantInvalid(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, core.ErrInvalid) || strings.Count(err.Error(), "otelairlock: ") != 1 {
		t.Errorf("%s: got %v", what, err)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]otelairlock.Options{
		"a nil pointer as TracerProvider": {TracerProvider: (*brokenTracers)(nil)},
		"a TracerProvider without tracer": {TracerProvider: &brokenTracers{}},
		"a nil pointer as MeterProvider":  {MeterProvider: (*brokenMeters)(nil)},
		"a MeterProvider without meter":   {MeterProvider: &brokenMeters{}},
		"a meter without instruments":     {MeterProvider: &brokenMeters{meter: refusing{}}},
		"a nil pointer as Propagator":     {Propagator: (*single)(nil)},
		"a field that is no header":       {Propagator: single{"x_trace"}},
		"a reserved field":                {Propagator: single{"Airlock-Trace"}},
		"an empty task":                   {Tasks: []string{"test.plain", ""}},
	} {
		tel, err := otelairlock.New(&opts)
		wantInvalid(t, name, err)
		if tel != nil {
			t.Errorf("%s: got a Telemetry", name)
		}
	}
}

// brokenTracers panics as a nil pointer, and else returns a nil tracer.
type brokenTracers struct {
	trace.TracerProvider
	tracer trace.Tracer
}

func (p *brokenTracers) Tracer(string, ...trace.TracerOption) trace.Tracer { return p.tracer }

type brokenMeters struct {
	embedded.MeterProvider
	meter metric.Meter
}

func (p *brokenMeters) Meter(string, ...metric.MeterOption) metric.Meter { return p.meter }

type refusing struct{ noop.Meter }

func (refusing) Int64Counter(name string, _ ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, errors.New("no " + name)
}

func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	in := intent(t)
	for name, exec := range map[string]core.Executor{
		"nil executor":   e.tel.Executor(nil),
		"nil Telemetry":  (*otelairlock.Telemetry)(nil).Executor(keep(new([]core.Intent))),
		"zero Telemetry": new(otelairlock.Telemetry).Executor(keep(new([]core.Intent))),
	} {
		err := exec(t.Context(), in)
		wantInvalid(t, name, err)
		if out := core.OutcomesOf(err, []core.Intent{in}); out[0].State != core.Rejected {
			t.Errorf("%s: %v", name, out[0].State)
		}
		wantInvalid(t, name, exec.Check(t.Context(), in))
		wantInvalid(t, name, exec.Check(t.Context()))
		if _, ok := exec.Capabilities(); ok {
			t.Errorf("%s has capabilities", name)
		}
		if err := exec(t.Context()); err != nil {
			t.Errorf("%s: an empty call: %v", name, err)
		}
	}
	var none context.Context
	wantInvalid(t, "nil context", e.tel.Executor(keep(new([]core.Intent)))(none, in))
	for _, tel := range []*otelairlock.Telemetry{nil, {}} {
		if _, err := worker.NewRegistry(tel.Middleware()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("Middleware: %v", err)
		}
		if _, err := worker.NewRegistry(tel.Observer()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("Observer: %v", err)
		}
	}
}

func TestWithoutAnSDKNothingIsAdded(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{TracerProvider: tracenoop.NewTracerProvider()})
	var got []core.Intent
	exec := e.tel.Executor(keep(&got))
	if err := exec(t.Context(), intent(t)); err != nil || got[0].Headers().Len() != 0 {
		t.Errorf("headers %v, %v", got[0].Headers(), err)
	}
	ctx, request := e.inSpan() // the context goes on through it
	if err := exec(ctx, intent(t)); err != nil || remote(got[1]).SpanID() != request.SpanID() {
		t.Errorf("headers %v, %v", got[1].Headers(), err)
	}
	if v := e.registry(nothing).Perform(t.Context(), worker.FirstDelivery(&got[1])); v.Action != worker.Done {
		t.Error(v)
	}
}

// It changes the global providers, and so is not parallel.
func TestNilOptionsAreTheGlobalProviders(t *testing.T) {
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	tracers, meters, propagator := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator()
	defer func() {
		otel.SetTracerProvider(tracers)
		otel.SetMeterProvider(meters)
		otel.SetTextMapPropagator(propagator)
	}()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	tel := must(otelairlock.New(nil))(t)
	var got []core.Intent
	if err := tel.Executor(keep(&got))(t.Context(), intent(t)); err != nil {
		t.Fatal(err)
	}
	e := &testEnv{T: t, spans: spans, reader: reader}
	if remote(got[0]).SpanID() != e.one().SpanContext().SpanID() || len(e.points()) != 2 {
		t.Errorf("headers %v, %v", got[0].Headers(), e.points())
	}
}
