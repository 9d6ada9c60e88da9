package otelairlock_test

import (
	"context"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

// discard is a span processor that keeps nothing, so that the cost of an exporter does
// not count.
type discard struct{}

func (discard) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (discard) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (discard) Shutdown(context.Context) error                  { return nil }
func (discard) ForceFlush(context.Context) error                { return nil }

func benchTelemetry(b *testing.B, tracers trace.TracerProvider, metrics bool) *otelairlock.Telemetry {
	b.Helper()
	opts := &otelairlock.Options{TracerProvider: tracers, Propagator: w3c, Tasks: []string{"test.plain"}, MeterProvider: metricnoop.NewMeterProvider()}
	if metrics {
		opts.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	}
	return must(otelairlock.New(opts))(b)
}

// variants are what a program may have set up.
func variants(b *testing.B, bench func(b *testing.B, tel *otelairlock.Telemetry)) {
	sampled := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(discard{}))
	dropped := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(discard{}), sdktrace.WithSampler(sdktrace.NeverSample()))
	b.Run("without", func(b *testing.B) { bench(b, nil) })
	b.Run("noop", func(b *testing.B) { bench(b, benchTelemetry(b, tracenoop.NewTracerProvider(), false)) })
	b.Run("metrics", func(b *testing.B) { bench(b, benchTelemetry(b, tracenoop.NewTracerProvider(), true)) })
	b.Run("dropped", func(b *testing.B) { bench(b, benchTelemetry(b, dropped, true)) })
	b.Run("sampled", func(b *testing.B) { bench(b, benchTelemetry(b, sampled, true)) })
}

func BenchmarkDispatch(b *testing.B) {
	for name, n := range map[string]int{"one": 1, "batch of 100": 100} {
		b.Run(name, func(b *testing.B) {
			variants(b, func(b *testing.B, tel *otelairlock.Telemetry) {
				ins := make([]core.Intent, n)
				for i := range ins {
					ins[i] = intent(b, core.Queue("mail"))
				}
				var exec core.Executor = func(context.Context, ...core.Intent) error { return nil }
				if tel != nil {
					exec = tel.Executor(exec)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := exec(b.Context(), ins...); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	variants(b, func(b *testing.B, tel *otelairlock.Telemetry) {
		caps := core.Capabilities{Options: map[core.OptionName]core.Claim{core.OptionHeader: {Support: core.SupportNative}}}
		var exec core.Executor = func(ctx context.Context, _ ...core.Intent) error {
			core.Answer(ctx, nil, func(_ context.Context, ins []core.Intent) error {
				if len(ins) == 0 {
					return nil
				}
				return caps.Check(ins[0])
			})
			return nil
		}
		if tel != nil {
			exec = tel.Executor(exec)
		}
		check, in := must(exec.Checker(b.Context()))(b), intent(b)
		b.ReportAllocs()
		for b.Loop() {
			if err := check(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRun(b *testing.B) {
	variants(b, func(b *testing.B, tel *otelairlock.Telemetry) {
		parts := []worker.Part{worker.Handle(plain, nothing)}
		if tel != nil {
			parts = append(parts, tel.Middleware(), tel.Observer())
		}
		reg := must(worker.NewRegistry(parts...))(b)
		in := intent(b, core.Header("traceparent", ownParent))
		d := worker.FirstDelivery(&in)
		d.OwnGoroutine = true
		b.ReportAllocs()
		for b.Loop() {
			if v := reg.Perform(b.Context(), d); v.Action != worker.Done {
				b.Fatal(v)
			}
		}
	})
}
