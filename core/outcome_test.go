package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
)

func TestPlainErrorsAreReadBySentinel(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	for _, c := range []struct {
		err  error
		want core.State
	}{
		{io.EOF, core.Unknown}, {context.Canceled, core.Unknown}, {context.DeadlineExceeded, core.Unknown}, {core.ErrUnknownOutcome, core.Unknown},
		{core.ErrNotSent, core.NotSent}, {core.ErrUnavailable, core.NotSent}, {core.ErrClosed, core.NotSent},
		{core.ErrInvalid, core.Rejected}, {core.ErrUnsupported, core.Rejected}, {core.ErrTooLarge, core.Rejected}, {core.ErrNoHandler, core.Rejected},
		{&core.OptionError{}, core.Rejected}, {core.ErrDuplicate, core.Duplicate},
		{errors.Join(core.ErrDuplicate, core.ErrInvalid), core.Rejected}, {errors.Join(core.ErrInvalid, core.ErrNotSent), core.NotSent},
		{errors.Join(core.ErrNotSent, core.ErrUnknownOutcome), core.Unknown}, {errors.Join(io.EOF, core.ErrDuplicate), core.Duplicate},
	} {
		for _, err := range []error{c.err, fmt.Errorf("deep: %w", c.err)} {
			out := core.OutcomesOf(err, ins)
			for i, o := range out {
				why := errors.Is(o.Err, c.err)
				if c.want == core.Duplicate {
					why = o.Err == core.ErrDuplicate
				}
				if o.State != c.want || !why || o.ID != ins[i].ID || o.Task != ins[i].Task {
					t.Errorf("%v: got %+v, want %v", err, o, c.want)
				}
			}
		}
	}
	if got := states(core.OutcomesOf(nil, ins)); got != "accepted,accepted" {
		t.Errorf("nil: got %s", got)
	}
	if out := core.OutcomesOf(io.EOF, nil); len(out) != 0 {
		t.Errorf("no intents: got %v", out)
	}
}

func TestOutcomesAreAlignedByID(t *testing.T) {
	t.Parallel()
	var ins []core.Intent
	for _, id := range []string{"a", "b", "b", "c"} {
		ins = append(ins, must(plain.Intent("", core.ID(id), core.Queue("mail")))(t))
	}
	o := func(id string, s core.State) core.Outcome { return core.Outcome{ID: id, State: s, Err: io.EOF} }
	for name, c := range map[string]struct {
		got  []core.Outcome
		want string
	}{
		"in order":     {[]core.Outcome{o("a", core.Duplicate), o("b", core.NotSent), o("b", core.Failed), o("c", core.Rejected)}, "duplicate,not sent,failed,rejected"},
		"misordered":   {[]core.Outcome{o("c", core.Rejected), o("b", core.NotSent), o("a", core.Duplicate), o("b", core.Failed)}, "duplicate,not sent,failed,rejected"},
		"short":        {[]core.Outcome{o("c", core.Rejected), o("b", core.Failed)}, "unknown,failed,unknown,rejected"},
		"long":         {[]core.Outcome{o("x", core.Failed), o("a", core.NotSent), o("b", core.NotSent), o("b", core.Failed), o("b", core.Duplicate), o("c", core.Accepted)}, "not sent,not sent,failed,accepted"},
		"none":         {nil, "unknown,unknown,unknown,unknown"},
		"others":       {[]core.Outcome{o("", core.Accepted), o("x", core.Accepted), o("y", core.Accepted), o("z", core.Accepted)}, "unknown,unknown,unknown,unknown"},
		"no state":     {[]core.Outcome{o("a", 99), o("b", core.State(6)), o("b", core.Failed), o("c", core.Accepted)}, "unknown,unknown,failed,accepted"},
		"all accepted": {[]core.Outcome{o("a", core.Accepted), o("b", core.Accepted), o("b", core.Accepted), o("c", core.Accepted)}, "accepted,accepted,accepted,accepted"},
	} {
		err := fmt.Errorf("outer: %w", &core.DispatchError{Outcomes: c.got})
		out := core.OutcomesOf(err, ins)
		if got := states(out); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		for i := range out {
			if out[i].ID != ins[i].ID || out[i].Task != "test.plain" || out[i].Queue != "mail" {
				t.Errorf("%s: got %+v", name, out[i])
			}
			if out[i].State == core.Unknown && out[i].Err == nil {
				t.Errorf("%s: unknown without a reason", name)
			}
			if (out[i].State == core.Duplicate) != (out[i].Err == core.ErrDuplicate) {
				t.Errorf("%s: %v with the error %v", name, out[i].State, out[i].Err)
			}
		}
		for i := range c.got {
			c.got[i].State = core.Failed // the result is the caller's own
		}
		if got := states(out); got != c.want {
			t.Errorf("%s: the result changed to %s", name, got)
		}
	}
}

