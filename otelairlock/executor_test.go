package otelairlock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
)

const sendOne = "airlock.outcome=accepted airlock.task=test.plain messaging.destination.name=mail " +
	"messaging.operation.name=send messaging.operation.type=send messaging.system=asynq"

func TestACallIsAProducerSpan(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{System: "asynq", Tasks: []string{"test.plain"}})
	var got []core.Intent
	in := intent(t, core.Queue("mail"))
	ctx, request := e.inSpan()
	if err := e.tel.Executor(keep(&got))(ctx, in); err != nil {
		t.Fatal(err)
	}
	s := e.one()
	if s.Name() != "send mail" || s.SpanKind() != trace.SpanKindProducer || s.Parent().SpanID() != request.SpanID() || len(s.Links()) != 0 || len(s.Events()) != 0 {
		t.Errorf("got %s, %v, parent %v, links %v, events %v", s.Name(), s.SpanKind(), s.Parent(), s.Links(), s.Events())
	}
	wantText(t, "attributes", text(s.Attributes()), sendOne)
	if !strings.Contains(fmt.Sprint(s.Attributes()), in.ID) {
		t.Errorf("no ID in %v", s.Attributes())
	}
	if s.Status().Code != codes.Unset {
		t.Errorf("status %v", s.Status())
	}
	if len(got) != 1 || got[0].ID != in.ID || string(got[0].Payload()) != string(in.Payload()) || got[0].Options != in.Options {
		t.Errorf("the executor got %v", got)
	}
	if remote(got[0]).SpanID() != s.SpanContext().SpanID() || got[0].Headers().Get("baggage") != "tenant="+canary {
		t.Errorf("headers %v do not hold the span", got[0].Headers())
	}
	if in.Headers().Len() != 0 {
		t.Error("the caller's intent has changed")
	}
	e.wantPoints("", map[string]float64{
		"messaging.client.operation.duration{messaging.destination.name=mail messaging.operation.name=send messaging.operation.type=send messaging.system=asynq}": 1,
		"messaging.client.sent.messages{" + sendOne + "}": 1,
	})
}

func TestABatchIsOneSpan(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{Tasks: []string{"test.plain"}})
	var got []core.Intent
	rejected := core.Outcome{State: core.Rejected, Err: &core.OptionError{Option: core.OptionPriority}}
	exec := e.tel.Executor(keep(&got, core.Outcome{State: core.Accepted}, rejected, core.Outcome{State: core.NotSent}))
	other := must(core.DeclareTask[string]("test.other").Intent(""))(t)
	ins := []core.Intent{intent(t), intent(t, core.Queue("mail")), other}
	err := exec(t.Context(), ins...)
	if out := core.OutcomesOf(err, ins); out[1].State != core.Rejected || !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("the answer is %v", err)
	}
	s := e.one()
	wantText(t, "attributes", text(s.Attributes()), "airlock.outcome=rejected error.type=unsupported_option messaging.batch.message_count=3 "+
		"messaging.operation.name=send messaging.operation.type=send messaging.system=airlock")
	if s.Name() != "send" || s.Status().Code != codes.Error || s.Status().Description != "unsupported_option" {
		t.Errorf("got %s, %v", s.Name(), s.Status())
	}
	for i := range got {
		if remote(got[i]).SpanID() != s.SpanContext().SpanID() {
			t.Errorf("intent %d is not linked to the span", i)
		}
	}
	var events []string
	for _, event := range s.Events() {
		events = append(events, event.Name+": "+text(event.Attributes))
	}
	wantText(t, "events", strings.Join(events, "\n"), strings.Join([]string{
		"exception: exception.type=unsupported_option",
		"airlock.intent: airlock.outcome=rejected airlock.task=test.plain error.type=unsupported_option messaging.destination.name=mail",
		"airlock.intent: airlock.outcome=not_sent airlock.task=test.other error.type=not_sent messaging.destination.name=default",
		"airlock.intent: airlock.outcome=accepted airlock.task=test.plain messaging.destination.name=default",
	}, "\n"))
	const send = "messaging.operation.name=send messaging.operation.type=send messaging.system=airlock}"
	e.wantPoints("", map[string]float64{
		"messaging.client.operation.duration{error.type=unsupported_option " + send:                                                                             1,
		"messaging.client.sent.messages{airlock.outcome=accepted airlock.task=test.plain messaging.destination.name=default " + send:                            1,
		"messaging.client.sent.messages{airlock.outcome=rejected airlock.task=test.plain error.type=unsupported_option messaging.destination.name=mail " + send: 1,
		"messaging.client.sent.messages{airlock.outcome=not_sent airlock.task=_other error.type=not_sent messaging.destination.name=default " + send:            1,
	})
}

