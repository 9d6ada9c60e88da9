package airlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// nest runs fn in a scope inside that of ctx.
func nest(t *testing.T, ctx context.Context, exec core.Executor, fn func(ctx context.Context), opts ...airlock.RunOption) {
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
	var s, own sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		outermost, _ := airlock.FromContext(ctx)
		enqueue(t, ctx, "1")
		nest(t, ctx, nil, func(ctx context.Context) {
			middle, _ := airlock.FromContext(ctx)
			enqueue(t, ctx, "2")
			nest(t, ctx, own.Execute, func(ctx context.Context) { enqueue(t, ctx, "3") })
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
	wantGot(t, &own, "")
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

// The order of events was: begin, send, roll back.
func TestWhatAnInnerScopeEnqueuesLeavesOnlyIfTheOuterScopeSucceeds(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{nil, errors.New("the outer scope fails")} {
		var outer, inner sink
		err := airlock.Run(t.Context(), outer.Execute, func(ctx context.Context) error {
			enqueue(t, ctx, "o1")
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "i") })
			enqueue(t, ctx, "o2")
			return failure
		})
		if err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
		want := ""
		if failure == nil {
			want = "o1 i o2"
		}
		wantGot(t, &outer, want)
		wantGot(t, &inner, "")
	}
}

func TestAnIndependentScopeIsItsOwnBoundary(t *testing.T) {
	t.Parallel()
	var outer, inner, deep sink
	err := airlock.Run(t.Context(), outer.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "o")
		nest(t, ctx, inner.Execute, func(ctx context.Context) {
			nest(t, ctx, deep.Execute, func(ctx context.Context) { enqueue(t, ctx, "d") })
			enqueue(t, ctx, "i")
		}, airlock.Independent())
		wantGot(t, &inner, "d i")
		return errors.New("the outer scope fails afterwards")
	})
	if err == nil {
		t.Fatal("no error")
	}
	wantGot(t, &outer, "")
	wantGot(t, &deep, "")
}

func TestAnIndependentScopeMayUseTheDefaultExecutor(t *testing.T) {
	t.Parallel()
	var outer, audit sink
	ctx := airlock.WithDefaults(t.Context(), audit.Execute)
	nest(t, ctx, outer.Execute, func(ctx context.Context) {
		nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "a") }, airlock.Independent())
		wantGot(t, &audit, "a")
	})
	wantGot(t, &outer, "")
}

// transactional makes s an executor whose transaction decides.
func transactional(s *sink) core.Executor {
	return adapter.Guard(core.Capabilities{Executor: "tx", Transactional: true}, s.Execute)
}

func TestATransactionalExecutorGetsItsIntentsAtOnce(t *testing.T) {
	t.Parallel()
	for name, outerOptions := range map[string][]airlock.RunOption{
		"inside a scope":               nil,
		"inside a scope that captures": {airlock.OnDescendantFlush(func(context.Context, core.Intent) bool { return true })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var outer, tx sink
			inTx := transactional(&tx)
			wrapped := func(ctx context.Context, intents ...core.Intent) error { return inTx(ctx, intents...) }
			err := airlock.Run(t.Context(), outer.Execute, func(ctx context.Context) error {
				nest(t, ctx, wrapped, func(ctx context.Context) { enqueue(t, ctx, "a") })
				wantGot(t, &tx, "a")
				return errors.New("the outer scope fails afterwards")
			}, outerOptions...)
			if err == nil {
				t.Error("no error")
			}
			wantGot(t, &outer, "")
		})
	}
}

// To send them elsewhere would be before the COMMIT.
func TestWhatIsEnqueuedInsideATransactionalScopeGoesIntoItsTransaction(t *testing.T) {
	t.Parallel()
	var outer, tx, queue sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, transactional(&tx), func(ctx context.Context) {
			nest(t, ctx, queue.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") })
			wantGot(t, &tx, "")
		})
		wantGot(t, &tx, "a")
	})
	wantGot(t, &outer, "")
	wantGot(t, &queue, "")
}

func TestOuterPoliciesJudgeScopesThatFlushAtOnce(t *testing.T) {
	t.Parallel()
	var outer, inner, tx sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "i") }, airlock.Independent())
		nest(t, ctx, transactional(&tx), func(ctx context.Context) { enqueue(t, ctx, "t") })
	}, airlock.DropAll())
	wantGot(t, &inner, "")
	wantGot(t, &tx, "")
	wantGot(t, &outer, "")
}

func withLetter(letter string) airlock.Option {
	return airlock.OnDescendantFlush(func(_ context.Context, in core.Intent) bool {
		return strings.Contains(string(in.Payload()), letter)
	})
}

func TestOnDescendantFlushDecidesIntentByIntent(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "go1", "keep1", "go2", "keep2") }, airlock.Independent())
		wantGot(t, &inner, "go1 go2")
		scope, _ := airlock.FromContext(ctx)
		if captured := payloads(scope.Captured()); captured != "keep1 keep2" {
			t.Errorf("captured %q", captured)
		}
	}, withLetter("k"))
	wantGot(t, &outer, "keep1 keep2")
}

// Scopes are asked from the inside out. A scope that captures an intent may have it
// captured at its own flush.
func TestEachScopeCapturesItsShare(t *testing.T) {
	t.Parallel()
	var outermost, middle, inner sink
	failing := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
	nest(t, t.Context(), outermost.Execute, func(ctx context.Context) {
		nest(t, ctx, middle.Execute, func(ctx context.Context) {
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "x", "m", "o", "mo") }, airlock.Independent())
			wantGot(t, &inner, "x")
			fe := flushError(t, runWords(t, ctx, failing, "x2 m2 o2", airlock.Independent()))
			if got := payloads(fe.Undelivered); got != "x2" || len(fe.Outcomes) != 1 {
				t.Errorf("undelivered %q of %d: what was captured did not fail", got, len(fe.Outcomes))
			}
		}, withLetter("m"), airlock.Independent())
		wantGot(t, &middle, "m m2")
	}, withLetter("o"))
	wantGot(t, &outermost, "o o2 mo")
}

