package otelairlock

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Middleware returns a middleware that makes a span for each run of a handler. The
// span is linked to the one that sent the job, and the handler's context has the
// baggage that came with the job. Give it to the registry before other middleware: what
// airlock.Scoped dispatches for the job then has the job's span as its parent.
//
// For a nil or zero Telemetry it is nil, which worker.NewRegistry reports.
func (t *Telemetry) Middleware() worker.Middleware {
	if t.ready() != nil {
		return nil
	}
	return func(ctx context.Context, next func(context.Context) error) error {
		job, ok := worker.JobFrom(ctx)
		if !ok {
			return next(ctx)
		}
		ctx, span := t.startRun(ctx, &job)
		returned := false
		defer func() {
			if !returned { // a panic, which passes, or runtime.Goexit
				t.endRun(span, resultFailed, "panic", nil)
			}
		}()
		err := next(ctx)
		returned = true
		result, kind := resultOf(ctx, err)
		t.endRun(span, result, kind, err)
		return err
	}
}

// startRun starts the span of a run. Its parent is the span of ctx, if there is one,
// and not the span that sent the job: a job may run days later, and a batch of jobs has
// one such span.
func (t *Telemetry) startRun(ctx context.Context, job *worker.Job) (context.Context, trace.Span) {
	queue := queueOf(job.Queue)
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, semconv.MessagingSystemKey.String(t.system), processName, semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(queue), semconv.MessagingMessageID(job.ID),
		taskKey.String(job.Task), attemptKey.Int(job.Attempt))
	if job.MaxAttempts > 0 {
		attrs = append(attrs, maxAttemptsKey.Int(job.MaxAttempts))
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...)}
	if job.Headers.Len() > 0 {
		parent := trace.SpanFromContext(ctx)
		ctx = t.propagator.Extract(trace.ContextWithSpan(ctx, nil), carrierOf{job.Headers})
		if sender := trace.SpanContextFromContext(ctx); sender.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sender}))
		}
		ctx = trace.ContextWithSpan(ctx, parent)
	}
	return t.tracer.Start(ctx, "process "+queue, opts...)
}

// The values of airlock.result.
const (
	resultDone        = "done"
	resultSnoozed     = "snoozed"
	resultInterrupted = "interrupted"
	resultPermanent   = "permanent"
	resultFailed      = "failed"
)

// resultOf returns the result of a run, and the value of error.type if it is an error.
func resultOf(ctx context.Context, err error) (result, kind string) {
	if err == nil {
		return resultDone, ""
	}
	err = core.Sound(err)
	if worker.IsPermanent(err) || errors.Is(err, core.ErrMalformed) {
		return resultPermanent, errorType(err)
	}
	if _, ok := worker.IsSnooze(err); ok {
		return resultSnoozed, ""
	}
	if context.Cause(ctx) == worker.ErrStopping {
		return resultInterrupted, ""
	}
	return resultFailed, errorType(err)
}

// endRun ends the span. No function may defer span.End itself: the SDK's End then
// recovers a panic and writes its value into the span.
func (t *Telemetry) endRun(span trace.Span, result, kind string, err error) {
	span.SetAttributes(resultKey.String(result))
	if kind != "" {
		t.fail(span, kind, err)
	}
	span.End()
}
