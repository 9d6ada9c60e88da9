package otelairlock

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// errorTypes are the values of error.type. The first one that errors.Is finds is
// taken, so that one which wraps another comes before it.
var errorTypes = []struct {
	err  error
	name string
}{
	{core.ErrUnsupported, "unsupported_option"},
	{core.ErrTooLarge, "too_large"},
	{core.ErrNoHandler, "no_handler"},
	{core.ErrMalformed, "malformed"},
	{worker.ErrLaterVersion, "later_version"},
	{core.ErrInvalid, "invalid"},
	{core.ErrClosed, "closed"},
	{core.ErrUnavailable, "unavailable"},
	{context.DeadlineExceeded, "timeout"},
	{context.Canceled, "canceled"},
	{core.ErrEarlierFailed, "earlier_failed"},
	{core.ErrNotSent, "not_sent"},
	{core.ErrUnknownOutcome, "unknown_outcome"},
}

// otherError is the value that the conventions have for every other error.
const otherError = "_OTHER"

// errorType returns the value of error.type for an error that core.Sound returned.
func errorType(err error) string {
	var panicked *core.PanicError
	if errors.As(err, &panicked) {
		return "panic"
	}
	for _, t := range errorTypes {
		if errors.Is(err, t.err) {
			return t.name
		}
	}
	return otherError
}

// outcomeError returns the value of error.type for an outcome, or "" if it is no
// error.
func outcomeError(o *core.Outcome) string {
	switch {
	case o.State == core.Accepted || o.State == core.Duplicate:
		return ""
	case o.Err == nil && o.State == core.Unknown:
		return "unknown_outcome"
	case o.Err == nil && o.State == core.NotSent:
		return "not_sent"
	}
	return errorType(o.Err)
}

// fail marks a span as failed. It adds the text of err only if the options ask for it.
func (t *Telemetry) fail(span trace.Span, kind string, err error) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	attrs := []attribute.KeyValue{semconv.ExceptionType(kind)}
	description := kind
	if text := t.textOf(err); text != "" {
		description = text
		attrs = append(attrs, semconv.ExceptionMessage(text))
	}
	span.SetStatus(codes.Error, description)
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(attrs...))
}

// textOf returns what Options.ErrorText returns. Its panic must not break a dispatch.
func (t *Telemetry) textOf(err error) (text string) {
	if err == nil || t.errorText == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	return t.errorText(err)
}
