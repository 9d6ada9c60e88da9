package otelairlock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/worker"
)

const processAttrs = "messaging.destination.name=mail messaging.operation.name=process messaging.operation.type=process messaging.system=airlock"

// delivery is a run of a job that an Executor has sent.
func (e *testEnv) delivery() (d worker.Delivery, sender trace.SpanID) {
	e.Helper()
	var got []core.Intent
	ctx, _ := e.inSpan()
	if err := e.tel.Executor(keep(&got))(ctx, intent(e, core.Queue("mail"))); err != nil {
		e.Fatal(err)
	}
	sent := e.one()
	e.spans.Reset()
	d = worker.FirstDelivery(&got[0])
	d.Attempt, d.MaxAttempts = 2, 5
	return d, sent.SpanContext().SpanID()
}

func TestARunIsAConsumerSpanLinkedToItsSender(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	d, sender := e.delivery()
	var inside trace.SpanContext
	reg := e.registry(func(ctx context.Context, arg string) error {
		inside = trace.SpanContextFromContext(ctx)
		if arg != canary || baggage.FromContext(ctx).Member("tenant").Value() != canary {
			t.Error("the argument or the baggage is lost")
		}
		return nil
	})
	if v := reg.Perform(t.Context(), d); v.Action != worker.Done {
		t.Fatal(v)
	}
	s := e.one()
	if s.Name() != "process mail" || s.SpanKind() != trace.SpanKindConsumer || s.Parent().IsValid() || !slices.Equal(linked(s), []trace.SpanID{sender}) || s.SpanContext().SpanID() != inside.SpanID() {
		t.Errorf("got %s, %v, parent %v, links %v", s.Name(), s.SpanKind(), s.Parent(), s.Links())
	}
	wantText(t, "attributes", text(s.Attributes()), "airlock.attempt=2 airlock.max_attempts=5 airlock.result=done airlock.task=test.plain "+processAttrs)
	if !strings.Contains(fmt.Sprint(s.Attributes()), d.ID) || strings.Contains(fmt.Sprint(s.Attributes()), canary) {
		t.Errorf("got %v", s.Attributes())
	}
	// A job of a producer without tracing.
	e.spans.Reset()
	d.Headers = core.Headers{}
	d.Queue = ""
	ctx, span := e.tracer.Start(t.Context(), "the worker's")
	reg = e.registry(func(context.Context, string) error { return nil })
	reg.Perform(ctx, d)
	span.End()
	if s := e.one(); s.Name() != "process default" || len(s.Links()) != 0 || s.Parent().SpanID() != span.SpanContext().SpanID() {
		t.Errorf("got %s, parent %v, links %v", s.Name(), s.Parent(), s.Links())
	}
}

func TestResultsOfRuns(t *testing.T) {
	t.Parallel()
	stopped, stop := context.WithCancelCause(t.Context())
	for name, c := range map[string]struct {
		fn           func(ctx context.Context) error
		ctx          context.Context
		result, kind string
	}{
		"done":      {func(context.Context) error { return nil }, nil, "done", ""},
		"failed":    {func(context.Context) error { return errors.New(canary) }, nil, "failed", "_OTHER"},
		"timeout":   {func(context.Context) error { return context.DeadlineExceeded }, nil, "failed", "timeout"},
		"snoozed":   {func(context.Context) error { return worker.Snooze(time.Hour) }, nil, "snoozed", ""},
		"permanent": {func(context.Context) error { return worker.Permanent(errors.New(canary)) }, nil, "permanent", "_OTHER"},
		"panic":     {func(context.Context) error { panic(canary) }, nil, "failed", "panic"},
		"goexit":    {func(context.Context) error { runtime.Goexit(); return nil }, nil, "failed", "panic"},
		"bad error": {func(context.Context) error { return badError{} }, nil, "failed", "panic"},
		"stopped": {func(context.Context) error { stop(worker.ErrStopping); return errors.New(canary) }, stopped,
			"interrupted", ""},
	} {
		e := setup(t, otelairlock.Options{})
		d, _ := e.delivery()
		ctx := c.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		e.registry(func(ctx context.Context, _ string) error { return c.fn(ctx) }).Perform(ctx, d)
		want, code := "airlock.attempt=2 airlock.max_attempts=5 airlock.result="+c.result+" airlock.task=test.plain ", codes.Unset
		if c.kind != "" {
			want, code = want+"error.type="+c.kind+" ", codes.Error
		}
		s := e.one()
		wantText(t, name, text(s.Attributes()), want+processAttrs)
		if s.Status().Code != code {
			t.Errorf("%s: status %v", name, s.Status())
		}
		if strings.Contains(fmt.Sprint(s.Attributes(), s.Events(), s.Status(), e.points()), canary) {
			t.Errorf("%s: a secret is shown", name)
		}
	}
}