func TestALargeBatchKeepsTheEventsOfWhatFailed(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{Tasks: []string{"test.plain"}})
	var got []core.Intent
	ins, out := make([]core.Intent, 500), make([]core.Outcome, 500)
	for i := range ins {
		ins[i], out[i].State = intent(t), core.Accepted
	}
	out[499] = core.Outcome{State: core.NotSent, Err: core.ErrUnavailable}
	_ = e.tel.Executor(keep(&got, out...))(t.Context(), ins...)
	events := e.one().Events()
	if len(events) != 101 || e.one().DroppedEvents() != 0 || !strings.Contains(fmt.Sprint(events[1].Attributes), ins[499].ID) {
		t.Errorf("%d events, %d dropped, the second is %v", len(events), e.one().DroppedEvents(), events[1])
	}
	const send = "messaging.destination.name=default messaging.operation.name=send messaging.operation.type=send messaging.system=airlock}"
	e.wantPoints("messaging.client.sent", map[string]float64{
		"messaging.client.sent.messages{airlock.outcome=accepted airlock.task=test.plain " + send:                        499,
		"messaging.client.sent.messages{airlock.outcome=not_sent airlock.task=test.plain error.type=unavailable " + send: 1,
	})
}

func TestOutcomesAndErrorsOfACall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		exec          core.Executor
		outcome, kind string
	}{
		"duplicate":   {keep(new([]core.Intent), core.Outcome{State: core.Duplicate, Err: core.ErrDuplicate}), "duplicate", ""},
		"unknown":     {keep(new([]core.Intent), core.Outcome{State: core.Unknown}), "unknown", "unknown_outcome"},
		"not sent":    {keep(new([]core.Intent), core.Outcome{State: core.NotSent}), "not_sent", "not_sent"},
		"unavailable": {keep(new([]core.Intent), core.Outcome{State: core.NotSent, Err: core.ErrUnavailable}), "not_sent", "unavailable"},
		"too large":   {keep(new([]core.Intent), core.Outcome{State: core.Rejected, Err: core.ErrTooLarge}), "rejected", "too_large"},
		"failed":      {keep(new([]core.Intent), core.Outcome{State: core.Failed, Err: errors.New(canary)}), "failed", "_OTHER"},
		"plain error": {func(context.Context, ...core.Intent) error { return errors.New(canary) }, "unknown", "_OTHER"},
		"panic":       {func(context.Context, ...core.Intent) error { panic(canary) }, "unknown", "panic"},
		"bad error":   {func(context.Context, ...core.Intent) error { return badError{} }, "unknown", "panic"},
		"no handler":  {keep(new([]core.Intent), core.Outcome{State: core.Rejected, Err: core.NoHandlerError("x")}), "rejected", "no_handler"},
		"closed":      {keep(new([]core.Intent), core.Outcome{State: core.NotSent, Err: core.ErrClosed}), "not_sent", "closed"},
		"timeout":     {keep(new([]core.Intent), core.Outcome{State: core.Unknown, Err: context.DeadlineExceeded}), "unknown", "timeout"},
		"canceled":    {keep(new([]core.Intent), core.Outcome{State: core.NotSent, Err: context.Canceled}), "not_sent", "canceled"},
	} {
		e := setup(t, otelairlock.Options{})
		in := intent(t)
		if err := e.tel.Executor(c.exec)(t.Context(), in); err == nil {
			t.Errorf("%s: no error", name)
		}
		s := e.one()
		want := "airlock.outcome=" + c.outcome + " airlock.task=test.plain "
		code := codes.Unset
		if c.kind != "" {
			want += "error.type=" + c.kind + " "
			code = codes.Error
		}
		want += "messaging.destination.name=default messaging.operation.name=send messaging.operation.type=send messaging.system=airlock"
		wantText(t, name, text(s.Attributes()), want)
		if s.Status().Code != code || s.Status().Description != c.kind {
			t.Errorf("%s: status %v", name, s.Status())
		}
		if strings.Contains(fmt.Sprint(s.Attributes(), s.Events(), s.Status(), e.points()), canary) {
			t.Errorf("%s: the span shows a secret", name)
		}
	}
}

// badError panics when errors.Is looks at it.
type badError struct{}

func (badError) Error() string { return canary }
func (badError) Is(error) bool { panic(canary) }

