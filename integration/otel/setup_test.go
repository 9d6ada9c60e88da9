package otel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

var (
	orderPlaced = core.DeclareTask[string]("order.placed")
	sendReceipt = core.DeclareTask[string]("email.receipt")
)

func place(ctx context.Context, order string) error { return airlock.Enqueue(ctx, sendReceipt, order) }

func send(_ context.Context, order string) error { sentReceipts <- order; return nil }

var sentReceipts = make(chan string, 1)

// newTelemetry sets OpenTelemetry up. The exporters are the program's own, such as those
// of otlptracehttp and otlpmetrichttp. stop sends what is left.
func newTelemetry(spans sdktrace.SpanExporter, metrics sdkmetric.Exporter) (tel *otelairlock.Telemetry, stop func(context.Context) error, err error) {
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	tel, err = otelairlock.New(&otelairlock.Options{
		TracerProvider: tracers,
		MeterProvider:  meters,
		Propagator:     propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		System:         "asynq",
		Tasks:          []string{orderPlaced.Name(), sendReceipt.Name()},
	})
	stop = func(ctx context.Context) error { return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx)) }
	return tel, stop, err
}

// newExecutor is what the producer flushes its scopes to.
func newExecutor(tel *otelairlock.Telemetry, queue *asynqexec.Executor) core.Executor {
	return tel.Executor(queue.Execute)
}

// newRegistry is what the worker runs jobs with. tel.Middleware comes first.
func newRegistry(tel *otelairlock.Telemetry, exec core.Executor) (*worker.Registry, error) {
	return worker.NewRegistry(
		tel.Middleware(), tel.Observer(), airlock.Scoped(exec),
		worker.Handle(orderPlaced, place), worker.Handle(sendReceipt, send),
	)
}

// watchMirror reports the losses of a mirror.
func watchMirror(meter metric.Meter, mirror *compose.Mirror) error {
	_, err := meter.Int64ObservableCounter("app.mirror.lost", metric.WithUnit("{message}"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			stats := mirror.Stats()
			o.Observe(int64(stats.Failed), metric.WithAttributes(attribute.String("reason", "failed")))
			o.Observe(int64(stats.Dropped), metric.WithAttributes(attribute.String("reason", "dropped")))
			return nil
		}))
	return err
}

// exported keeps what it is given, as an exporter.
type exported struct {
	mu    sync.Mutex
	names map[string]int // guarded by mu; of spans and instruments
}

func (x *exported) add(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names[name]++
}

type spanExporter struct{ *exported }

func (x spanExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		x.add(fmt.Sprint(s.Name(), " ", attr(s, "airlock.task")))
	}
	return nil
}

func (spanExporter) Shutdown(context.Context) error { return nil }

type metricExporter struct{ *exported }

func (metricExporter) Temporality(k sdkmetric.InstrumentKind) metricdata.Temporality {
	return sdkmetric.DefaultTemporalitySelector(k)
}

func (metricExporter) Aggregation(k sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(k)
}

func (x metricExporter) Export(_ context.Context, data *metricdata.ResourceMetrics) error {
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			x.add(m.Name)
		}
	}
	return nil
}

func (metricExporter) ForceFlush(context.Context) error { return nil }
func (metricExporter) Shutdown(context.Context) error   { return nil }

