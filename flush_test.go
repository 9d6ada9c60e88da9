package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// runWords enqueues the words in a scope over exec and returns what Run does.
func runWords(t *testing.T, ctx context.Context, exec core.Executor, words string, opts ...airlock.Option) error {
	t.Helper()
	return airlock.Run(ctx, exec, func(ctx context.Context) error {
		enqueue(t, ctx, strings.Fields(words)...)
		return nil
	}, opts...)
}

func flushError(t *testing.T, err error) *airlock.FlushError {
	t.Helper()
	var fe *airlock.FlushError
	if !errors.As(err, &fe) {
		t.Fatalf("error is %v, want a FlushError", err)
	}
	return fe
}

func states(outcomes []core.Outcome) string {
	var words []string
	for _, o := range outcomes {
		words = append(words, strings.ReplaceAll(o.State.String(), " ", "-"))
	}
	return strings.Join(words, " ")
}

// eachState answers an intent with the state that its argument names.
func eachState(intents []core.Intent) error {
	var out []core.Outcome
	for _, in := range intents {
		o := core.Outcome{ID: in.ID}
		switch strings.Trim(string(in.Payload()), `"`) {
		case "accepted":
			o.State = core.Accepted
		case "duplicate":
			o.State, o.Err = core.Duplicate, core.ErrDuplicate
		case "rejected":
			o.State, o.Err = core.Rejected, core.ErrTooLarge
		case "not-sent":
			o.State, o.Err = core.NotSent, core.ErrUnavailable
		case "failed":
			o.State, o.Err = core.Failed, errors.New("handler failed")
		}
		out = append(out, o)
	}
	return core.Combine(out)
}

func TestFlushErrorHoldsWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	s := sink{fail: eachState}
	err := runWords(t, t.Context(), s.Execute, "accepted duplicate rejected not-sent failed unknown")
	fe := flushError(t, err)
	if got, want := states(fe.Outcomes), "accepted duplicate rejected not-sent failed unknown"; got != want {
		t.Errorf("outcomes %q, want %q", got, want)
	}
	if got, want := payloads(fe.Undelivered), "rejected not-sent failed unknown"; got != want {
		t.Errorf("undelivered %q, want %q", got, want)
	}
	wantIs(t, err, core.ErrUnknownOutcome)
	if errors.Is(err, core.ErrTooLarge) {
		t.Error("the error shows more than the worst state")
	}
	if !strings.Contains(err.Error(), "4 of 6 intents") || !strings.Contains(err.Error(), "test.note") {
		t.Errorf("text: %v", err)
	}
}

func TestDuplicatesAreNoFailure(t *testing.T) {
	t.Parallel()
	s := sink{fail: eachState}
	if err := runWords(t, t.Context(), s.Execute, "duplicate accepted duplicate"); err != nil {
		t.Error(err)
	}
}

func TestFlushUnderstandsAnyExecutor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer func([]core.Intent) error
		states string
		is     error
	}{
		{"plain error", func([]core.Intent) error { return context.DeadlineExceeded }, "unknown unknown", context.DeadlineExceeded},
		{"sentinel", func([]core.Intent) error { return fmt.Errorf("queue: %w", core.ErrUnavailable) }, "not-sent not-sent", core.ErrNotSent},
		{"too few outcomes", func(in []core.Intent) error {
			return &core.DispatchError{Outcomes: []core.Outcome{{ID: in[1].ID, State: core.Rejected}}}
		}, "unknown rejected", core.ErrUnknownOutcome},
		{"panic", func([]core.Intent) error { panic("kaboom") }, "unknown unknown", core.ErrUnknownOutcome},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := sink{fail: tc.answer}
			err := runWords(t, t.Context(), s.Execute, "a b")
			fe := flushError(t, err)
			if got := states(fe.Outcomes); got != tc.states {
				t.Errorf("outcomes %q, want %q", got, tc.states)
			}
			wantIs(t, err, tc.is)
		})
	}
}

func TestPanicOfTheExecutorKeepsItsStack(t *testing.T) {
	t.Parallel()
	err := runWords(t, t.Context(), func(context.Context, ...core.Intent) error { panic("kaboom") }, "a")
	var p *core.PanicError
	if !errors.As(err, &p) || p.Value != "kaboom" || !strings.Contains(string(p.Stack), "flush_test.go") {
		t.Errorf("error %v has no panic with its stack", err)
	}
}

