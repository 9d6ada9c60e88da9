package otelairlock

import (
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Options tune a [Telemetry]. The zero value works.
type Options struct {
	// TracerProvider makes the spans. Nil means that of otel.GetTracerProvider.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the instruments. Nil means that of otel.GetMeterProvider.
	MeterProvider metric.MeterProvider

	// Propagator writes the span's context into headers and reads it there. Nil
	// means that of otel.GetTextMapPropagator, which writes nothing unless
	// otel.SetTextMapPropagator was called; call that before New. The names of its
	// fields must be keys that [core.Header] takes.
	Propagator propagation.TextMapPropagator

	// System is the attribute messaging.system, such as "asynq". "" means "airlock".
	System string

	// Tasks are names of tasks that may be label values of instruments. A worker's
	// own tasks need not be listed. A producer has only these: Registry.Tasks of
	// package worker lists them where there is a registry.
	Tasks []string

	// ErrorText returns the text of an error for spans. It is the attribute
	// exception.message and the description of the status. Such a text may hold what
	// an error quotes of a job's arguments. adapter.ErrorText masks credentials and
	// cuts long texts. Nil means no text. It must be safe for concurrent use.
	ErrorText func(err error) string
}