func TestOutcomesOfSurvivesEveryError(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	var none *core.DispatchError
	for name, err := range map[string]error{
		"typed nil": (*hostile)(nil), "wrapped": fmt.Errorf("deep: %w", (*hostile)(nil)), "nil DispatchError": none, "wrapped nil": fmt.Errorf("deep: %w", none),
		"joined": errors.Join(io.EOF, (*hostile)(nil)), "empty": &core.DispatchError{}, "text": silent{}, "uncomparable": uncomparable{1},
	} {
		out := core.OutcomesOf(err, ins)
		if got := states(out); got != "unknown,unknown" {
			t.Errorf("%s: got %s", name, got)
		}
		combined := core.Combine(out)
		if combined.Error() == "" || errors.Is(combined, io.EOF) || !errors.Is(combined, core.ErrUnknownOutcome) {
			t.Errorf("%s: got %v", name, combined)
		}
	}
	out := core.OutcomesOf(&core.DispatchError{Outcomes: []core.Outcome{{ID: ins[1].ID, State: core.Failed, Err: (*hostile)(nil)}, {ID: ins[0].ID, State: core.Accepted}}}, ins)
	var p *core.PanicError
	if got := states(out); got != "accepted,failed" || !errors.As(core.Combine(out), &p) {
		t.Errorf("got %s, %v", got, out[1].Err)
	}
}

// silent is an error whose Error panics.
type silent struct{}

func (silent) Error() string { panic("no text") }

type uncomparable []int

func (uncomparable) Error() string { return "uncomparable" }

func TestUnwrapShowsTheWorstOnly(t *testing.T) {
	t.Parallel()
	mark := map[core.State]error{}
	for s := core.Unknown; s <= core.Failed; s++ {
		mark[s] = errors.New(s.String())
	}
	order := []core.State{core.Unknown, core.Rejected, core.Failed, core.NotSent, core.Duplicate}
	sentinels := map[core.State]error{core.Unknown: core.ErrUnknownOutcome, core.NotSent: core.ErrNotSent, core.Duplicate: core.ErrDuplicate}
	for i := range order {
		out := []core.Outcome{{State: core.Accepted, Err: mark[core.Accepted]}}
		for _, s := range order[i:] {
			out = append([]core.Outcome{{State: s, Err: mark[s]}}, out...)
		}
		err := core.Combine(out)
		if text := err.Error(); !strings.Contains(text, "first") || !strings.HasSuffix(text, ": "+order[i].String()+": "+mark[order[i]].Error()) {
			t.Errorf("worst %v: the text shows another: %s", order[i], text)
		}
		for _, s := range []core.State{core.Unknown, core.NotSent, core.Rejected, core.Failed, core.Duplicate, core.Accepted} {
			if worst := s == order[i]; errors.Is(err, mark[s]) != worst || sentinels[s] != nil && errors.Is(err, sentinels[s]) != worst {
				t.Errorf("worst %v: errors.Is finds %v: %v", order[i], s, !worst)
			}
		}
	}
	if err := core.Combine([]core.Outcome{{}, {State: core.Accepted}}); !errors.Is(err, core.ErrUnknownOutcome) {
		t.Errorf("the zero outcome: got %v", err)
	}
	cause := &core.OptionError{Option: core.OptionUnique}
	var got *core.OptionError
	if err := core.Combine([]core.Outcome{{State: core.Rejected, Err: fmt.Errorf("deep: %w", cause)}}); !errors.As(err, &got) || got != cause {
		t.Errorf("got %v", err)
	}
	if core.Combine(nil) != nil || core.Combine([]core.Outcome{{State: core.Accepted}}) != nil {
		t.Error("all accepted is an error")
	}
	if err := errors.Join((&core.DispatchError{Outcomes: []core.Outcome{{State: core.Accepted, Err: io.EOF}}}).Unwrap()...); err != nil {
		t.Errorf("accepted unwraps to %v", err)
	}
}