func TestFlushObeysTheContextGivenToRun(t *testing.T) {
	t.Parallel()
	stopped := errors.New("server stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	var s sink
	err := airlock.Run(ctx, s.Execute, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		cancel(stopped)
		return nil
	})
	wantIs(t, err, context.Canceled)
	wantIs(t, err, stopped)
	wantIs(t, err, core.ErrNotSent)
	if got := payloads(flushError(t, err).Undelivered); got != "a" {
		t.Errorf("undelivered %q", got)
	}
	wantGot(t, &s, "")
}

func TestAFailedCallIsTheLastOne(t *testing.T) {
	t.Parallel()
	s := sink{fail: eachState}
	_ = flushError(t, runWords(t, t.Context(), s.Execute, "rejected not-sent"))
	wantGot(t, &s, "rejected not-sent")
}

func TestContinueOnErrorSendsOnceMoreWhatWasNotSent(t *testing.T) {
	t.Parallel()
	t.Run("beside a refused one", func(t *testing.T) {
		t.Parallel()
		s := sink{}
		s.fail = func(intents []core.Intent) error {
			if len(s.calls) > 1 {
				return nil
			}
			return eachState(intents)
		}
		err := runWords(t, t.Context(), s.Execute, "not-sent rejected not-sent", airlock.ContinueOnError())
		wantGot(t, &s, "not-sent rejected not-sent|not-sent not-sent")
		fe := flushError(t, err)
		if got := states(fe.Outcomes); got != "accepted rejected accepted" {
			t.Errorf("outcomes %q", got)
		}
		wantIs(t, err, core.ErrTooLarge)
	})
	t.Run("only once", func(t *testing.T) {
		t.Parallel()
		s := sink{fail: eachState}
		_ = flushError(t, runWords(t, t.Context(), s.Execute, "rejected not-sent", airlock.ContinueOnError()))
		wantGot(t, &s, "rejected not-sent|not-sent")
	})
	t.Run("not when nothing else is wrong", func(t *testing.T) {
		t.Parallel()
		s := sink{fail: eachState}
		_ = flushError(t, runWords(t, t.Context(), s.Execute, "not-sent not-sent", airlock.ContinueOnError()))
		wantGot(t, &s, "not-sent not-sent")
	})
}

func TestWhatRunsDuringAFlushSeesNoScope(t *testing.T) {
	t.Parallel()
	var outer sink
	var inHandler error
	careless := func(ctx context.Context, _ ...core.Intent) error {
		inHandler = airlock.Enqueue(ctx, note, "from a handler")
		if _, ok := airlock.FromContext(ctx); ok {
			t.Error("FromContext found a scope")
		}
		return nil
	}
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, careless, func(ctx context.Context) { enqueue(t, ctx, "a") })
	})
	wantIs(t, inHandler, airlock.ErrNoScope)
	wantGot(t, &outer, "")
}

// An executor may be a program of its own, an outbox for instance, that works
// with scopes and policies again.
func TestAnExecutorMayOpenScopesOfItsOwn(t *testing.T) {
	t.Parallel()
	var s sink
	outbox := func(ctx context.Context, intents ...core.Intent) error {
		ctx = airlock.WithPolicy(ctx, airlock.BlockTasks("test.other"))
		return airlock.Run(ctx, s.Execute, func(ctx context.Context) error {
			return airlock.Add(ctx, intents...)
		}, airlock.Require(core.Capabilities{}))
	}
	if err := runWords(t, t.Context(), outbox, "a b"); err != nil {
		t.Error(err)
	}
	wantGot(t, &s, "a b")
}

func TestAnEmptyScopeMakesNoCall(t *testing.T) {
	t.Parallel()
	called := false
	exec := func(context.Context, ...core.Intent) error { called = true; return nil }
	if err := runWords(t, t.Context(), exec, ""); err != nil {
		t.Error(err)
	}
	if err := runWords(t, t.Context(), exec, "a b", airlock.DropAll()); err != nil {
		t.Error(err)
	}
	if called {
		t.Error("the executor was called without intents")
	}
}

func TestFlushLimitReplacesTheContextsEnd(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
	exec := func(ctx context.Context, _ ...core.Intent) error {
		if ctx.Value(key{}) != "trace" {
			t.Error("the context's values are gone")
		}
		if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
			t.Errorf("limited: %v, error: %v", limited, ctx.Err())
		}
		return nil
	}
	err := airlock.Run(ctx, exec, func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		cancel()
		return nil
	}, airlock.FlushLimit(time.Minute))
	if err != nil {
		t.Error(err)
	}
	wantIs(t, runWords(t, t.Context(), exec, "a", airlock.FlushLimit(0)), core.ErrInvalid)
}
