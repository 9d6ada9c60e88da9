package otelairlock

import (
	"fmt"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
)

// scopeName is the name of the instrumentation scope.
const scopeName = "github.com/goairlock/airlock/otelairlock"

const (
	defaultSystem = "airlock"
	defaultQueue  = "default" // of a job that names none, on every queue
	otherName     = "_other"  // a label value for everything that is not listed
	maxQueues     = 100       // that are label values by their own names
)

// Telemetry makes the parts that report to OpenTelemetry: an Executor for the
// producer, a Middleware and an Observer for the worker, and the instruments of an
// outbox. It is safe for concurrent
// use. New makes it.
type Telemetry struct {
	tracer      trace.Tracer
	meter       metric.Meter
	instruments instruments
	propagator  propagation.TextMapPropagator
	traceFields []string // the propagator's fields except baggage
	system      string
	errorText   func(error) string
	tasks       map[string]bool
	queues      names
}

// New returns a Telemetry. Nil opts are the zero Options. It returns
// [core.ErrInvalid] for a provider or propagator that panics, as a nil pointer in an
// interface does, for one that makes no instruments, for a propagator whose fields
// cannot be headers, and for an empty name in Options.Tasks.
func New(opts *Options) (*Telemetry, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.Propagator == nil {
		o.Propagator = otel.GetTextMapPropagator()
	}
	if o.System == "" {
		o.System = defaultSystem
	}
	if slices.Contains(o.Tasks, "") {
		return nil, invalidf("Options.Tasks: an empty name")
	}
	t := &Telemetry{
		propagator: o.Propagator, system: o.System, errorText: o.ErrorText,
		tasks: make(map[string]bool, len(o.Tasks)), queues: names{most: maxQueues},
	}
	for _, task := range o.Tasks {
		t.tasks[task] = true
	}
	if err := t.open(&o); err != nil {
		return nil, err
	}
	return t, nil
}

// open calls the providers and the propagator. These may panic if they are nil
// pointers.
func (t *Telemetry) open(o *Options) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = invalidf("a provider or the propagator panicked: %v", v)
		}
	}()
	t.tracer = o.TracerProvider.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL))
	meter := o.MeterProvider.Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL))
	if t.tracer == nil || meter == nil {
		return invalidf("a provider returned nil")
	}
	t.meter = meter
	if t.instruments, err = newInstruments(meter); err != nil {
		return fmt.Errorf("airlock: otelairlock: %w: %w", core.ErrInvalid, err)
	}
	for _, field := range o.Propagator.Fields() {
		if err := core.DeclareTask[string]("any.task", core.Header(field, "")).Validate(); err != nil {
			return invalidf("the propagator's field %q cannot be a header", field)
		}
		if field != baggageField {
			t.traceFields = append(t.traceFields, field)
		}
	}
	return nil
}

// ready returns nil if t was made by New.
func (t *Telemetry) ready() error {
	if t == nil || t.tracer == nil {
		return invalidf("a nil or zero Telemetry: New makes it")
	}
	return nil
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: otelairlock: %w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}
