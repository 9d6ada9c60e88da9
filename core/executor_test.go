package core_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

func TestGuardRefusesTheWholeCall(t *testing.T) {
	t.Parallel()
	good := must(plain.Intent(canary))(t)
	odd := must(plain.Intent(canary, core.Priority(1)))(t)
	big := must(plain.Intent(strings.Repeat("x", 100)))(t)
	called := false
	exec := core.Guard(core.Capabilities{Executor: "small", MaxPayload: 50}, func(context.Context, ...core.Intent) error { called = true; return nil })
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
	var noCtx context.Context
	for name, err := range map[string]error{
		"nil executor": core.Guard(core.Capabilities{}, nil)(t.Context(), ins...),
		"nil context":  core.Guard(core.Capabilities{}, accept)(noCtx, ins...),
		"nil func":     core.Each(core.Capabilities{}, nil)(t.Context(), ins...),
		"each nil ctx": core.Each(core.Capabilities{}, func(context.Context, core.Intent) error { return nil })(noCtx, ins...),
		"without nil":  core.Guard(core.Capabilities{}, accept)(core.WithoutValues(noCtx), ins...),
	} {
		if got := states(core.OutcomesOf(err, ins)); got != "rejected,rejected" || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	for name, exec := range map[string]core.Executor{"nil": core.Guard(core.Capabilities{}, nil), "each": core.Each(core.Capabilities{}, nil), "good": core.Guard(core.Capabilities{}, accept)} {
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
	exec := core.Guard(core.Capabilities{}, func(context.Context, ...core.Intent) error { t.Error("called"); return nil })
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
		err := core.Guard(core.Capabilities{}, c.exec)(t.Context(), ins...)
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
	exec := core.Guard(caps, accept)
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
		err := core.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error {
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
	run := core.Each(core.Capabilities{}, func(ctx context.Context, in core.Intent) error { return in.Run(ctx) })
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
		err := core.Each(core.Capabilities{}, func(context.Context, core.Intent) error {
			cancel(io.ErrClosedPipe)
			return c.err
		})(ctx, ins...)
		out := core.OutcomesOf(err, ins)
		if got := states(out); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
		if !errors.Is(err, context.Canceled) || !errors.Is(out[2].Err, io.ErrClosedPipe) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Done at the very last moment: everything has run.
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := core.Each(core.Capabilities{}, func(context.Context, core.Intent) error {
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
		err := core.Each(core.Capabilities{}, func(context.Context, core.Intent) error { ran++; return nil })(&lateCtx{Context: t.Context(), from: from}, ins...)
		want := slices.Repeat([]string{"accepted"}, ran)
		want = append(want, slices.Repeat([]string{"not sent"}, len(ins)-ran)...)
		if got := states(core.OutcomesOf(err, ins)); got != strings.Join(want, ",") {
			t.Errorf("done at call %d, %d ran: got %s: %v", from, ran, got, err)
		}
	}
}

func TestWithoutValuesEndsWithItsParent(t *testing.T) {
	t.Parallel()
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, 1), time.Minute)
		defer cancel()
		ctx := core.WithoutValues(parent)
		if ctx.Value(key{}) != nil {
			t.Error("a value shows")
		}
		if at, ok := ctx.Deadline(); !ok || time.Until(at) != time.Minute {
			t.Errorf("deadline %v, %v", at, ok)
		}
		child, end := context.WithCancel(ctx)
		defer end()
		timed, endTimed := context.WithTimeout(ctx, time.Hour)
		defer endTimed()
		ran := make(chan struct{})
		context.AfterFunc(child, func() { close(ran) })
		stop := context.AfterFunc(ctx, func() { t.Error("stopped, and yet it ran") })
		if !stop() || stop() {
			t.Error("stop does not report what it did")
		}
		<-timed.Done()
		<-child.Done()
		<-ran
		if child.Err() != context.DeadlineExceeded || time.Until(time.Now()) != 0 {
			t.Errorf("got %v", child.Err())
		}
		// synctest.Test fails on goroutines that are left: there is none per child.
	})
	background := core.WithoutValues(context.Background())
	child, end := context.WithCancel(background)
	if child.Err() != nil || background.Done() != nil {
		t.Error("a background ends")
	}
	end()
}

func TestWithoutValuesStartsNoGoroutinePerChild(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx := core.WithoutValues(parent)
	probe := &countingCtx{Context: ctx}
	child, end := context.WithCancel(probe)
	defer end()
	if probe.after.Load() != 1 {
		t.Errorf("the context package asked for AfterFunc %d times", probe.after.Load())
	}
	cancel()
	<-child.Done()
}

// countingCtx counts the calls of AfterFunc that its parent serves.
type countingCtx struct {
	context.Context
	after atomic.Int64
}

func (c *countingCtx) AfterFunc(f func()) func() bool {
	c.after.Add(1)
	return c.Context.(interface{ AfterFunc(func()) func() bool }).AfterFunc(f)
}
