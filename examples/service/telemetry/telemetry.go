// Package telemetry sets OpenTelemetry up.
package telemetry

import (
	"context"
	"errors"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/goairlock/airlock/examples/service/orders"
	"github.com/goairlock/airlock/otelairlock"
)

// New returns the telemetry of a process, and what sends the rest when it ends. Spans
// and metrics go to the log at the level Debug. A service in production has the
// exporters of otlptracehttp and otlpmetrichttp in their place.
func New(system string, log *slog.Logger) (*otelairlock.Telemetry, func(context.Context) error, error) {
	out := logged{log}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans{out}))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics{out})))
	tel, err := otelairlock.New(&otelairlock.Options{
		TracerProvider: tracers, MeterProvider: meters, System: system, Tasks: orders.Tasks(),
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	})
	stop := func(ctx context.Context) error { return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx)) }
	return tel, stop, err
}

type logged struct{ *slog.Logger }

type spans struct{ logged }

func (s spans) ExportSpans(ctx context.Context, all []sdktrace.ReadOnlySpan) error {
	for _, span := range all {
		s.DebugContext(ctx, "span", "name", span.Name(), "trace", span.SpanContext().TraceID().String(),
			"took", span.EndTime().Sub(span.StartTime()).String(), "status", span.Status().Code.String(), "links", len(span.Links()))
	}
	return nil
}

func (spans) Shutdown(context.Context) error { return nil }

type metrics struct{ logged }

func (metrics) Temporality(k sdkmetric.InstrumentKind) metricdata.Temporality {
	return sdkmetric.DefaultTemporalitySelector(k)
}

func (metrics) Aggregation(k sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(k)
}

func (m metrics) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	for _, scope := range all.ScopeMetrics {
		for _, instrument := range scope.Metrics {
			if sum, ok := instrument.Data.(metricdata.Sum[int64]); ok {
				for _, p := range sum.DataPoints {
					m.DebugContext(ctx, "metric", "name", instrument.Name, "value", p.Value, "labels", p.Attributes.Encoded(attribute.DefaultEncoder()))
				}
			}
		}
	}
	return nil
}

func (metrics) ForceFlush(context.Context) error { return nil }
func (metrics) Shutdown(context.Context) error   { return nil }
