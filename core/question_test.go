package core_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// quiet is an executor whose function must not be called.
func quiet(t *testing.T, caps core.Capabilities) core.Executor {
	return adapter.Guard(caps, func(context.Context, ...core.Intent) error { t.Error("the executor was called"); return nil })
}

func TestGuardedExecutorsAnswer(t *testing.T) {
	t.Parallel()
	exec := quiet(t, core.Capabilities{Executor: "small", MaxPayload: 20, PriorityLevels: 3})
	caps, ok := exec.Capabilities()
	if !ok || caps.Executor != "small" || caps.MaxPayload != 20 || caps.PriorityLevels != 3 {
		t.Errorf("got %+v, %v", caps, ok)
	}
	good, odd := must(plain.Intent(canary))(t), must(plain.Intent(canary, core.Priority(1)))(t)
	if err := exec.Check(t.Context()); err != nil {
		t.Errorf("no intents: %v", err)
	}
	if err := exec.Check(t.Context(), good); err != nil {
		t.Errorf("a good intent: %v", err)
	}
	if err := exec.Check(t.Context(), good, good); err != nil {
		t.Errorf("good intents: %v", err)
	}
	// About one intent the answer is the refusal, as Capabilities.Check returns it.
	err := exec.Check(t.Context(), odd)
	var refused *core.OptionError
	var de *core.DispatchError
	if !errors.As(err, &refused) || refused.Option != core.OptionPriority || refused.Executor != "small" || errors.As(err, &de) {
		t.Errorf("got %v", err)
	}
	// About several it is what a dispatch would return.
	ins := []core.Intent{good, odd, good}
	err = exec.Check(t.Context(), ins...)
	if out := core.OutcomesOf(err, ins); states(out) != "not sent,rejected,not sent" || !errors.As(out[1].Err, &refused) {
		t.Errorf("got %v", err)
	}
	wantInvalid(t, exec.Check(t.Context(), core.Intent{}), "zero Intent")
	// A context that is done does not matter: nothing is dispatched.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := exec.Check(ctx, good); err != nil {
		t.Errorf("context done: %v", err)
	}
}

func TestNilExecutorsAndContexts(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(canary))(t)
	var none core.Executor
	if caps, ok := none.Capabilities(); ok || caps.Options != nil {
		t.Errorf("got %+v, %v", caps, ok)
	}
	wantInvalid(t, none.Check(t.Context(), in), "nil executor")
	wantInvalid(t, none.Check(t.Context()), "nil executor")
	wantInvalid(t, core.Executor(accept).Check(noCtx, in), "nil context")
	wantInvalid(t, quiet(t, everything()).Check(noCtx, in), "nil context")
	if core.Answer(noCtx, nil, nil) || core.Answer(t.Context(), nil, nil) {
		t.Error("a context without a question holds one")
	}
}

func TestOtherFunctionsDoNotAnswer(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(canary, core.Priority(1)))(t)
	calls := 0
	for name, exec := range map[string]core.Executor{
		"plain": func(_ context.Context, ins ...core.Intent) error {
			if calls++; len(ins) != 0 {
				t.Error("a question has intents")
			}
			return nil
		},
		"error":         func(context.Context, ...core.Intent) error { return io.EOF },
		"dispatch":      func(context.Context, ...core.Intent) error { return core.Combine([]core.Outcome{{}}) },
		"first intent":  func(_ context.Context, ins ...core.Intent) error { return errors.New(ins[0].ID) },
		"panic":         func(context.Context, ...core.Intent) error { panic("boom") },
		"panic nil":     func(context.Context, ...core.Intent) error { panic(nil) },
		"answer of nil": func(ctx context.Context, _ ...core.Intent) error { core.Answer(ctx, nil, nil); return nil },
		"says no": func(ctx context.Context, _ ...core.Intent) error {
			core.Answer(ctx, func() (core.Capabilities, bool) { return core.Capabilities{}, false }, nil)
			return nil
		},
		"panics in its answer": func(ctx context.Context, _ ...core.Intent) error {
			core.Answer(ctx, func() (core.Capabilities, bool) { panic(1) }, func(context.Context, []core.Intent) error { panic(2) })
			return nil
		},
	} {
		if caps, ok := exec.Capabilities(); ok || caps.Executor != "" {
			t.Errorf("%s: got %+v, %v", name, caps, ok)
		}
		if err := exec.Check(t.Context(), in); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if calls != 2 {
		t.Errorf("the plain function was called %d times", calls)
	}
}

func TestAnErrorAfterTheAnswerDoesNotMatter(t *testing.T) {
	t.Parallel()
	guarded := quiet(t, core.Capabilities{Executor: "small"})
	var exec core.Executor = func(ctx context.Context, ins ...core.Intent) error {
		if err := guarded(ctx, ins...); err != nil {
			return err
		}
		panic("after the answer")
	}
	if caps, ok := exec.Capabilities(); !ok || caps.Executor != "small" {
		t.Errorf("got %+v, %v", caps, ok)
	}
}

