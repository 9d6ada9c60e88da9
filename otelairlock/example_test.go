package otelairlock_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[int]("email.receipt")

// A job is sent in one process and run in another. Its headers link the two spans.
func Example() {
	spans := tracetest.NewSpanRecorder() // a program has an exporter here
	tel, err := otelairlock.New(&otelairlock.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Propagator:     propagation.TraceContext{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The producer. The queue of this example is a slice.
	var queue []core.Intent
	exec := tel.Executor(func(_ context.Context, intents ...core.Intent) error {
		queue = append(queue, intents...)
		return nil
	})
	err = airlock.Run(context.Background(), exec, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, 4711, core.Queue("mail"))
	})
	fmt.Println("dispatched:", err)

	// The worker.
	reg, err := worker.NewRegistry(tel.Middleware(), tel.Observer(),
		worker.Handle(SendReceipt, func(context.Context, int) error { return nil }))
	if err != nil {
		fmt.Println(err)
		return
	}
	reg.Perform(context.Background(), worker.FirstDelivery(&queue[0]))

	sent, run := spans.Ended()[0], spans.Ended()[1]
	fmt.Println(sent.SpanKind(), "span:", sent.Name())
	fmt.Println(run.SpanKind(), "span:", run.Name())
	fmt.Println("linked:", run.Links()[0].SpanContext.SpanID() == sent.SpanContext().SpanID())
	// Output:
	// dispatched: <nil>
	// producer span: send mail
	// consumer span: process mail
	// linked: true
}

// The observer counts what became of each run.
func ExampleTelemetry_Observer() {
	reader := sdkmetric.NewManualReader() // a program has an exporter here
	tel, err := otelairlock.New(&otelairlock.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	if err != nil {
		fmt.Println(err)
		return
	}
	reg, err := worker.NewRegistry(tel.Middleware(), tel.Observer(),
		worker.Handle(SendReceipt, func(_ context.Context, order int) error {
			if order < 0 {
				return worker.Permanent(fmt.Errorf("no order %d", order))
			}
			return nil
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, order := range []int{1, 2, -1} {
		in, _ := SendReceipt.Intent(order)
		reg.Perform(context.Background(), worker.FirstDelivery(&in))
	}

	var data metricdata.ResourceMetrics
	_ = reader.Collect(context.Background(), &data)
	for _, m := range data.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "airlock.job.dead" {
			p := sum.DataPoints[0]
			task, _ := p.Attributes.Value("airlock.task")
			reason, _ := p.Attributes.Value("airlock.reason")
			fmt.Println(m.Name, p.Value, task.AsString(), reason.AsString())
		}
	}
	// Output: airlock.job.dead 1 email.receipt permanent
}

// Spans have no text of an error unless the program asks for it.
func ExampleOptions_errorText() {
	spans := tracetest.NewSpanRecorder()
	tel, err := otelairlock.New(&otelairlock.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		ErrorText:      func(err error) string { return adapter.ErrorText(err, 200) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	exec := tel.Executor(func(context.Context, ...core.Intent) error {
		return fmt.Errorf("%w: dial redis://app:secret@cache:6379", core.ErrUnavailable)
	})
	in, _ := SendReceipt.Intent(4711)
	_ = exec(context.Background(), in)
	fmt.Println(spans.Ended()[0].Status().Description)
	// Output: backend unavailable: dial redis://***@cache:6379
}
