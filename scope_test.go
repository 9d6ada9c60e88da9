package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// The tests' own task: its argument says which intent it is.
var note = core.DeclareTask[string]("test.note")

// noContext is what careless callers pass.
var noContext context.Context

// sink is an executor that remembers what it was given. It cannot be asked.
type sink struct {
	mu    sync.Mutex
	calls [][]core.Intent
	fail  func(intents []core.Intent) error
}

func (s *sink) Execute(_ context.Context, intents ...core.Intent) error {
	if len(intents) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, slices.Clone(intents))
	if s.fail != nil {
		return s.fail(intents)
	}
	return nil
}

// got returns the payloads of all calls, "a b|c" for two calls.
func (s *sink) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []string
	for _, c := range s.calls {
		calls = append(calls, payloads(c))
	}
	return strings.Join(calls, "|")
}

func payloads(intents []core.Intent) string {
	var words []string
	for _, in := range intents {
		words = append(words, strings.Trim(string(in.Payload()), `"`))
	}
	return strings.Join(words, " ")
}

func enqueue(t *testing.T, ctx context.Context, words ...string) {
	t.Helper()
	for _, w := range words {
		if err := airlock.Enqueue(ctx, note, w); err != nil {
			t.Fatalf("Enqueue(%q): %v", w, err)
		}
	}
}

func wantGot(t *testing.T, s *sink, want string) {
	t.Helper()
	if got := s.got(); got != want {
		t.Errorf("dispatched %q, want %q", got, want)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want one that is %v", err, target)
	}
}

func TestRunFlushesInOrderInOneCall(t *testing.T) {
	t.Parallel()
	var s sink
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a", "b", "c")
		wantGot(t, &s, "")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantGot(t, &s, "a b c")
}

func TestRunDiscardsOnError(t *testing.T) {
	t.Parallel()
	var s sink
	declined := errors.New("card declined")
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		return declined
	})
	if err != declined {
		t.Errorf("Run = %v, want fn's own error", err)
	}
	wantGot(t, &s, "")
}

func TestRunDiscardsOnPanicWhichGoesOn(t *testing.T) {
	t.Parallel()
	var s sink
	var leaked context.Context
	func() {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recovered %v, want the panic of fn", v)
			}
		}()
		airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error { // it panics
			leaked = ctx
			enqueue(t, ctx, "a")
			panic("boom")
		})
	}()
	wantGot(t, &s, "")
	wantIs(t, airlock.Enqueue(leaked, note, "late"), airlock.ErrScopeClosed)
}

func TestRunDiscardsOnGoexit(t *testing.T) {
	t.Parallel()
	var s sink
	done := make(chan struct{})
	go func() {
		defer close(done)
		airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error { // it does not return
			enqueue(t, ctx, "a")
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	wantGot(t, &s, "")
}

func TestAddTakesAllOrNothingInOrder(t *testing.T) {
	t.Parallel()
	var made []core.Intent
	for _, w := range []string{"a", "b"} {
		in, err := note.Intent(w)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, in)
	}
	s := sink{fail: func(intents []core.Intent) error { // only the order distinguishes the two
		out := core.OutcomesOf(nil, intents)
		out[2].State, out[2].Err = core.NotSent, core.ErrUnavailable
		return core.Combine(out)
	}}
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		wantIs(t, airlock.Add(ctx, made[0], core.Intent{}), core.ErrInvalid)
		return airlock.Add(ctx, made[0], made[1], made[0]) // twice: what that means is the executor's to say
	})
	wantGot(t, &s, "a b a")
	fe := flushError(t, err)
	if got := states(fe.Outcomes); got != "accepted accepted not-sent" || payloads(fe.Undelivered) != "a" {
		t.Errorf("outcomes %s, undelivered %s", got, payloads(fe.Undelivered))
	}
}

func TestShouldFlushDecides(t *testing.T) {
	t.Parallel()
	warning := errors.New("warning")
	always := airlock.ShouldFlush(func(error) bool { return true })
	never := airlock.ShouldFlush(func(error) bool { return false })
	for _, tc := range []struct {
		name string
		opt  airlock.RunOption
		err  error
		want string
	}{
		{"flush in spite of an error", always, warning, "a"},
		{"flush without one", always, nil, "a"},
		{"discard in spite of success", never, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var s sink
			err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
				enqueue(t, ctx, "a")
				return tc.err
			}, tc.opt)
			if err != tc.err {
				t.Errorf("Run = %v, want %v", err, tc.err)
			}
			wantGot(t, &s, tc.want)
		})
	}
}

func TestRunReportsBothErrorsWhenBothFail(t *testing.T) {
	t.Parallel()
	warning, down := errors.New("warning"), errors.New("down")
	s := sink{fail: func([]core.Intent) error { return down }}
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		return warning
	}, airlock.ShouldFlush(func(error) bool { return true }))
	wantIs(t, err, warning)
	wantIs(t, err, down)
	var fe *airlock.FlushError
	if !errors.As(err, &fe) || payloads(fe.Undelivered) != "a" {
		t.Errorf("no FlushError with the intent in %v", err)
	}
}

