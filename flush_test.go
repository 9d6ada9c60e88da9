package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// runWords enqueues the words in a scope over exec and returns what Run does.
func runWords(t *testing.T, ctx context.Context, exec core.Executor, words string, opts ...airlock.RunOption) error {
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
	if got, want := payloads(fe.Retryable()), "not-sent unknown"; got != want {
		t.Errorf("retryable %q, want %q", got, want)
	}
	if got, want := payloads(fe.Refused()), "rejected failed"; got != want {
		t.Errorf("refused %q, want %q", got, want)
	}
}

func TestAFlushErrorHasOnePrefixAndOneCount(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"accepted duplicate rejected not-sent failed unknown": "airlock: flush: 4 of 6 intents not accepted " +
			"(1 unknown, 1 rejected, 1 failed, 1 not sent), first test.note ID: unknown",
		"duplicate rejected": "airlock: flush: 1 of 2 intents not accepted (1 rejected), first test.note ID: rejected: too large",
		"not-sent":           "airlock: flush: test.note ID: not sent: backend unavailable",
	} {
		s := sink{fail: eachState}
		err := runWords(t, t.Context(), s.Execute, words)
		text := fmt.Sprint(err)
		for _, in := range flushError(t, err).Undelivered {
			text = strings.ReplaceAll(text, in.ID, "ID")
		}
		if text != want {
			t.Errorf("text\n %s\nwant\n %s", text, want)
		}
	}
}

// A loop that sends again what can be sent again must end.
func TestWhatIsRefusedIsNotWorthAnotherTry(t *testing.T) {
	t.Parallel()
	s := sink{fail: eachState}
	err := runWords(t, t.Context(), s.Execute, "not-sent rejected")
	wantIs(t, err, core.ErrTooLarge)
	if errors.Is(err, core.ErrNotSent) {
		t.Error("errors.Is finds ErrNotSent although one intent was refused")
	}
	fe := flushError(t, err)
	if payloads(fe.Retryable()) != "not-sent" || payloads(fe.Refused()) != "rejected" {
		t.Errorf("retryable %q, refused %q", payloads(fe.Retryable()), payloads(fe.Refused()))
	}
}

func TestTheTasksOwnErrorIsFoundWhereverItStands(t *testing.T) {
	t.Parallel()
	failure := errors.New("handler failed")
	exec := failing(map[string]error{"fails": core.Combine([]core.Outcome{{State: core.Failed, Err: failure}})}, new(sink))
	for _, words := range []string{"fails ok", "ok fails"} {
		wantIs(t, runWords(t, t.Context(), exec, words), failure)
	}
}

// failing runs one intent after the other, as an executor in the caller's goroutine
// does, and answers with the error of its word. The ID of the outcome is the intent's.
func failing(errs map[string]error, s *sink) core.Executor {
	return adapter.Each(core.Capabilities{}, func(ctx context.Context, in core.Intent) error {
		s.Execute(ctx, in) // never fails
		err := errs[payloads([]core.Intent{in})]
		var de *core.DispatchError
		if errors.As(err, &de) {
			return core.Combine([]core.Outcome{in.Outcome(de.Outcomes[0].State, de.Outcomes[0].Err)})
		}
		return err
	})
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

func TestContinueOnErrorTriesEachIntentOnce(t *testing.T) {
	t.Parallel()
	failed := core.Combine([]core.Outcome{{State: core.Failed, Err: errors.New("handler failed")}})
	errs := map[string]error{"fails": failed, "unknown": errors.New("no answer"), "full": core.ErrUnavailable, "refused": core.ErrTooLarge}
	for words, want := range map[string]string{
		"a fails c fails e f":         "accepted failed accepted failed accepted accepted",
		"fails fails fails":           "failed failed failed",
		"a full c unknown refused f":  "accepted not-sent accepted unknown rejected accepted",
		"refused full fails refused":  "rejected not-sent failed rejected",
		"full full":                   "not-sent not-sent",
		"a unknown unknown full last": "accepted unknown unknown not-sent accepted",
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			var s sink
			err := runWords(t, t.Context(), failing(errs, &s), words, airlock.ContinueOnError())
			if got := states(flushError(t, err).Outcomes); got != want {
				t.Errorf("outcomes\n %s\nwant\n %s", got, want)
			}
			if got := strings.ReplaceAll(s.got(), "|", " "); got != words {
				t.Errorf("tried %q, want each once", got)
			}
		})
	}
}

func TestContinueOnErrorUnderstandsExecutorsThatAnswerForTheWholeCall(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, words, states, calls string }{
		{"next to a refused one", "not-sent rejected not-sent", "not-sent rejected not-sent", "not-sent rejected not-sent|not-sent not-sent"},
		{"after one that failed", "failed not-sent", "failed not-sent", "failed not-sent|not-sent"},
		{"when the backend is away", "not-sent not-sent", "not-sent not-sent", "not-sent not-sent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := sink{fail: eachState}
			err := runWords(t, t.Context(), s.Execute, tc.words, airlock.ContinueOnError())
			if got := states(flushError(t, err).Outcomes); got != tc.states {
				t.Errorf("outcomes %q, want %q", got, tc.states)
			}
			wantGot(t, &s, tc.calls)
		})
	}
}

func TestContinueOnErrorStopsWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := sink{fail: func(intents []core.Intent) error { cancel(); return eachState(intents) }}
	_ = flushError(t, runWords(t, ctx, s.Execute, "failed not-sent", airlock.ContinueOnError()))
	wantGot(t, &s, "failed not-sent")
}

func TestWhatRunsDuringAFlushSeesNoScope(t *testing.T) {
	t.Parallel()
	var outer sink
	var inHandler error
	careless := func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			return nil
		}
		inHandler = airlock.Enqueue(ctx, note, "from a handler")
		if _, ok := airlock.FromContext(ctx); ok {
			t.Error("FromContext found a scope")
		}
		return nil
	}
	nest(t, t.Context(), outer.Execute, func(ctx context.Context) {
		nest(t, ctx, careless, func(ctx context.Context) { enqueue(t, ctx, "a") }, airlock.Independent())
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
		if len(intents) == 0 {
			return nil
		}
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
	exec := adapter.Guard(core.Capabilities{}, func(context.Context, ...core.Intent) error { called = true; return nil })
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
	exec := func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			return nil
		}
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
