package otelairlock

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
)

// Executor returns an executor that calls exec and reports each call: a span, its
// duration and the intents by outcome. exec gets the intents with the headers in
// which the propagator puts the span's context and the baggage. The answer is exec's.
//
// Headers that an intent already has win. The trace headers are one set: if the
// intent has one of them, it gets none of ours, and the span is linked to the context
// in them. Baggage is a set of its own.
//
// Inside compose.WithRetry each attempt is a span, and outside all attempts are one.
// The context that exec gets is in the span, so that the spans of a database client
// are its children.
//
// An intent whose headers have no room for more (32 KiB together) is sent without ours.
// An executor that refuses headers refuses the intents: compose.Strip takes headers
// away where a queue has none. Questions are passed on to exec, with the intents as
// they would be sent.
//
// A nil exec and a nil or zero Telemetry are [core.ErrInvalid] at each call.
func (t *Telemetry) Executor(exec core.Executor) core.Executor {
	bad := t.ready()
	if bad == nil && exec == nil {
		bad = invalidf("Executor: nil executor")
	}
	return func(ctx context.Context, intents ...core.Intent) error {
		switch {
		case len(intents) == 0 && bad != nil:
			core.Answer(ctx, nil, func(context.Context, []core.Intent) error { return bad })
			return nil
		case len(intents) == 0:
			core.Answer(ctx, exec.Capabilities, func(ctx context.Context, intents []core.Intent) error {
				return t.check(ctx, exec, intents)
			})
			return nil
		case bad != nil:
			return core.Combine(core.Outcomes(intents, core.Rejected, bad))
		case ctx == nil:
			return core.Combine(core.Outcomes(intents, core.Rejected, invalidf("nil context")))
		}
		return t.send(ctx, exec, intents)
	}
}

// check asks exec about the intents as they would be sent.
func (t *Telemetry) check(ctx context.Context, exec core.Executor, intents []core.Intent) error {
	if len(intents) == 0 {
		return exec.Check(ctx)
	}
	return exec.Check(ctx, t.withHeaders(withSomeSpan(ctx), intents)...)
}

// send makes one call of exec and reports it.
func (t *Telemetry) send(ctx context.Context, exec core.Executor, intents []core.Intent) error {
	of := summaryOf(intents)
	ctx, span := t.startSend(ctx, intents, of)
	defer func() { span.End() }() // in a function: see endRun
	with := t.withHeaders(ctx, intents)
	start := time.Now()
	err := exec.Call(ctx, with)
	took := time.Since(start)
	var out []core.Outcome // nil if all were accepted
	if err != nil {
		out = core.OutcomesOf(err, intents)
	}
	worst := worstOf(out)
	t.endSend(span, intents, out, worst)
	t.countCall(ctx, of, worst, took)
	t.countSent(ctx, intents, out)
	return err
}

func (t *Telemetry) startSend(ctx context.Context, intents []core.Intent, of summary) (context.Context, trace.Span) {
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, semconv.MessagingSystemKey.String(t.system), sendName, semconv.MessagingOperationTypeSend)
	name := "send"
	if of.queue != "" {
		name = "send " + of.queue
		attrs = append(attrs, semconv.MessagingDestinationName(of.queue))
	}
	if of.task != "" {
		attrs = append(attrs, taskKey.String(of.task))
	}
	if len(intents) == 1 {
		attrs = append(attrs, semconv.MessagingMessageID(intents[0].ID))
	} else {
		attrs = append(attrs, semconv.MessagingBatchMessageCount(len(intents)))
	}
	return t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attrs...), trace.WithLinks(t.ownContexts(intents)...))
}

// endSend adds to the span what became of the intents. worst is nil if all were
// accepted.
func (t *Telemetry) endSend(span trace.Span, intents []core.Intent, out []core.Outcome, worst *core.Outcome) {
	if !span.IsRecording() {
		return
	}
	state := core.Accepted
	if worst != nil {
		state = worst.State
		if kind := outcomeError(worst); kind != "" {
			t.fail(span, kind, worst.Err)
		}
	}
	span.SetAttributes(outcomeKey.String(outcomeName(state)))
	if len(intents) > 1 {
		addIntentEvents(span, intents, out)
	}
}

// maxEvents is how many intents of a batch have an event. The SDK keeps 128 events of
// a span by default, and drops the oldest.
const maxEvents = 100

// addIntentEvents adds an event for each intent of a batch, those that were not
// accepted first.
func addIntentEvents(span trace.Span, intents []core.Intent, out []core.Outcome) {
	left := maxEvents
	add := func(in *core.Intent, state core.State, kind string) {
		attrs := make([]attribute.KeyValue, 0, 5)
		attrs = append(attrs, semconv.MessagingMessageID(in.ID), taskKey.String(in.Task),
			semconv.MessagingDestinationName(queueOf(in.Options.Queue)), outcomeKey.String(outcomeName(state)))
		if kind != "" {
			attrs = append(attrs, semconv.ErrorTypeKey.String(kind))
		}
		span.AddEvent("airlock.intent", trace.WithAttributes(attrs...))
		left--
	}
	for i := range out {
		if left > 0 && out[i].State != core.Accepted {
			add(&intents[i], out[i].State, outcomeError(&out[i]))
		}
	}
	for i := range intents {
		if left > 0 && (out == nil || out[i].State == core.Accepted) {
			add(&intents[i], core.Accepted, "")
		}
	}
}

func (t *Telemetry) countCall(ctx context.Context, of summary, worst *core.Outcome, took time.Duration) {
	if !t.instruments.sendDuration.Enabled(ctx) {
		return
	}
	attrs := make([]attribute.KeyValue, 0, 5)
	attrs = append(attrs, semconv.MessagingSystemKey.String(t.system), sendName, semconv.MessagingOperationTypeSend)
	if of.queue != "" {
		attrs = append(attrs, semconv.MessagingDestinationName(t.queues.label(of.queue)))
	}
	if worst != nil {
		if kind := outcomeError(worst); kind != "" {
			attrs = append(attrs, semconv.ErrorTypeKey.String(kind))
		}
	}
	t.instruments.sendDuration.Record(ctx, took.Seconds(), metric.WithAttributes(attrs...))
}

// countSent counts the intents of a call. Neighbours with the same labels, such as all
// intents of most calls, are counted at once.
func (t *Telemetry) countSent(ctx context.Context, intents []core.Intent, out []core.Outcome) {
	if !t.instruments.sent.Enabled(ctx) {
		return
	}
	type group struct {
		queue, task string
		state       core.State
		kind        string // error.type
	}
	var last group
	count := 0
	add := func() {
		attrs := make([]attribute.KeyValue, 0, 7)
		attrs = append(attrs, semconv.MessagingSystemKey.String(t.system), sendName, semconv.MessagingOperationTypeSend,
			semconv.MessagingDestinationName(t.queues.label(last.queue)), taskKey.String(t.taskLabel(last.task, false)),
			outcomeKey.String(outcomeName(last.state)))
		if last.kind != "" {
			attrs = append(attrs, semconv.ErrorTypeKey.String(last.kind))
		}
		t.instruments.sent.Add(ctx, int64(count), metric.WithAttributes(attrs...))
	}
	for i := range intents {
		g := group{queueOf(intents[i].Options.Queue), intents[i].Task, core.Accepted, ""}
		if out != nil {
			g.state, g.kind = out[i].State, outcomeError(&out[i])
		}
		if g != last && count > 0 {
			add()
			count = 0
		}
		last = g
		count++
	}
	add()
}