func TestTheSetUpInTheGuideWorks(t *testing.T) {
	t.Parallel()
	e := &testEnv{T: t}
	x := &exported{names: make(map[string]int)}
	tel, stop, err := newTelemetry(spanExporter{x}, metricExporter{x})
	e.must(err)
	rdb := redis.NewClient(&redis.Options{Addr: miniRedis(t).Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	queue, err := asynqexec.New(rdb, nil)
	e.must(err)
	exec := newExecutor(tel, queue)
	reg, err := newRegistry(tel, exec)
	e.must(err)
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{Logger: quiet})
	e.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	e.must(airlock.Run(t.Context(), exec, func(ctx context.Context) error { return airlock.Enqueue(ctx, orderPlaced, "1") }))
	if order := <-sentReceipts; order != "1" {
		t.Errorf("sent a receipt of %s", order)
	}
	cancel()
	e.must(<-ended)
	e.must(stop(t.Context()))
	for _, name := range []string{
		"send default order.placed", "process default order.placed", "send default email.receipt", "process default email.receipt",
		"messaging.client.operation.duration", "messaging.client.sent.messages", "messaging.process.duration",
		"airlock.job.runs", "airlock.job.attempt", "airlock.job.age",
	} {
		if x.names[name] != 1 {
			t.Errorf("%q was exported %d times", name, x.names[name])
		}
	}
}

func TestTheCountersOfAMirror(t *testing.T) {
	t.Parallel()
	e := setup(t, "sync")
	e.reader = sdkmetric.NewManualReader()
	m, err := compose.NewMirror(away, &compose.MirrorOptions{Logger: quiet})
	e.must(err)
	e.must(watchMirror(sdkmetric.NewMeterProvider(sdkmetric.WithReader(e.reader)).Meter("app"), m))
	e.must(m.Wrap(openSync(e, e.simple()))(t.Context(), e.intent(parent)))
	e.must(m.Stop(t.Context()))
	e.wantSum(1, "app.mirror.lost", "reason=failed")
	e.wantSum(0, "app.mirror.lost", "reason=dropped")
}

const guide = "../../docs/observability.md"

func TestTheGuideShowsWhatIsTested(t *testing.T) {
	t.Parallel()
	e := &testEnv{T: t}
	text, err := os.ReadFile(guide)
	e.must(err)
	source, err := os.ReadFile("setup_test.go")
	e.must(err)
	for _, name := range []string{"newTelemetry", "newExecutor", "newRegistry", "watchMirror"} {
		_, code, _ := strings.Cut(string(source), "\n// "+name+" ")
		code, _, ok := strings.Cut("// "+name+" "+code, "\n}\n")
		if !ok || !strings.Contains(string(text), code+"\n}\n") {
			t.Errorf("%s does not show:\n%s", guide, code)
		}
	}
	if lines := logLines(); !strings.Contains(string(text), lines) {
		t.Errorf("%s does not show:\n%s", guide, lines)
	}
	// Every instrument and attribute is in the guide, and in the package comment.
	comment, err := os.ReadFile("../../otelairlock/doc.go")
	e.must(err)
	instruments, err := os.ReadFile("../../otelairlock/instruments.go")
	e.must(err)
	for i, word := range strings.Split(string(instruments), `"`) {
		if i%2 == 1 && (strings.HasPrefix(word, "airlock.") || strings.HasPrefix(word, "messaging.")) {
			if !strings.Contains(string(text), word) || !strings.Contains(string(comment), word) {
				t.Errorf("%s is not documented", word)
			}
		}
	}
}

// requireInGuide checks that the guide says over which queues traces are tested. Without
// the build tag realservers some of those that it names are not in queues.
func requireInGuide(t *testing.T, queues map[string]queue) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "It does so over ")
	list, _, _ = strings.Cut(list, ", each with the worker in Go.")
	named := strings.Split(strings.ReplaceAll(strings.ToLower(list), " and ", ", "), ", ")
	for i, name := range named {
		named[i] = strings.TrimPrefix(name, "gocraft/")
	}
	for name := range queues {
		if !slices.Contains(named, name) {
			t.Errorf("%s does not name %s", guide, name)
		}
	}
	if onServers != nil && len(named) != len(queues) {
		t.Errorf("%s names %q, which are not all tested", guide, named)
	}
}

// logLines are the lines of workers, one of each kind.
func logLines() string {
	var b strings.Builder
	logger := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	for _, v := range []worker.Verdict{
		{Action: worker.Done},
		{Action: worker.Snoozed, After: time.Minute},
		{Action: worker.Retry, After: 30 * time.Second, Err: errors.New("smtp: 421 try again later")},
		{Action: worker.Parked, After: time.Minute, Err: core.ErrNoHandler},
		{Action: worker.Interrupted, Err: context.Canceled},
		{Action: worker.Dead, Err: errors.New("smtp: 550 no such user")},
	} {
		run := worker.Run{Delivery: worker.Delivery{Task: "email.receipt", ID: "7f3a", Queue: "mail", Attempt: 1}, Verdict: v, Took: 12 * time.Millisecond}
		switch v.Action {
		case worker.Parked:
			run.Took = 0
		case worker.Dead:
			run.Delivery.Attempt = 25
		}
		adapter.LogRun(context.Background(), logger, run)
	}
	return b.String()
}