func TestWrappersPassQuestionsOn(t *testing.T) {
	t.Parallel()
	type key struct{}
	in := must(plain.Intent(canary, core.Priority(1)))(t)
	guarded := quiet(t, core.Capabilities{Executor: "small"})
	for name, wrap := range map[string]func(ctx context.Context) (context.Context, context.CancelFunc){
		"as it is": func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} },
		"value": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithValue(ctx, key{}, 1), func() {}
		},
		"timeout": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 1<<40)
		},
		"cancel": context.WithCancel,
	} {
		var exec core.Executor = func(ctx context.Context, ins ...core.Intent) error {
			ctx, cancel := wrap(ctx)
			defer cancel()
			return guarded(ctx, ins...)
		}
		if caps, ok := exec.Capabilities(); !ok || caps.Executor != "small" {
			t.Errorf("%s: got %+v, %v", name, caps, ok)
		}
		if err := exec.Check(t.Context(), in); !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAQuestionIsTheAskersContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "asker"))
	var exec core.Executor = func(ctx context.Context, _ ...core.Intent) error {
		if ctx.Value(key{}) != "asker" || ctx.Err() != nil {
			t.Errorf("got %v, %v", ctx.Value(key{}), ctx.Err())
		}
		cancel()
		<-ctx.Done()
		return nil
	}
	if err := exec.Check(ctx); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestChoosingWrappersAskInTurn(t *testing.T) {
	t.Parallel()
	type key struct{}
	small, large := quiet(t, core.Capabilities{Executor: "small"}), quiet(t, everything())
	// either takes what one of two executors takes.
	var either core.Executor = func(ctx context.Context, ins ...core.Intent) error {
		if len(ins) > 0 {
			t.Error("dispatched")
		}
		core.Answer(ctx,
			func() (core.Capabilities, bool) { return small.Capabilities() },
			func(ctx context.Context, ins []core.Intent) error {
				if ctx.Value(key{}) != "asker" {
					t.Error("the asker's context is lost")
				}
				if core.Answer(ctx, nil, nil) {
					t.Error("the context still holds the question")
				}
				if err := small.Check(ctx, ins...); err != nil {
					return large.Check(ctx, ins...)
				}
				return nil
			})
		return nil
	}
	ctx := context.WithValue(t.Context(), key{}, "asker")
	if err := either.Check(ctx, must(plain.Intent(canary, core.Priority(1)))(t)); err != nil {
		t.Errorf("got %v", err)
	}
	if err := either.Check(ctx, must(plain.Intent(canary, core.NativeOption("other", 1)))(t)); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if caps, ok := either.Capabilities(); !ok || caps.Executor != "small" {
		t.Errorf("got %+v, %v", caps, ok)
	}
}

func TestLateAnswersAreDropped(t *testing.T) {
	t.Parallel()
	for range 50 {
		var wg sync.WaitGroup
		release := make(chan struct{})
		answers := func(ctx context.Context) {
			core.Answer(ctx, func() (core.Capabilities, bool) { return core.Capabilities{Executor: "late"}, true },
				func(context.Context, []core.Intent) error { return io.EOF })
		}
		var late core.Executor = func(ctx context.Context, _ ...core.Intent) error {
			wg.Go(func() { <-release; answers(ctx) })
			return nil
		}
		caps, ok := late.Capabilities()
		err := late.Check(t.Context())
		close(release)
		wg.Wait()
		if ok || caps.Executor != "" || err != nil {
			t.Fatalf("got %+v, %v, %v", caps, ok, err)
		}
		// While the call returns, either may come first. There must be no data race.
		var racing core.Executor = func(ctx context.Context, _ ...core.Intent) error {
			wg.Go(func() { answers(ctx) })
			return nil
		}
		if caps, ok := racing.Capabilities(); ok != (caps.Executor == "late") {
			t.Fatalf("got %+v, %v", caps, ok)
		}
		if err := racing.Check(t.Context()); err != nil && err != io.EOF {
			t.Fatalf("got %v", err)
		}
		wg.Wait()
		// A second answer must not change the first while the asker reads it.
		var twice core.Executor = func(ctx context.Context, _ ...core.Intent) error {
			core.Answer(ctx, func() (core.Capabilities, bool) { return core.Capabilities{Executor: "first"}, true },
				func(context.Context, []core.Intent) error { return core.ErrClosed })
			wg.Go(func() { <-ctx.Done(); answers(ctx) })
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel) // not ordered after what the asker reads
		if err := twice.Check(ctx); err != core.ErrClosed {
			t.Fatalf("got %v", err)
		}
		wg.Wait()
	}
}

func TestCapabilitiesBelongToTheCaller(t *testing.T) {
	t.Parallel()
	exec := quiet(t, everything())
	caps, _ := exec.Capabilities()
	delete(caps.Options, core.OptionPriority)
	caps.Options[core.OptionQueue] = core.Claim{Reason: "changed"}
	caps.MaxPayload = 1
	again, ok := exec.Capabilities()
	if !ok || again.Options[core.OptionPriority].Support != core.SupportNative || again.Options[core.OptionQueue].Support != core.SupportNative || again.MaxPayload != 0 {
		t.Errorf("got %+v", again)
	}
	if err := exec.Check(t.Context(), must(plain.Intent(canary, core.Priority(1), core.Queue("mail")))(t)); err != nil {
		t.Errorf("got %v", err)
	}
	clone := again.Clone()
	delete(clone.Options, core.OptionID)
	if len(again.Options) != len(clone.Options)+1 || (core.Capabilities{}).Clone().Options != nil {
		t.Error("Clone shares the claims")
	}
}

func TestQuestionsAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	exec := quiet(t, everything())
	in := must(plain.Intent(canary, core.Priority(1)))(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				caps, ok := exec.Capabilities()
				caps.Options[core.OptionID] = core.Claim{}
				if err := exec.Check(t.Context(), in, in); err != nil || !ok {
					t.Errorf("got %v, %v", err, ok)
				}
			}
		})
	}
	wg.Wait()
}