func TestArgumentsThatDoNotDecodeArePermanent(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	d, _ := e.delivery()
	d.Payload = []byte("{" + canary)
	e.registry(nothing).Perform(t.Context(), d)
	wantText(t, "attributes", text(e.one().Attributes()), "airlock.attempt=2 airlock.max_attempts=5 airlock.result=permanent airlock.task=test.plain error.type=malformed "+processAttrs)
	e.wantPoints("airlock.job.dead", map[string]float64{"airlock.job.dead{airlock.reason=arguments airlock.task=test.plain messaging.destination.name=mail}": 1})
}

func nothing(context.Context, string) error { return nil }

func TestWhatAJobDispatchesIsItsChild(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	d, _ := e.delivery()
	var got []core.Intent
	exec := e.tel.Executor(keep(&got))
	reg := must(worker.NewRegistry(e.tel.Middleware(), airlock.Scoped(exec), worker.Handle(plain, func(ctx context.Context, _ string) error {
		return airlock.Enqueue(ctx, core.DeclareTask[string]("test.child"), "")
	})))(t)
	if v := reg.Perform(t.Context(), d); v.Action != worker.Done {
		t.Fatal(v)
	}
	spans := e.ended()
	if len(spans) != 2 || spans[0].Name() != "send default" || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() || remote(got[0]).SpanID() != spans[0].SpanContext().SpanID() {
		t.Errorf("got %v", spans)
	}
	if got[0].Headers().Get("baggage") != "tenant="+canary {
		t.Error("the baggage is not passed on")
	}
}