func TestOnlyTheOwnerEndsAScope(t *testing.T) {
	t.Parallel()
	var s sink
	failure := errors.New("fn fails")
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		scope, ok := airlock.FromContext(ctx)
		if !ok {
			t.Fatal("no scope")
		}
		wantIs(t, scope.Flush(ctx), airlock.ErrNotOwner)
		wantIs(t, scope.Discard(), airlock.ErrNotOwner)
		if scope.State() != airlock.ScopeOpen {
			t.Errorf("state %v", scope.State())
		}
		enqueue(t, ctx, "b")
		return failure
	})
	if err != failure {
		t.Errorf("Run = %v, want fn's own error", err)
	}
	wantGot(t, &s, "")
	wantIs(t, (*airlock.Scope)(nil).Flush(t.Context()), airlock.ErrNotOwner)
	wantIs(t, new(airlock.Scope).Discard(), airlock.ErrNotOwner)
}

// The owner of an outer scope may flush it inside a Run that joins it.
func TestRunInsideAScopeThatItsOwnerHasFlushedIsNoErrorIfNothingIsLeft(t *testing.T) {
	t.Parallel()
	var s sink
	ctx, scope, err := airlock.Begin(t.Context(), s.Execute)
	if err != nil {
		t.Fatal(err)
	}
	err = airlock.Run(ctx, nil, func(inside context.Context) error {
		enqueue(t, ctx, "a")
		return scope.Flush(t.Context())
	})
	if err != nil {
		t.Errorf("Run = %v", err)
	}
	wantGot(t, &s, "a")
}

func TestAScopeShowsWhatItHoldsAndWhatWasSent(t *testing.T) {
	t.Parallel()
	s := sink{fail: eachState}
	ctx, owner, err := airlock.Begin(t.Context(), s.Execute, airlock.BlockTasks("test.blocked"))
	if err != nil {
		t.Fatal(err)
	}
	view, _ := airlock.FromContext(ctx)
	want := func(when string, state airlock.ScopeState, intents, sent, dropped string) {
		t.Helper()
		for name, scope := range map[string]*airlock.Scope{"owner": owner, "view": view} {
			got := []string{scope.State().String(), payloads(scope.Intents()), payloads(scope.Sent()), payloads(scope.WouldDrop(t.Context()))}
			if want := []string{state.String(), intents, sent, dropped}; !slices.Equal(got, want) {
				t.Errorf("%s, %s: %q, want %q", when, name, got, want)
			}
		}
	}
	want("at first", airlock.ScopeOpen, "", "", "")
	enqueue(t, ctx, "accepted", "rejected", "duplicate")
	if err := airlock.Enqueue(ctx, core.DeclareTask[string]("test.blocked"), "blocked"); err != nil {
		t.Fatal(err)
	}
	enqueue(t, airlock.WithPolicy(ctx, airlock.DropAll()), "region")
	want("before the flush", airlock.ScopeOpen, "accepted rejected duplicate blocked region", "", "blocked region")
	_ = flushError(t, owner.Flush(t.Context()))
	want("after the flush", airlock.ScopeFlushed, "accepted rejected duplicate blocked region", "accepted duplicate", "blocked region")
}

func TestWouldDropNeitherLogsNorTrustsAPolicyThatPanics(t *testing.T) {
	t.Parallel()
	var s sink
	var log strings.Builder
	bad := airlock.Policy{Allows: func(context.Context, core.Intent) bool { panic("oops") }}
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		scope, _ := airlock.FromContext(ctx)
		if got := payloads(scope.WouldDrop(noContext)); got != "" {
			t.Errorf("would drop %q", got)
		}
		enqueue(t, airlock.WithPolicy(ctx, bad), "b")
		if got := payloads(scope.WouldDrop(ctx)); got != "a b" {
			t.Errorf("would drop %q, want everything", got)
		}
		return errDiscarded
	}, airlock.LogOnFlush(slog.New(slog.NewTextHandler(&log, nil))))
	if err != errDiscarded || log.Len() > 0 {
		t.Errorf("Run = %v, logged %q", err, &log)
	}
}

func TestScopeByHand(t *testing.T) {
	t.Parallel()
	t.Run("flush", func(t *testing.T) {
		t.Parallel()
		var s sink
		ctx, scope, err := airlock.Begin(t.Context(), s.Execute)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, ctx, "a")
		if err := scope.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		scope.Discard() // deferred ones come late
		wantGot(t, &s, "a")
		wantIs(t, scope.Flush(t.Context()), airlock.ErrScopeClosed)
		wantIs(t, airlock.Enqueue(ctx, note, "late"), airlock.ErrScopeClosed)
		if got := payloads(scope.Intents()); got != "a" {
			t.Errorf("after the end Intents = %q", got)
		}
	})
	t.Run("discard", func(t *testing.T) {
		t.Parallel()
		var s sink
		ctx, scope, err := airlock.Begin(t.Context(), s.Execute)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, ctx, "a")
		scope.Discard()
		wantIs(t, scope.Flush(t.Context()), airlock.ErrScopeClosed)
		if scope.State() != airlock.ScopeDiscarded {
			t.Errorf("state %v", scope.State())
		}
		wantGot(t, &s, "")
	})
	t.Run("flush with a nil context", func(t *testing.T) {
		t.Parallel()
		var s sink
		_, scope, err := airlock.Begin(t.Context(), s.Execute)
		if err != nil {
			t.Fatal(err)
		}
		wantIs(t, scope.Flush(noContext), core.ErrInvalid)
	})
}

