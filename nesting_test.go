package airlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// nest runs fn in a scope inside that of ctx.
func nest(t *testing.T, ctx context.Context, exec core.Executor, fn func(ctx context.Context), opts ...airlock.Option) {
	t.Helper()
	err := airlock.Run(ctx, exec, func(ctx context.Context) error { fn(ctx); return nil }, opts...)
	if err != nil {
		t.Errorf("inner Run: %v", err)
	}
}

func TestNestedScopeWithoutExecutorJoins(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		enqueue(t, ctx, "a")
		nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "b") })
		enqueue(t, ctx, "c")
		airlock.Run(ctx, nil, func(ctx context.Context) error { // it fails on purpose
			enqueue(t, ctx, "discarded")
			return errors.New("inner failure")
		})
		scope, _ := airlock.FromContext(ctx)
		if own, captured := payloads(scope.Own()), payloads(scope.Captured()); own != "a c" || captured != "b" {
			t.Errorf("own %q, captured %q", own, captured)
		}
		wantGot(t, &s, "")
	})
	wantGot(t, &s, "a b c")
}

func TestScopesJoinThroughThreeLevels(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		outermost, _ := airlock.FromContext(ctx)
		enqueue(t, ctx, "1")
		nest(t, ctx, nil, func(ctx context.Context) {
			middle, _ := airlock.FromContext(ctx)
			enqueue(t, ctx, "2")
			nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "3") })
			enqueue(t, ctx, "4")
			if own, captured := payloads(middle.Own()), payloads(middle.Captured()); own != "2 4" || captured != "3" {
				t.Errorf("middle: own %q, captured %q", own, captured)
			}
			if all := payloads(outermost.Intents()); all != "1" {
				t.Errorf("the outermost has %q before anything was handed over", all)
			}
		})
		if own, captured := payloads(outermost.Own()), payloads(outermost.Captured()); own != "1" || captured != "2 3 4" {
			t.Errorf("outermost: own %q, captured %q", own, captured)
		}
	})
	wantGot(t, &s, "1 2 3 4")
}

// Scopes are asked from the inside out, and what one takes is its own from then
// on: it, too, may have it taken away at its own flush.
func TestEachLevelTakesItsShare(t *testing.T) {
	t.Parallel()
	var outermost, middle, inner sink
	with := func(letter string) airlock.Option {
		return airlock.OnDescendantFlush(func(_ context.Context, in core.Intent) bool {
			return strings.Contains(string(in.Payload()), letter)
		})
	}
	failing := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
	nest(t, t.Context(), outermost.Execute, func(ctx context.Context) {
		nest(t, ctx, middle.Execute, func(ctx context.Context) {
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "x", "m", "o", "mo") })
			wantGot(t, &inner, "x")
			fe := flushError(t, runWords(t, ctx, failing, "x2 m2 o2"))
			if got := payloads(fe.Undelivered); got != "x2" || len(fe.Outcomes) != 1 {
				t.Errorf("undelivered %q of %d: what was taken is nobody's failure", got, len(fe.Outcomes))
			}
		}, with("m"))
		wantGot(t, &middle, "m m2")
	}, with("o"))
	wantGot(t, &outermost, "o o2 mo")
}

func TestNestedScopeWithExecutorIsItsOwnBoundary(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	err := airlock.Run(t.Context(), outer.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "o")
		nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "i") })
		wantGot(t, &inner, "i")
		return errors.New("the outer fails afterwards")
	})
	if err == nil {
		t.Fatal("no error")
	}
	wantGot(t, &outer, "")
	wantGot(t, &inner, "i")
}

func TestOuterPoliciesJudgeNestedScopesWithExecutors(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "i") })
	}, airlock.DropAll())
	wantGot(t, &inner, "")
	wantGot(t, &outer, "")
}