func TestMetricsOfRuns(t *testing.T) {
	t.Parallel()
	sent := func(e *testEnv) worker.Delivery { d, _ := e.delivery(); return d }
	const labels = "airlock.task=test.plain messaging.destination.name=mail}"
	const unknown = "airlock.task=_other messaging.destination.name=mail}"
	runs := func(labels, verdict string) string {
		return strings.Replace(labels, " messaging", " airlock.verdict="+verdict+" messaging", 1)
	}
	for name, c := range map[string]struct {
		fn     func(ctx context.Context, _ string) error
		change func(*worker.Delivery)
		want   map[string]float64
		kind   string // of the run's duration; "-" if there is none
	}{
		"done": {nothing, nil, map[string]float64{"runs{" + runs(labels, "done"): 1}, ""},
		"retry": {func(context.Context, string) error { return errors.New("x") }, nil,
			map[string]float64{"runs{" + runs(labels, "retry"): 1}, "_OTHER"},
		"snoozed": {func(context.Context, string) error { return worker.Snooze(time.Hour) }, nil,
			map[string]float64{"runs{" + runs(labels, "snoozed"): 1}, ""},
		"permanent": {func(context.Context, string) error { return worker.Permanent(core.ErrTooLarge) }, nil,
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=permanent " + labels: 1}, "too_large"},
		"last attempt": {func(context.Context, string) error { return errors.New("x") }, func(d *worker.Delivery) { d.MaxAttempts = 2 },
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=attempts " + labels: 1}, "_OTHER"},
		"deadline": {nothing, func(d *worker.Delivery) { d.Deadline = time.Now() },
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=deadline " + labels: 1}, "-"},
		"no retry before the deadline": {func(context.Context, string) error { return errors.New("x") },
			func(d *worker.Delivery) { d.Deadline, d.Backoff = time.Now().Add(time.Hour), core.Fixed(2*time.Hour) },
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=deadline " + labels: 1}, "timeout"},
		"snooze beyond the deadline": {func(context.Context, string) error { return worker.Snooze(2 * time.Hour) },
			func(d *worker.Delivery) { d.Deadline = time.Now().Add(time.Hour) },
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=deadline " + labels: 1}, "timeout"},
		"envelope": {nothing, func(d *worker.Delivery) { d.EnvelopeErr = core.ErrInvalid },
			map[string]float64{"runs{" + runs(labels, "dead"): 1, "dead{airlock.reason=envelope " + labels: 1}, "-"},
		"later version": {nothing, func(d *worker.Delivery) { d.EnvelopeErr = worker.ErrLaterVersion },
			map[string]float64{"runs{" + runs(labels, "parked"): 1, "parked{airlock.reason=later_version " + labels: 1}, "-"},
		"unknown task": {nothing, func(d *worker.Delivery) { d.Task = canary },
			map[string]float64{"runs{" + runs(unknown, "parked"): 1, "parked{airlock.reason=no_handler " + unknown: 1}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, otelairlock.Options{})
			d := sent(e)
			if c.change != nil {
				c.change(&d)
			}
			e.registry(c.fn).Perform(t.Context(), d)
			want := map[string]float64{}
			for key, n := range c.want {
				want["airlock.job."+key] = n
			}
			if c.kind != "-" {
				want["airlock.job.attempt{"+labels] = 1
			}
			e.wantPoints("airlock.job", want)
			duration := map[string]float64{}
			switch kind := "error.type=" + c.kind + " "; c.kind {
			case "-":
			case "":
				kind = ""
				fallthrough
			default:
				duration["messaging.process.duration{airlock.task=test.plain "+kind+processAttrs+"}"] = 1
			}
			e.wantPoints("messaging.process", duration)
		})
	}
}

func TestObserverOfReportedJobs(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{Tasks: []string{"test.listed"}})
	reg := e.registry(nothing)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, task := range []string{"test.plain", "test.listed", canary, canary + "2"} {
		reg.Report(ctx, worker.Run{Delivery: worker.Delivery{Task: task, Attempt: 6, MaxAttempts: 5}, Verdict: worker.Verdict{Action: worker.Dead, Err: errors.New(canary)}})
	}
	reg.Report(nil, worker.Run{Verdict: worker.Verdict{Action: worker.Parked}}) //lint:ignore SA1012 a worker's mistake must not panic
	e.wantPoints("airlock.job", map[string]float64{
		"airlock.job.runs{airlock.task=test.plain airlock.verdict=dead messaging.destination.name=default}":     1,
		"airlock.job.runs{airlock.task=test.listed airlock.verdict=dead messaging.destination.name=default}":    1,
		"airlock.job.runs{airlock.task=_other airlock.verdict=dead messaging.destination.name=default}":         2,
		"airlock.job.runs{airlock.task=_other airlock.verdict=parked messaging.destination.name=default}":       1,
		"airlock.job.dead{airlock.reason=attempts airlock.task=test.plain messaging.destination.name=default}":  1,
		"airlock.job.dead{airlock.reason=attempts airlock.task=test.listed messaging.destination.name=default}": 1,
		"airlock.job.dead{airlock.reason=attempts airlock.task=_other messaging.destination.name=default}":      2,
		"airlock.job.parked{airlock.reason=other airlock.task=_other messaging.destination.name=default}":       1,
	})
}

func TestAgeIsKnownForGeneratedIDs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*worker.Delivery)
		want   float64 // seconds, or -1 for no age
	}{
		"first attempt": {func(*worker.Delivery) {}, 0},
		// 2020-01-01: more than six years ago.
		"old":            {func(d *worker.Delivery) { d.ID = "016f5e66-e800-7000-8000-000000000000" }, 6 * 365 * 24 * 3600},
		"in the future":  {func(d *worker.Delivery) { d.ID = "ffffffff-ffff-7000-8000-000000000000" }, 0},
		"second attempt": {func(d *worker.Delivery) { d.Attempt = 2 }, -1},
		"chosen":         {func(d *worker.Delivery) { d.ID = "order-1" }, -1},
		"derived":        {func(d *worker.Delivery) { d.ID = "016f5e66-e800-8000-8000-000000000000" }, -1},
		"no hex":         {func(d *worker.Delivery) { d.ID = "016f5e6x-e800-7000-8000-000000000000" }, -1},
	} {
		e := setup(t, otelairlock.Options{})
		d, _ := e.delivery()
		d.Attempt = 1
		c.change(&d)
		e.registry(nothing).Perform(t.Context(), d)
		var data metricdata.ResourceMetrics
		if err := e.reader.Collect(t.Context(), &data); err != nil {
			t.Fatal(err)
		}
		got := -1.0
		for _, m := range data.ScopeMetrics[0].Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "airlock.job.age" {
				got = h.DataPoints[0].Sum
			}
		}
		if c.want < 0 && got >= 0 || c.want >= 0 && got < c.want || c.want == 0 && got > 3600 {
			t.Errorf("%s: %v s, want %v", name, got, c.want)
		}
	}
}

func TestMiddlewareOutsideOfAJobDoesNothing(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	want := errors.New("the answer")
	if err := e.tel.Middleware()(t.Context(), func(context.Context) error { return want }); err != want {
		t.Errorf("got %v", err)
	}
	if len(e.spans.Started()) != 0 {
		t.Error("a span was started")
	}
}

func TestARunInThisProcessIsNoChildOfItsSender(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	reg := e.registry(nothing)
	exec := e.tel.Executor(adapter.Each(core.Capabilities{Options: map[core.OptionName]core.Claim{core.OptionHeader: {Support: core.SupportNative}}}, reg.Run))
	if err := exec(t.Context(), intent(t)); err != nil {
		t.Fatal(err)
	}
	run, sent := e.ended()[0], e.ended()[1]
	if run.Parent().IsValid() || !slices.Equal(linked(run), []trace.SpanID{sent.SpanContext().SpanID()}) || run.SpanContext().TraceID() == sent.SpanContext().TraceID() {
		t.Errorf("parent %v, links %v", run.Parent(), run.Links())
	}
}
