package otlp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
	"github.com/goairlock/airlock/internal/loopback"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

const (
	patience = 2 * time.Minute // for a busy machine
	canary   = "c4n4ry"        // must not be in any span or metric
)

var orderPlaced = core.DeclareTask[string]("order.placed")

// A collector gets the spans and the metrics of a job that fails once, over OTLP.
func TestCollector(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	spans, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(c.url+"/v1/traces"))
	must(t, err)
	metrics, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpointURL(c.url+"/v1/metrics"))
	must(t, err)
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)))
	tel, err := otelairlock.New(&otelairlock.Options{
		TracerProvider: tracers, MeterProvider: meters, Propagator: propagation.TraceContext{},
		System: "asynq", Tasks: []string{orderPlaced.Name()},
	})
	must(t, err)

	runs := 0
	reg, err := worker.NewRegistry(tel.Middleware(), tel.Observer(), worker.Handle(orderPlaced, func(context.Context, string) error {
		if runs++; runs == 1 {
			return errors.New(canary)
		}
		return nil
	}))
	must(t, err)
	queue, err := syncexec.New(&syncexec.Options{Registry: reg})
	must(t, err)
	must(t, airlock.Run(t.Context(), tel.Executor(queue.Execute), func(ctx context.Context) error {
		return airlock.Enqueue(ctx, orderPlaced, canary, core.MaxAttempts(2), core.Header("Authorization", canary))
	}))
	must(t, errors.Join(tracers.Shutdown(t.Context()), meters.Shutdown(t.Context())))

	c.await(t, "two runs", func(out string) bool { return strings.Count(out, "Kind           : Consumer") == 2 })
	c.await(t, "the metrics", func(out string) bool { return strings.Contains(out, "Name: airlock.job.runs") })
	out := c.text(t)
	for _, want := range []string{
		`Name +: send default`, `Kind +: Producer`, `Name +: process default`, `airlock\.task: Str\(order\.placed\)`, `SpanLink #0`,
		`messaging\.system: Str\(asynq\)`, `airlock\.result: Str\(failed\)`, `airlock\.result: Str\(done\)`,
		`Name: messaging\.client\.sent\.messages`, `Name: messaging\.process\.duration`, `Unit: s`,
		`airlock\.verdict: Str\(retry\)`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the collector has nothing like %q", want)
		}
	}
	if strings.Contains(out, canary) {
		t.Error("the collector shows a secret")
	}
	if t.Failed() {
		t.Log(out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collector is an OpenTelemetry Collector in a process of its own.
type collector struct {
	url    string
	output string // the file that it writes to
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	command := filepath.Join(t.TempDir(), "otelcol")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", command, "./otelcol")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the collector: %v\n%s", err, out)
	}
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	must(t, err)
	t.Cleanup(func() { _ = output.Close() })
	c := &collector{output: output.Name()}
	port, err := loopback.Reserve()
	must(t, err)
	t.Cleanup(port.Release)
	c.url = "http://" + port.Addr()
	cmd := exec.CommandContext(t.Context(), command, "--config", fmt.Sprintf(`yaml:{
		receivers: {otlp: {protocols: {http: {endpoint: "%s"}}}},
		exporters: {debug: {verbosity: detailed, use_internal_logger: false}},
		service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [debug]}, metrics: {receivers: [otlp], exporters: [debug]}}}
	}`, port.Addr()))
	cmd.Stdout, cmd.Stderr = output, output
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c.await(t, "the collector listens", func(string) bool {
		resp, err := http.Get(c.url)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	})
	return c
}

// await waits until ok returns true for what the collector has written.
func (c *collector) await(t *testing.T, what string, ok func(string) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(c.text(t)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not seen in\n%s", what, c.text(t))
		}
	}
}

func (c *collector) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(c.output)
	must(t, err)
	return string(text)
}
