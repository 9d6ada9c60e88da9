package compose_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

type traceKey struct{}

func trace(ctx context.Context) map[string]string {
	id, _ := ctx.Value(traceKey{}).(string)
	if id == "" {
		return nil
	}
	return map[string]string{"Trace": id, "Baggage": "b"}
}

func TestHeadersComeFromTheContextOfTheCall(t *testing.T) {
	t.Parallel()
	s := scripted()
	exec := compose.WithHeaders(s.Execute, trace)
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Header("Trace", "own"), core.Header("Z", ""))}
	if err := exec(context.WithValue(t.Context(), traceKey{}, "t1"), list...); err != nil {
		t.Fatal(err)
	}
	if err := exec(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		call, intent int
		headers      string
	}{{0, 0, "Baggage=b Trace=t1"}, {0, 1, "Baggage=b Trace=own Z="}, {1, 0, ""}, {1, 1, "Trace=own Z="}} {
		got := s.calls[want.call][want.intent]
		var all []string
		for k, v := range got.Headers().All() {
			all = append(all, k+"="+v)
		}
		if text := strings.Join(all, " "); text != want.headers {
			t.Errorf("call %d, intent %d: %q, want %q", want.call, want.intent, text, want.headers)
		}
		if got.ID != list[want.intent].ID || got.ChosenID() {
			t.Errorf("the ID became %s (chosen: %v)", got.ID, got.ChosenID())
		}
	}
}

func TestBadHeaderRejectsThoseThatWouldGetIt(t *testing.T) {
	t.Parallel()
	s := scripted()
	exec := compose.WithHeaders(s.Execute, func(context.Context) map[string]string {
		return map[string]string{"Trace": "secret\r\nvalue"}
	})
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Header("Trace", "own"))}
	err := exec(t.Context(), list...)
	wantStates(t, err, list, core.Rejected, core.NotSent)
	wantErrorIs(t, outcomes(t, err, list)[0].Err, core.ErrInvalid)
	wantSent(t, "the executor", s)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the value shows: %v", err)
	}
}

func TestReservedHeaderIsRejected(t *testing.T) {
	t.Parallel()
	exec := compose.WithHeaders(accept, func(context.Context) map[string]string {
		return map[string]string{"Airlock-Id": "x"}
	})
	list := intents(t, 1)
	err := exec(t.Context(), list...)
	wantStates(t, err, list, core.Rejected)
	wantErrorIs(t, err, core.ErrInvalid)
}

func TestPanicOfTheHeaderFunctionIsContained(t *testing.T) {
	t.Parallel()
	s := scripted()
	exec := compose.WithHeaders(s.Execute, func(context.Context) map[string]string { panic("no trace") })
	list := intents(t, 2)
	err := exec(t.Context(), list...)
	wantStates(t, err, list, core.Rejected, core.Rejected)
	var p *core.PanicError
	if !errors.As(err, &p) || p.Value != "no trace" {
		t.Errorf("want the panic: %v", err)
	}
	wantSent(t, "the executor", s)
}
