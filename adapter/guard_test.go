package adapter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestGuardRefusesTheWholeCall(t *testing.T) {
	t.Parallel()
	good := must(plain.Intent(canary))(t)
	odd := must(plain.Intent(canary, core.Priority(1)))(t)
	big := must(plain.Intent(strings.Repeat("x", 100)))(t)
	called := false
	exec := adapter.Guard(core.Capabilities{Executor: "small", MaxPayload: 50}, func(context.Context, ...core.Intent) error { called = true; return nil })
	call := []core.Intent{good, odd, core.Intent{}, good, big}
	err := exec(t.Context(), call...)
	out := core.OutcomesOf(err, call)
	if got := states(out); got != "not sent,rejected,rejected,not sent,rejected" || called {
		t.Fatalf("got %s, called: %v", got, called)
	}
	var refused *core.OptionError
	if !errors.As(out[1].Err, &refused) || refused.Option != core.OptionPriority || refused.Executor != "small" {
		t.Errorf("got %v", out[1].Err)
	}
	if !errors.Is(out[2].Err, core.ErrInvalid) || !errors.Is(out[4].Err, core.ErrTooLarge) || !errors.Is(out[0].Err, core.ErrNotSent) {
		t.Errorf("got %v, %v, %v", out[2].Err, out[4].Err, out[0].Err)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("%v shows arguments", err)
	}
}

func TestGuardAnswersBadInput(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	for name, err := range map[string]error{
		"nil executor": adapter.Guard(core.Capabilities{}, nil)(t.Context(), ins...),
		"nil context":  adapter.Guard(core.Capabilities{}, accept)(noCtx, ins...),
		"nil func":     adapter.Each(core.Capabilities{}, nil)(t.Context(), ins...),
		"each nil ctx": adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error { return nil })(noCtx, ins...),
		"without nil":  adapter.Guard(core.Capabilities{}, accept)(core.WithoutValues(noCtx), ins...),
	} {
		if got := states(core.OutcomesOf(err, ins)); got != "rejected,rejected" || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	for name, exec := range map[string]core.Executor{"nil": adapter.Guard(core.Capabilities{}, nil), "each": adapter.Each(core.Capabilities{}, nil), "good": adapter.Guard(core.Capabilities{}, accept)} {
		if err := exec(t.Context()); err != nil {
			t.Errorf("%s, no intents: %v", name, err)
		}
		if err := exec(noCtx); err != nil {
			t.Errorf("%s, no intents, no context: %v", name, err)
		}
	}
}

func TestGuardSendsNothingWhenTheContextIsDone(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	exec := adapter.Guard(core.Capabilities{}, func(context.Context, ...core.Intent) error { t.Error("called"); return nil })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	err := exec(ctx, ins...)
	if got := states(core.OutcomesOf(err, ins)); got != "not sent,not sent" || !errors.Is(err, context.Canceled) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %s, %v", got, err)
	}
	plainCtx, end := context.WithCancel(t.Context())
	end()
	if err := exec(plainCtx, ins[0]); !errors.Is(err, context.Canceled) || strings.Count(err.Error(), "canceled") != 1 {
		t.Errorf("got %v", err)
	}
}