func TestAnInnerScopeThatOutlivesTheOuterOneGivesItsIntentsBack(t *testing.T) {
	t.Parallel()
	all := airlock.OnDescendantFlush(func(context.Context, core.Intent) bool { return true })
	for name, tc := range map[string]struct {
		outer []airlock.RunOption
		inner []airlock.Option
	}{
		"joined":   {},
		"captured": {[]airlock.RunOption{all}, []airlock.Option{airlock.Independent()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s, own sink
			var inner *airlock.Scope
			nest(t, t.Context(), s.Execute, func(ctx context.Context) {
				innerCtx, scope, err := airlock.Begin(ctx, own.Execute, tc.inner...)
				if err != nil {
					t.Fatal(err)
				}
				enqueue(t, innerCtx, "a")
				inner = scope
			}, tc.outer...)
			err := inner.Flush(t.Context())
			wantIs(t, err, airlock.ErrScopeClosed)
			fe := flushError(t, err)
			if payloads(fe.Undelivered) != "a" || fe.Outcomes[0].State != core.NotSent {
				t.Errorf("Flush = %v, want the intent back as not sent", err)
			}
			wantGot(t, &own, "")
		})
	}
}

func TestAScopeInsideOneThatHasEndedMustBeIndependent(t *testing.T) {
	t.Parallel()
	var s, own sink
	var leaked context.Context
	nest(t, t.Context(), s.Execute, func(ctx context.Context) { leaked = ctx })
	_, _, err := airlock.Begin(leaked, nil)
	wantIs(t, err, airlock.ErrScopeClosed)
	_, _, err = airlock.Begin(leaked, own.Execute)
	wantIs(t, err, airlock.ErrScopeClosed)
	nest(t, leaked, own.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") }, airlock.Independent())
	wantGot(t, &own, "a")
}

func TestDefaultsServeScopesWithoutExecutor(t *testing.T) {
	t.Parallel()
	var s, own sink
	ctx := airlock.WithDefaults(t.Context(), s.Execute)
	nest(t, ctx, nil, func(ctx context.Context) {
		enqueue(t, ctx, "a")
		nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "b") })
	})
	nest(t, ctx, own.Execute, func(ctx context.Context) { enqueue(t, ctx, "c") })
	nest(t, airlock.WithDefaults(ctx, own.Execute), nil, func(ctx context.Context) { enqueue(t, ctx, "d") })
	wantGot(t, &s, "a b")
	wantGot(t, &own, "c|d")
	err := airlock.Run(airlock.WithDefaults(ctx, nil), nil, func(context.Context) error { return nil })
	wantIs(t, err, airlock.ErrNoScope)
}

func TestTheOptionsOfTheDefaultsComeBeforeTheScopesOwn(t *testing.T) {
	t.Parallel()
	limits := make(chan time.Duration, 2)
	exec := adapter.Guard(core.Capabilities{}, func(ctx context.Context, _ ...core.Intent) error {
		end, _ := ctx.Deadline()
		limits <- time.Until(end).Round(time.Hour)
		return nil
	})
	ctx := airlock.WithDefaults(t.Context(), exec, airlock.FlushLimit(2*time.Hour))
	nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "a") })
	nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "b") }, airlock.FlushLimit(5*time.Hour))
	if first, second := <-limits, <-limits; first != 2*time.Hour || second != 5*time.Hour {
		t.Errorf("limits %v and %v", first, second)
	}
}

func TestThePoliciesOfDefaultsHoldForEveryScopeBelowAndAddUp(t *testing.T) {
	t.Parallel()
	var s, own, inExecutor sink
	task := func(name string) core.Task[string] { return core.DeclareTask[string](name) }
	all := func(ctx context.Context) {
		for _, name := range []string{"test.first", "test.second", "test.third"} {
			if err := airlock.Enqueue(ctx, task(name), name); err != nil {
				t.Error(err)
			}
		}
	}
	first := airlock.WithDefaults(t.Context(), s.Execute, airlock.BlockTasks("test.first"))
	second := airlock.WithDefaults(first, s.Execute, airlock.BlockTasks("test.second"))
	nest(t, first, nil, all)
	nest(t, second, nil, all)
	wantGot(t, &s, "test.second test.third|test.third")
	nest(t, second, own.Execute, all)
	nest(t, airlock.WithDefaults(second, nil), own.Execute, all)
	wantGot(t, &own, "test.third|test.third")
	nest(t, second, func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) > 0 {
			nest(t, ctx, inExecutor.Execute, all)
		}
		return nil
	}, all)
	wantGot(t, &inExecutor, "test.third")

	none := airlock.WithDefaults(t.Context(), s.Execute, airlock.DropAll())
	nest(t, none, own.Execute, all)
	wantGot(t, &own, "test.third|test.third")
}

func TestTheScopeOfAContextWithoutOneHoldsNothing(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*airlock.Scope{"nil": nil, "zero": new(airlock.Scope)} {
		if s.State() != airlock.ScopeDiscarded || s.Intents() != nil || s.Own() != nil || s.Captured() != nil || s.Sent() != nil || s.WouldDrop(t.Context()) != nil {
			t.Errorf("%s: a scope that is none holds something", name)
		}
		if err := s.Flush(t.Context()); !errors.Is(err, airlock.ErrNotOwner) {
			t.Errorf("%s: Flush: %v", name, err)
		}
	}
}
