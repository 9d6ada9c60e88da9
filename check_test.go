package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// taking returns an executor that takes these options alone and payloads of at most
// 100 bytes.
func taking(s *sink, options ...core.OptionName) core.Executor {
	caps := core.Capabilities{Executor: "small", MaxPayload: 100, Options: map[core.OptionName]core.Claim{}}
	for _, name := range options {
		caps.Options[name] = core.Claim{Support: core.SupportNative}
	}
	return adapter.Guard(caps, s.Execute)
}

func enqueuePriority(ctx context.Context) error {
	return airlock.Enqueue(ctx, note, "p", core.Priority(9))
}

func TestWhatTheExecutorWouldRefuseIsRefusedAtTheCallSite(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), taking(&s, core.OptionQueue), func(ctx context.Context) {
		err := enqueuePriority(ctx)
		var oe *core.OptionError
		if !errors.As(err, &oe) || oe.Option != core.OptionPriority {
			t.Errorf("Enqueue = %v, want the executor's refusal", err)
		}
		if got := fmt.Sprint(err); got != "airlock: task test.note: small refuses option priority" {
			t.Errorf("text %q", got)
		}
		wantIs(t, airlock.Enqueue(ctx, core.DeclareTask[[]byte]("test.large"), make([]byte, 1000)), core.ErrTooLarge)
		if err := airlock.Enqueue(ctx, note, "a", core.Queue("mail")); err != nil {
			t.Error(err)
		}
		good, err := note.Intent("b")
		if err != nil {
			t.Fatal(err)
		}
		bad, err := note.Intent("c", core.Unique("k"))
		if err != nil {
			t.Fatal(err)
		}
		wantIs(t, airlock.Add(ctx, good, bad), core.ErrUnsupported)
		if err := airlock.Add(ctx, good, good); err != nil {
			t.Error(err)
		}
	})
	wantGot(t, &s, "a b b")
}

// An intent is checked against the executor that will get it.
func TestTheExecutorOfTheScopeThatFlushesIsAsked(t *testing.T) {
	t.Parallel()
	all := airlock.OnDescendantFlush(func(context.Context, core.Intent) bool { return true })
	independent := []airlock.RunOption{airlock.Independent()}
	for _, tc := range []struct {
		name         string
		outer, inner bool // whether it takes a priority
		outerOptions []airlock.RunOption
		innerOptions []airlock.RunOption
		refused      bool
	}{
		{"joined, the inner one takes it", false, true, nil, nil, true},
		{"joined, the outer one takes it", true, false, nil, nil, false},
		{"independent, the inner one takes it", false, true, nil, independent, false},
		{"independent, the outer one takes it", true, false, nil, independent, true},
		{"captured, the inner one takes it", false, true, []airlock.RunOption{all}, independent, true},
		{"captured, the outer one takes it", true, false, []airlock.RunOption{all}, independent, false},
		{"not captured", false, true, []airlock.RunOption{withLetter("x")}, independent, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var s sink
			executor := func(takes bool) core.Executor {
				if takes {
					return taking(&s, core.OptionPriority)
				}
				return taking(&s)
			}
			nest(t, t.Context(), executor(tc.outer), func(ctx context.Context) {
				nest(t, ctx, executor(tc.inner), func(ctx context.Context) {
					nest(t, ctx, nil, func(ctx context.Context) { // joins the inner one
						err := enqueuePriority(ctx)
						if tc.refused {
							wantIs(t, err, core.ErrUnsupported)
						} else if err != nil {
							t.Error(err)
						}
					})
				}, tc.innerOptions...)
			}, tc.outerOptions...)
			want := "p"
			if tc.refused {
				want = ""
			}
			wantGot(t, &s, want)
		})
	}
}

func TestACaptureThatPanicsAtTheCallSiteRefusesTheIntent(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, inner.Execute, func(ctx context.Context) {
			var p *core.PanicError
			if err := airlock.Enqueue(ctx, note, "a"); !errors.As(err, &p) {
				t.Errorf("Enqueue = %v, want the panic", err)
			}
		}, airlock.Independent())
	}, airlock.OnDescendantFlush(func(context.Context, core.Intent) bool { panic("oops") }))
	wantGot(t, &inner, "")
}

// A plain function does nothing without intents, and is not asked for each intent.
func TestAPlainFunctionRefusesAtTheFlush(t *testing.T) {
	t.Parallel()
	var s sink
	questions := 0
	exec := func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			questions++
			panic("no intents")
		}
		return taking(&s)(ctx, intents...)
	}
	err := airlock.Run(t.Context(), exec, func(ctx context.Context) error {
		return errors.Join(enqueuePriority(ctx), enqueuePriority(ctx))
	})
	wantIs(t, err, core.ErrUnsupported)
	_ = flushError(t, err)
	if questions != 1 {
		t.Errorf("%d questions, want 1", questions)
	}
}

func TestQuestionsPassThroughAFunctionAroundAnExecutor(t *testing.T) {
	t.Parallel()
	var s sink
	below := taking(&s)
	around := func(ctx context.Context, intents ...core.Intent) error { return below(ctx, intents...) }
	nest(t, t.Context(), around, func(ctx context.Context) { wantIs(t, enqueuePriority(ctx), core.ErrUnsupported) })
}

func TestManyGoroutinesAreCheckedAtTheSameTime(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), taking(&s), func(ctx context.Context) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					enqueue(t, ctx, "a")
					wantIs(t, enqueuePriority(ctx), core.ErrUnsupported)
				}
			})
		}
		wg.Wait()
	})
	if n := len(s.calls[0]); n != 8*200 {
		t.Errorf("%d intents, want %d", n, 8*200)
	}
}

// An answer that leads back to the scope must not wait for itself.
func TestAnExecutorWhoseAnswerEnqueuesIsNotADeadlock(t *testing.T) {
	t.Parallel()
	var s sink
	var captured context.Context
	caps := core.Capabilities{Executor: "odd", Refuse: func(in core.Intent) error {
		if string(in.Payload()) == `"a"` {
			return airlock.Enqueue(captured, note, "b")
		}
		return nil
	}}
	err := airlock.Run(t.Context(), adapter.Guard(caps, s.Execute), func(ctx context.Context) error {
		captured = ctx
		enqueue(t, ctx, "a")
		return nil
	})
	wantIs(t, err, airlock.ErrScopeClosed) // Refuse is asked again at the flush
}
