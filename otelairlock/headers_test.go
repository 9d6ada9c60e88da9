package otelairlock_test

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/otelairlock"
)

const (
	ownParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ownSpan   = "b7ad6b7169203331"
)

func TestHeadersOfTheCallerWin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts  []core.Option
		keys  []string
		links int
	}{
		"none":       {nil, []string{"baggage", "traceparent"}, 0},
		"others":     {[]core.Option{core.Header("X", "1")}, []string{"X", "baggage", "traceparent"}, 0},
		"parent":     {[]core.Option{core.Header("traceparent", ownParent)}, []string{"baggage", "traceparent"}, 1},
		"state":      {[]core.Option{core.Header("tracestate", "a=b")}, []string{"baggage", "tracestate"}, 0},
		"baggage":    {[]core.Option{core.Header("baggage", "own=1")}, []string{"baggage", "traceparent"}, 0},
		"everything": {[]core.Option{core.Header("traceparent", ownParent), core.Header("tracestate", "a=b"), core.Header("baggage", "own=1")}, []string{"baggage", "traceparent", "tracestate"}, 1},
		"no context": {[]core.Option{core.Header("traceparent", "nonsense")}, []string{"baggage", "traceparent"}, 0},
	} {
		e := setup(t, otelairlock.Options{})
		var got []core.Intent
		in := intent(t, c.opts...)
		ctx, _ := e.inSpan()
		if err := e.tel.Executor(keep(&got))(ctx, in); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for key, value := range got[0].Headers().All() {
			keys = append(keys, key)
			if own := in.Headers(); own.Has(key) && own.Get(key) != value {
				t.Errorf("%s: %s was replaced", name, key)
			}
		}
		s := e.one()
		if !slices.Equal(keys, c.keys) || len(s.Links()) != c.links {
			t.Errorf("%s: headers %v, %d links", name, keys, len(s.Links()))
		}
		if c.links == 1 && s.Links()[0].SpanContext.SpanID().String() != ownSpan {
			t.Errorf("%s: the link is to %v", name, s.Links()[0])
		}
	}
}

func TestTheSpanOfABatchIsLinkedToWhatItsIntentsBring(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{})
	ins := []core.Intent{intent(t), intent(t, core.Header("traceparent", ownParent))}
	var got []core.Intent
	_ = e.tel.Executor(keep(&got))(t.Context(), ins...)
	links := e.one().Links()
	if len(links) != 1 || links[0].SpanContext.SpanID().String() != ownSpan || links[0].Attributes[0].Value.AsString() != ins[1].ID {
		t.Errorf("got %v", links)
	}
	if remote(got[0]).SpanID() != e.one().SpanContext().SpanID() || remote(got[1]).SpanID().String() != ownSpan {
		t.Error("the headers are wrong")
	}
}

// single is a propagator of one header, like those of other vendors.
type single struct{ field string }

func (p single) Fields() []string { return []string{p.field} }

func (p single) Inject(ctx context.Context, c propagation.TextMapCarrier) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		c.Set(p.field, sc.TraceID().String()+"-"+sc.SpanID().String())
	}
}

func (p single) Extract(ctx context.Context, c propagation.TextMapCarrier) context.Context {
	if v := c.Get(p.field); len(v) == 49 && slices.Contains(c.Keys(), p.field) {
		traceID, _ := trace.TraceIDFromHex(v[:32])
		spanID, _ := trace.SpanIDFromHex(v[33:])
		return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, Remote: true}))
	}
	return ctx
}

func TestAnotherPropagator(t *testing.T) {
	t.Parallel()
	e := setup(t, otelairlock.Options{Propagator: single{"X-Trace"}})
	var got []core.Intent
	exec := e.tel.Executor(keep(&got))
	_ = exec(t.Context(), intent(t))
	_ = exec(t.Context(), got[0])
	first, second := e.ended()[0], e.ended()[1]
	if !slices.Equal(linked(second), []trace.SpanID{first.SpanContext().SpanID()}) || got[0].Headers().Len() != 1 || got[1].Headers().Get("X-Trace") != got[0].Headers().Get("X-Trace") {
		t.Errorf("links %v, headers %v", second.Links(), got[1].Headers())
	}
}