func TestGuardContainsWhatExecDoes(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	var none *core.DispatchError
	for name, c := range map[string]struct {
		exec core.Executor
		want string
	}{
		"nil":         {accept, "accepted,accepted"},
		"plain":       {func(context.Context, ...core.Intent) error { return io.EOF }, "unknown,unknown"},
		"sentinel":    {func(context.Context, ...core.Intent) error { return core.ErrUnavailable }, "not sent,not sent"},
		"typed nil":   {func(context.Context, ...core.Intent) error { return (*hostile)(nil) }, "unknown,unknown"},
		"nil of ours": {func(context.Context, ...core.Intent) error { return none }, "unknown,unknown"},
		"short": {func(_ context.Context, ins ...core.Intent) error {
			return core.Combine([]core.Outcome{{ID: ins[1].ID, State: core.Failed}})
		}, "unknown,failed"},
		"empty": {func(context.Context, ...core.Intent) error { return &core.DispatchError{} }, "unknown,unknown"},
		"all good": {func(_ context.Context, ins ...core.Intent) error {
			return &core.DispatchError{Outcomes: core.OutcomesOf(nil, ins)}
		}, "accepted,accepted"},
		"panic":     {func(context.Context, ...core.Intent) error { panic(io.EOF) }, "unknown,unknown"},
		"panic nil": {func(context.Context, ...core.Intent) error { panic(nil) }, "unknown,unknown"},
	} {
		err := adapter.Guard(core.Capabilities{}, c.exec)(t.Context(), ins...)
		if got := states(core.OutcomesOf(err, ins)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		var de *core.DispatchError
		if err != nil && (!errors.As(err, &de) || len(de.Outcomes) != len(ins) || de.Outcomes[0].Task == "") {
			t.Errorf("%s: got %#v", name, err)
		}
		var p *core.PanicError
		if strings.HasPrefix(name, "panic") && (!errors.As(err, &p) || len(p.Stack) == 0) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestGuardKeepsItsOwnCapabilities(t *testing.T) {
	t.Parallel()
	caps := everything()
	exec := adapter.Guard(caps, accept)
	delete(caps.Options, core.OptionPriority)
	if err := exec(t.Context(), must(plain.Intent("", core.Priority(1)))(t)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestEachStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	ins := intents(t, 4)
	failed := core.NewTask("each.failed", func(context.Context, int) error { return io.EOF })
	failing := must(failed.Intent(1))(t)
	for name, c := range map[string]struct {
		errs map[int]error
		want string
		runs int
	}{
		"none":         {nil, "accepted,accepted,accepted,accepted", 4},
		"first":        {map[int]error{0: io.EOF}, "unknown,not sent,not sent,not sent", 1},
		"third":        {map[int]error{2: io.EOF}, "accepted,accepted,unknown,not sent", 3},
		"last":         {map[int]error{3: io.EOF}, "accepted,accepted,accepted,unknown", 4},
		"not sent":     {map[int]error{1: core.ErrUnavailable}, "accepted,not sent,not sent,not sent", 2},
		"rejected":     {map[int]error{1: core.ErrTooLarge}, "accepted,rejected,not sent,not sent", 2},
		"duplicates":   {map[int]error{0: core.ErrDuplicate, 2: core.ErrDuplicate}, "duplicate,accepted,duplicate,accepted", 4},
		"dup then err": {map[int]error{0: core.ErrDuplicate, 1: io.EOF}, "duplicate,unknown,not sent,not sent", 2},
		"typed nil":    {map[int]error{1: (*hostile)(nil)}, "accepted,unknown,not sent,not sent", 2},
		"of another":   {map[int]error{1: failing.Run(t.Context())}, "accepted,unknown,not sent,not sent", 2},
	} {
		var ran []string
		err := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error {
			ran = append(ran, in.ID)
			return c.errs[len(ran)-1]
		})(t.Context(), ins...)
		if got := states(core.OutcomesOf(err, ins)); got != c.want || len(ran) != c.runs {
			t.Errorf("%s: got %s after %d runs, want %s after %d", name, got, len(ran), c.want, c.runs)
		}
		for i, id := range ran {
			if id != ins[i].ID {
				t.Errorf("%s: intent %d ran out of order", name, i)
			}
		}
	}
	run := adapter.Each(core.Capabilities{}, func(ctx context.Context, in core.Intent) error { return in.Run(ctx) })
	err := run(t.Context(), failing, failing.DeriveID("p", 1))
	out := core.OutcomesOf(err, []core.Intent{failing, failing.DeriveID("p", 1)})
	if got := states(out); got != "failed,not sent" || !errors.Is(out[0].Err, io.EOF) || !errors.Is(out[1].Err, core.ErrNotSent) {
		t.Errorf("got %s: %v", got, out)
	}
	if err := run(t.Context(), ins[0]); !errors.Is(err, core.ErrNoHandler) || states(core.OutcomesOf(err, ins[:1])) != "rejected" {
		t.Errorf("got %v", err)
	}
}

func TestEachNoticesTheContextBetweenIntents(t *testing.T) {
	t.Parallel()
	ins := intents(t, 3)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"nil":       {nil, "accepted,not sent,not sent"},
		"duplicate": {core.ErrDuplicate, "duplicate,not sent,not sent"},
		"own error": {context.Canceled, "unknown,not sent,not sent"},
		"failed":    {core.Combine([]core.Outcome{{ID: ins[0].ID, State: core.Failed, Err: io.EOF}}), "failed,not sent,not sent"},
		"rejected":  {core.ErrTooLarge, "rejected,not sent,not sent"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		err := adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error {
			cancel(io.ErrClosedPipe)
			return c.err
		})(ctx, ins...)
		out := core.OutcomesOf(err, ins)
		if got := states(out); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		if !errors.Is(err, context.Canceled) || !errors.Is(out[2].Err, context.Canceled) || !errors.Is(out[2].Err, io.ErrClosedPipe) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Done at the very last moment: everything has run.
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})(ctx, ins...); err != nil {
		t.Errorf("got %v", err)
	}
}

// lateCtx is done from the given call of Err on.
type lateCtx struct {
	context.Context
	calls atomic.Int64
	from  int64
}

func (c *lateCtx) Err() error {
	if c.calls.Add(1) >= c.from {
		return context.Canceled
	}
	return nil
}

func TestEachSurvivesAContextThatEndsAtAnyMoment(t *testing.T) {
	t.Parallel()
	ins := intents(t, 3)
	for from := int64(1); from < 10; from++ {
		ran := 0
		err := adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error { ran++; return nil })(&lateCtx{Context: t.Context(), from: from}, ins...)
		want := slices.Repeat([]string{"accepted"}, ran)
		want = append(want, slices.Repeat([]string{"not sent"}, len(ins)-ran)...)
		if got := states(core.OutcomesOf(err, ins)); got != strings.Join(want, ",") {
			t.Errorf("done at call %d, %d ran: got %s: %v", from, ran, got, err)
		}
	}
}