func TestDispatchErrorShowsWhatAndWhy(t *testing.T) {
	t.Parallel()
	o := func(id string, s core.State, err error) core.Outcome {
		return core.Outcome{ID: id, State: s, Err: err, Task: "email", Queue: "mail"}
	}
	for _, c := range []struct {
		out  []core.Outcome
		want string
	}{
		{[]core.Outcome{o("a", core.Failed, io.EOF)}, "airlock: dispatch: email a on mail: failed: EOF"},
		{[]core.Outcome{{ID: "a", State: core.Rejected}}, "airlock: dispatch: a: rejected"},
		{[]core.Outcome{o("a", core.NotSent, core.ErrNotSent)}, "airlock: dispatch: email a on mail: not sent"},
		{[]core.Outcome{o("a", core.Duplicate, nil), o("b", core.Accepted, nil)}, "airlock: dispatch: 1 of 2 intents not accepted (1 duplicate), first email a on mail: duplicate"},
		{[]core.Outcome{o("a", core.NotSent, nil), o("b", core.Rejected, io.EOF), o("c", core.Rejected, io.ErrClosedPipe)},
			"airlock: dispatch: 3 of 3 intents not accepted (2 rejected, 1 not sent), first email b on mail: rejected: EOF"},
		{[]core.Outcome{o("a", core.Failed, io.EOF), o("b", core.NotSent, nil)},
			"airlock: dispatch: 2 of 2 intents not accepted (1 failed, 1 not sent), first email a on mail: failed: EOF"},
		{[]core.Outcome{o("a", core.Duplicate, nil), o("b", core.NotSent, nil), o("c", core.Failed, nil), o("d", core.Rejected, nil), o("e", core.Unknown, io.EOF)},
			"airlock: dispatch: 5 of 5 intents not accepted (1 unknown, 1 rejected, 1 failed, 1 not sent, 1 duplicate), first email e on mail: unknown: EOF"},
		{[]core.Outcome{o("a", 77, nil)}, "airlock: dispatch: email a on mail: State(77)"},
		{[]core.Outcome{o("a", core.Failed, silent{})}, "airlock: dispatch: email a on mail: failed: %!v(PANIC=Error method: no text)"},
		{nil, "airlock: dispatch: every intent was accepted"},
	} {
		if got := (&core.DispatchError{Outcomes: c.out}).Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	err := (&core.Capabilities{Executor: "nats"}).CheckCall([]core.Intent{intents(t, 1)[0], must(plain.Intent(canary, core.Priority(1)))(t)})
	if text := err.Error(); !strings.Contains(text, "nats refuses option priority") || strings.Count(text, "airlock:") != 1 {
		t.Errorf("got %s", text)
	}
}

func TestRejectMakesTheOthersNotSent(t *testing.T) {
	t.Parallel()
	ins := intents(t, 3)
	out := core.Reject(nil, ins, 1, io.EOF)
	if states(out) != "not sent,rejected,not sent" || out[1].Err != io.EOF || !errors.Is(out[0].Err, core.ErrNotSent) || out[2].ID != ins[2].ID || out[2].Task != "test.plain" {
		t.Errorf("got %v", out)
	}
	again := core.Reject(out, ins, 2, io.ErrClosedPipe)
	if states(again) != "not sent,rejected,rejected" || again[1].Err != io.EOF || again[2].Err != io.ErrClosedPipe || &again[0] != &out[0] {
		t.Errorf("got %v", again)
	}
}

func TestOutcomesAreTheSameForEachIntent(t *testing.T) {
	t.Parallel()
	ins := []core.Intent{must(plain.Intent("", core.ID("a"), core.Queue("mail")))(t), must(plain.Intent("", core.ID("b")))(t)}
	out := core.Outcomes(ins, core.Failed, io.EOF)
	want := []core.Outcome{{ID: "a", State: core.Failed, Err: io.EOF, Task: "test.plain", Queue: "mail"}, {ID: "b", State: core.Failed, Err: io.EOF, Task: "test.plain"}}
	if !slices.Equal(out, want) || len(core.Outcomes(nil, core.Failed, io.EOF)) != 0 {
		t.Errorf("got %v", out)
	}
}

func TestContextErrorHasTheCause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := core.ContextError(ctx); err != nil {
		t.Errorf("got %v", err)
	}
	cancel(io.EOF)
	if err := core.ContextError(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	bare, end := context.WithCancel(t.Context())
	end()
	if err := core.ContextError(bare); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