func TestCaptureAllTakesWhatInnerScopesFlush(t *testing.T) {
	t.Parallel()
	var outer, middle, inner sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		enqueue(t, ctx, "a")
		nest(t, ctx, middle.Execute, func(ctx context.Context) {
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "b") })
			enqueue(t, ctx, "c")
		})
		enqueue(t, ctx, "d")
		scope, _ := airlock.FromContext(ctx)
		if captured := payloads(scope.Captured()); captured != "b c" {
			t.Errorf("captured %q", captured)
		}
	}, airlock.CaptureAll())
	wantGot(t, &outer, "a b c d")
	wantGot(t, &middle, "")
	wantGot(t, &inner, "")
}

func TestOnDescendantFlushDecidesIntentByIntent(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	keep := airlock.OnDescendantFlush(func(_ context.Context, in core.Intent) bool {
		return strings.Contains(string(in.Payload()), "keep")
	})
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "go1", "keep1", "go2", "keep2") })
		wantGot(t, &inner, "go1 go2")
	}, keep)
	wantGot(t, &outer, "keep1 keep2")
}

func TestInnerPolicyStaysOnWhatAnOuterScopeFlushes(t *testing.T) {
	t.Parallel()
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "dropped") }, airlock.DropAll())
		enqueue(t, airlock.WithPolicy(ctx, airlock.DropAll()), "dropped too")
		enqueue(t, ctx, "kept")
	})
	wantGot(t, &s, "kept")
}

func TestNestedScopeThatOutlivesTheOuterLosesNothingSilently(t *testing.T) {
	t.Parallel()
	for name, outerOption := range map[string]airlock.Option{"join": nil, "capture": airlock.CaptureAll()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s, own sink
			var opts []airlock.Option
			exec := core.Executor(nil)
			if outerOption != nil {
				opts, exec = []airlock.Option{outerOption}, own.Execute
			}
			var inner *airlock.Scope
			nest(t, t.Context(), s.Execute, func(ctx context.Context) {
				innerCtx, scope, err := airlock.Begin(ctx, exec)
				if err != nil {
					t.Fatal(err)
				}
				enqueue(t, innerCtx, "a")
				inner = scope
			}, opts...)
			err := inner.Flush(t.Context())
			wantIs(t, err, airlock.ErrScopeClosed)
			var fe *airlock.FlushError
			if !errors.As(err, &fe) || payloads(fe.Undelivered) != "a" || fe.Outcomes[0].State != core.NotSent {
				t.Errorf("Flush = %#v, want the intent back as not sent", err)
			}
		})
	}
	t.Run("begin", func(t *testing.T) {
		t.Parallel()
		var s sink
		var leaked context.Context
		nest(t, t.Context(), s.Execute, func(ctx context.Context) { leaked = ctx })
		_, _, err := airlock.Begin(leaked, nil)
		wantIs(t, err, airlock.ErrScopeClosed)
	})
}

func TestDefaultsServeScopesWithoutExecutor(t *testing.T) {
	t.Parallel()
	var s, own sink
	ctx := airlock.WithDefaults(t.Context(), s.Execute, airlock.BlockTasks("test.blocked"))
	nest(t, ctx, nil, func(ctx context.Context) {
		enqueue(t, ctx, "a")
		if err := airlock.Enqueue(ctx, core.DeclareTask[string]("test.blocked"), "x"); err != nil {
			t.Error(err)
		}
		nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "b") })
	})
	nest(t, ctx, own.Execute, func(ctx context.Context) { enqueue(t, ctx, "c") })
	nest(t, airlock.WithDefaults(ctx, own.Execute), nil, func(ctx context.Context) { // the inner default holds, whole
		if err := airlock.Enqueue(ctx, core.DeclareTask[string]("test.blocked"), "d"); err != nil {
			t.Error(err)
		}
	})
	wantGot(t, &s, "a b")
	wantGot(t, &own, "c|d")

	err := airlock.Run(airlock.WithDefaults(ctx, nil), nil, func(context.Context) error { return nil })
	wantIs(t, err, airlock.ErrNoScope)
	err = airlock.Run(airlock.WithDefaults(ctx, s.Execute, nil), nil, func(context.Context) error { return nil })
	wantIs(t, err, core.ErrInvalid)
}