func TestBadInputIsRefused(t *testing.T) {
	t.Parallel()
	var s sink
	nothing := func(context.Context) error { return nil }
	inScope, scope, err := airlock.Begin(t.Context(), s.Execute)
	if err != nil {
		t.Fatal(err)
	}
	defer scope.Discard()
	inside := airlock.WithPolicy(inScope, airlock.Require(core.Capabilities{Executor: "none"}))
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"Run without context", airlock.Run(noContext, s.Execute, nothing), core.ErrInvalid},
		{"Run without function", airlock.Run(t.Context(), s.Execute, nil), core.ErrInvalid},
		{"Run without executor", airlock.Run(t.Context(), nil, nothing), airlock.ErrNoScope},
		{"an independent scope without executor", airlock.Run(inScope, nil, nothing, airlock.Independent()), core.ErrInvalid},
		{"an independent scope without executor or outer scope", airlock.Run(t.Context(), nil, nothing, airlock.Independent()), core.ErrInvalid},
		{"Run with a wrapper around nil", airlock.Run(t.Context(), adapter.Guard(core.Capabilities{}, nil), nothing), core.ErrInvalid},
		{"an inner Run with a wrapper around nil", airlock.Run(inScope, adapter.Guard(core.Capabilities{}, nil), nothing), core.ErrInvalid},
		{"defaults with a nil option", airlock.Run(airlock.WithDefaults(t.Context(), nil, nil), s.Execute, nothing), core.ErrInvalid},
		{"Enqueue of what a policy refuses", airlock.Enqueue(inside, note, "a", core.Queue("mail")), core.ErrUnsupported},
		{"Run with a nil option", airlock.Run(t.Context(), s.Execute, nothing, nil), core.ErrInvalid},
		{"ShouldFlush without function", airlock.Run(t.Context(), s.Execute, nothing, airlock.ShouldFlush(nil)), core.ErrInvalid},
		{"OnDescendantFlush without function", airlock.Run(t.Context(), s.Execute, nothing, airlock.OnDescendantFlush(nil)), core.ErrInvalid},
		{"Enqueue without context", airlock.Enqueue(noContext, note, "a"), core.ErrInvalid},
		{"Enqueue without scope", airlock.Enqueue(t.Context(), note, "a"), airlock.ErrNoScope},
		{"Enqueue with a policy but no scope", airlock.Enqueue(airlock.WithPolicy(t.Context(), airlock.DropAll()), note, "a"), airlock.ErrNoScope},
		{"Enqueue of a bad option", airlock.Enqueue(inScope, note, "a", core.Priority(11)), core.ErrInvalid},
		{"Enqueue of bad arguments", airlock.Enqueue(inScope, core.DeclareTask[any]("test.any"), any(make(chan int))), core.ErrInvalid},
		{"Enqueue of a zero task", airlock.Enqueue(inScope, core.Task[int]{}, 1), core.ErrInvalid},
		{"Add of a zero intent", airlock.Add(inScope, core.Intent{}), core.ErrInvalid},
		{"Add without scope", airlock.Add(t.Context()), airlock.ErrNoScope},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want one that is %v", tc.name, tc.err, tc.want)
		}
	}
	if err := airlock.Add(inScope); err != nil {
		t.Errorf("Add of nothing: %v", err)
	}
	if n := len(scope.Intents()); n != 0 {
		t.Errorf("%d refused intents were buffered", n)
	}
	if _, ok := airlock.FromContext(noContext); ok {
		t.Error("FromContext(nil) found a scope")
	}
	if airlock.WithPolicy(noContext, airlock.DropAll()) != nil || airlock.WithDefaults(noContext, s.Execute) != nil {
		t.Error("a nil context became one")
	}
}

func TestScopeServesManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, each = 16, 100
	var s sink
	err := airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					enqueue(t, ctx, fmt.Sprintf("%d-%d", g, i))
				}
			})
		}
		wg.Wait()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{} // the next expected of each goroutine
	for _, w := range strings.Fields(s.got()) {
		g, i, _ := strings.Cut(w, "-")
		if want := fmt.Sprint(seen[g]); i != want {
			t.Fatalf("goroutine %s: got %s, want %s", g, i, want)
		}
		seen[g]++
	}
	if len(seen) != goroutines {
		t.Errorf("%d goroutines, want %d", len(seen), goroutines)
	}
}