func TestADuplicatesErrIsAlwaysErrDuplicate(t *testing.T) {
	t.Parallel()
	ins := intents(t, 2)
	for name, exec := range map[string]core.Executor{
		"plain": func(context.Context, ...core.Intent) error { return fmt.Errorf("redis: %w", core.ErrDuplicate) },
		"nil": func(_ context.Context, ins ...core.Intent) error {
			return core.Combine(core.Outcomes(ins, core.Duplicate, nil))
		},
		"another": func(_ context.Context, ins ...core.Intent) error {
			return core.Combine(core.Outcomes(ins, core.Duplicate, io.EOF))
		},
	} {
		err := adapter.Guard(core.Capabilities{}, exec)(t.Context(), ins...)
		for _, o := range core.OutcomesOf(err, ins) {
			if o.State != core.Duplicate || o.Err != core.ErrDuplicate {
				t.Errorf("%s: got %+v", name, o)
			}
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	err := adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error { return errors.Join(io.EOF, core.ErrDuplicate) })(t.Context(), ins...)
	if out := core.OutcomesOf(err, ins); states(out) != "duplicate,duplicate" || out[1].Err != core.ErrDuplicate {
		t.Errorf("Each: got %v", out)
	}
}

func TestEachSaysWhyTheRestWasNotSent(t *testing.T) {
	t.Parallel()
	ins := intents(t, 3)
	err := adapter.Each(core.Capabilities{}, func(context.Context, core.Intent) error { return core.ErrTooLarge })(t.Context(), ins...)
	out := core.OutcomesOf(err, ins)
	if states(out) != "rejected,not sent,not sent" || out[1].Err != core.ErrEarlierFailed || out[2].Err != core.ErrEarlierFailed || errors.Is(err, core.ErrNotSent) {
		t.Errorf("got %v", out)
	}
}

func TestInvalidAnswersEverythingWithItsError(t *testing.T) {
	t.Parallel()
	bad := fmt.Errorf("airlock: weights add up to 0: %w", core.ErrInvalid)
	exec := adapter.Invalid(bad)
	ins := intents(t, 2)
	err := exec(t.Context(), ins...)
	if out := core.OutcomesOf(err, ins); states(out) != "rejected,rejected" || out[0].Err != bad || out[1].Err != bad {
		t.Errorf("got %v", out)
	}
	if err := exec(t.Context()); err != nil {
		t.Errorf("no intents: got %v", err)
	}
	for _, list := range [][]core.Intent{nil, ins[:1], ins} {
		if err := exec.Check(t.Context(), list...); err != bad {
			t.Errorf("Check of %d intents: got %v", len(list), err)
		}
	}
	if caps, ok := exec.Capabilities(); ok || caps.Options != nil {
		t.Errorf("got %+v, %v", caps, ok)
	}
	if err := exec(noCtx, ins...); !errors.Is(err, bad) {
		t.Errorf("nil context: got %v", err)
	}
	for name, exec := range map[string]core.Executor{"Guard": adapter.Guard(everything(), nil), "Each": adapter.Each(everything(), nil)} {
		wantInvalid(t, exec.Check(t.Context()), "nil executor")
		wantInvalid(t, exec.Check(t.Context(), ins...), "nil executor")
		if _, ok := exec.Capabilities(); ok {
			t.Errorf("%s of nil has capabilities", name)
		}
	}
}

func TestEachAnswersQuestions(t *testing.T) {
	t.Parallel()
	exec := adapter.Each(core.Capabilities{Executor: "one", MaxPayload: 4}, func(context.Context, core.Intent) error { t.Error("called"); return nil })
	if caps, ok := exec.Capabilities(); !ok || caps.Executor != "one" {
		t.Errorf("got %+v, %v", caps, ok)
	}
	if err := exec.Check(t.Context(), intents(t, 1)...); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestCheckAndDispatchRefuseTheSame(t *testing.T) {
	t.Parallel()
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{core.OptionMaxAttempts: {Support: core.SupportNative, Most: 3}}, MaxPayload: 20}
	caps.Refuse = func(in core.Intent) error {
		if in.Options.MaxAttempts == 2 {
			return fmt.Errorf("airlock: not 2: %w", core.ErrUnsupported)
		}
		return nil
	}
	exec := adapter.Guard(caps, accept)
	zero := core.Intent{}
	for name, in := range map[string]core.Intent{
		"good": must(plain.Intent("x", core.MaxAttempts(3)))(t), "attempts": must(plain.Intent("x", core.MaxAttempts(4)))(t), "refuse": must(plain.Intent("x", core.MaxAttempts(2)))(t),
		"queue": must(plain.Intent("x", core.Queue("mail")))(t), "payload": must(plain.Intent(strings.Repeat("x", 20)))(t), "zero": zero,
	} {
		check, dispatch := exec.Check(t.Context(), in), exec(t.Context(), in)
		if (check == nil) != (dispatch == nil) || (check == nil) != (name == "good") {
			t.Errorf("%s: Check returns %v, a dispatch %v", name, check, dispatch)
		}
		if check != nil && core.OutcomesOf(dispatch, []core.Intent{in})[0].Err.Error() != check.Error() {
			t.Errorf("%s: Check returns %v, a dispatch %v", name, check, dispatch)
		}
	}
}

func TestEncodeIntentIsMarshalJSON(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(canary, core.ID("a"), core.Queue("mail"), core.Header("A", "1")))(t)
	data := must(adapter.EncodeIntent(in))(t)
	if !bytes.Equal(data, must(in.MarshalJSON())(t)) {
		t.Errorf("got %s", data)
	}
	back, err := adapter.DecodeIntent(data)
	if err != nil || back.ID != "a" || back.Options != in.Options || back.Headers().Get("A") != "1" || !bytes.Equal(back.Payload(), in.Payload()) {
		t.Errorf("got %v, %v", back, err)
	}
	_, err = adapter.EncodeIntent(core.Intent{})
	wantInvalid(t, err, "zero Intent")
	bad := in
	bad.Options.Priority = 11
	_, err = adapter.EncodeIntent(bad)
	wantInvalid(t, err, "priority")
	_, err = adapter.EncodeIntent(must(plain.Intent(canary, core.NativeOption("nats", 1)))(t))
	wantInvalid(t, err, "test.plain", "native")
	for data, name := range map[string]string{"null": "zero Intent", "": "malformed intent", "{}": "version 0", `{"v":2}`: "version 2", `{"v":1,"id":"a","task":"` + canary + ` "}`: "task name"} {
		back, err := adapter.DecodeIntent([]byte(data))
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), name) || back.ID != "" {
			t.Errorf("%s: got %v, %v", data, back, err)
		}
		if later := data == `{"v":2}`; errors.Is(err, worker.ErrLaterVersion) != later {
			t.Errorf("%s: %v, want ErrLaterVersion: %v", data, err, later)
		}
	}
}