func TestTheTextOfAnErrorIsShownOnRequest(t *testing.T) {
	t.Parallel()
	fails := func(context.Context, ...core.Intent) error { return errors.New("dial redis://user:pw@host") }
	e := setup(t, otelairlock.Options{ErrorText: func(err error) string { return adapter.ErrorText(err, 500) }})
	_ = e.tel.Executor(fails)(t.Context(), intent(t))
	s := e.one()
	if want := "dial redis://***@host"; s.Status().Description != want || text(s.Events()[0].Attributes) != "exception.message="+want+" exception.type=_OTHER" {
		t.Errorf("got %v, %v", s.Status(), s.Events())
	}
	e = setup(t, otelairlock.Options{ErrorText: func(error) string { panic("no text") }})
	_ = e.tel.Executor(fails)(t.Context(), intent(t))
	if got := e.one().Status().Description; got != "_OTHER" {
		t.Errorf("got %q", got)
	}
}

func TestEmptyCallsAndQuestionsHaveNoSpan(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	calls := 0
	caps := core.Capabilities{Executor: "small", MaxPayload: 200, Options: map[core.OptionName]core.Claim{core.OptionHeader: {Support: core.SupportNative}}}
	exec := e.tel.Executor(adapter.Guard(caps, func(context.Context, ...core.Intent) error { calls++; return nil }))
	if err := exec(t.Context()); err != nil {
		t.Errorf("empty call: %v", err)
	}
	if got, ok := exec.Capabilities(); !ok || got.Executor != "small" {
		t.Errorf("got %v, %v", got, ok)
	}
	if err := exec.Check(t.Context()); err != nil {
		t.Error(err)
	}
	good, bad := intent(t), intent(t, core.Priority(1))
	if err := exec.Check(t.Context(), good); err != nil {
		t.Error(err)
	}
	var refused *core.OptionError
	if err := exec.Check(t.Context(), bad); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if err := exec.Check(t.Context(), good, bad); core.OutcomesOf(err, []core.Intent{good, bad})[1].State != core.Rejected {
		t.Errorf("got %v", err)
	}
	check := must(exec.Checker(t.Context()))(t)
	if err := check(bad); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if len(e.spans.Started()) != 0 || calls != 0 || len(e.points()) != 0 {
		t.Errorf("%d spans, %d calls, %v", len(e.spans.Started()), calls, e.points())
	}
}

func TestIntentsAreCheckedAsTheyWouldBeSent(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	var noHeaders core.Executor = adapter.Guard(core.Capabilities{Executor: "small"}, keep(new([]core.Intent)))
	exec := e.tel.Executor(noHeaders)
	var refused *core.OptionError
	in := intent(t)
	if err := exec.Check(t.Context(), in); !errors.As(err, &refused) || refused.Option != core.OptionHeader {
		t.Errorf("got %v", err)
	}
	if err := exec(t.Context(), in); !errors.As(err, &refused) || refused.Option != core.OptionHeader {
		t.Errorf("got %v", err)
	}
}

func TestAnIntentWithoutRoomForHeadersIsSentWithout(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	full := intent(t, core.Header("X", strings.Repeat("x", 32<<10-1)))
	var got []core.Intent
	exec := e.tel.Executor(keep(&got))
	if err := exec.Check(t.Context(), full); err != nil {
		t.Error(err)
	}
	if err := exec(t.Context(), full, intent(t)); err != nil {
		t.Error(err)
	}
	if got[0].Headers().Len() != 1 || got[1].Headers().Len() != 1 || !remote(got[1]).IsValid() {
		t.Errorf("headers %v and %v", got[0].Headers(), got[1].Headers())
	}
}

func TestADroppedSpanStillHasHeaders(t *testing.T) {
	t.Parallel()
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	e := setup(t, otelairlock.Options{TracerProvider: never})
	var got []core.Intent
	_ = e.tel.Executor(keep(&got))(t.Context(), intent(t), intent(t))
	if sc := remote(got[0]); !sc.IsValid() || sc.IsSampled() {
		t.Errorf("got %v", sc)
	}
}

func TestABoundedNumberOfQueuesAreLabels(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	exec := e.tel.Executor(keep(new([]core.Intent)))
	for i := range 150 {
		if err := exec(t.Context(), intent(t, core.Queue(fmt.Sprintf("tenant-%d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	const prefix = "messaging.client.operation.duration{messaging.destination.name="
	got := e.points()
	n := 0
	for name := range got {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	const rest = " messaging.operation.name=send messaging.operation.type=send messaging.system=airlock}"
	if n != 101 || got[prefix+"tenant-99"+rest] != 1 || got[prefix+"_other"+rest] != 50 {
		t.Errorf("%d queues:\n%s", n, lines(got))
	}
	if spans := e.ended(); spans[149].Name() != "send tenant-149" {
		t.Errorf("a span's name is %s", spans[149].Name())
	}
}
