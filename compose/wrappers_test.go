package compose_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))

func accept(context.Context, ...core.Intent) error { return nil }

// each runs a test for every wrapper over executors of its own.
func each(t *testing.T, test func(t *testing.T, exec core.Executor, first *script), answers ...answer) {
	for name := range wrappers(t, accept, accept) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := scripted(answers...)
			test(t, wrappers(t, first.Execute, accept)[name], first)
		})
	}
}

func TestNoIntentsIsNilWithoutACall(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		if err := exec(t.Context()); err != nil {
			t.Error(err)
		}
		wantSent(t, "the executor", first)
		if first.empty > 0 {
			t.Errorf("%d calls without intents reached the executor", first.empty)
		}
	})
}

func TestNilContextIsRejected(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		list := intents(t, 2)
		var none context.Context
		err := exec(none, list...)
		wantStates(t, err, list, core.Rejected, core.Rejected)
		wantErrorIs(t, err, core.ErrInvalid)
		wantSent(t, "the executor", first)
	})
}

func TestContextDoneBeforeSendsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		cause := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		list := intents(t, 2)
		err := exec(ctx, list...)
		wantStates(t, err, list, core.NotSent, core.NotSent)
		wantErrorIs(t, err, context.Canceled)
		wantErrorIs(t, err, cause)
		wantSent(t, "the executor", first)
	})
}

func TestSuccessIsOneCallAndNil(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		if err := exec(t.Context(), intents(t, 3)...); err != nil {
			t.Error(err)
		}
		wantSent(t, "the executor", first, []int{0, 1, 2})
	})
}

func TestPlainErrorIsUnknownForEach(t *testing.T) {
	t.Parallel()
	no := fails(errBackend)
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		list := intents(t, 2)
		err := exec(t.Context(), list...)
		wantStates(t, err, list, core.Unknown, core.Unknown)
		wantErrorIs(t, err, core.ErrUnknownOutcome)
		wantErrorIs(t, err, errBackend)
	}, no, no, no)
}

func TestPanicOfTheExecutorIsContained(t *testing.T) {
	t.Parallel()
	boom := panics("boom")
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		list := intents(t, 2)
		err := exec(t.Context(), list...)
		wantStates(t, err, list, core.Unknown, core.Unknown)
		var p *core.PanicError
		if !errors.As(err, &p) || p.Value != "boom" || !strings.Contains(string(p.Stack), "script_test.go") {
			t.Errorf("want the panic and its stack: %v", err)
		}
	}, boom, boom, boom)
}

// badError is an error whose methods panic if it is nil.
type badError struct{ text *string }

func (e *badError) Error() string   { return *e.text }
func (e *badError) Is(error) bool   { return *e.text == "" }
func (e *badError) As(any) bool     { return *e.text == "" }
func (e *badError) Unwrap() []error { return []error{errors.New(*e.text)} }

func TestErrorThatPanicsWhenLookedAtIsContained(t *testing.T) {
	t.Parallel()
	typedNil := fails((*badError)(nil))
	outcomeOf := func(s core.State) answer {
		return func(_ context.Context, list []core.Intent) error {
			return core.Combine([]core.Outcome{{ID: list[0].ID, State: s, Err: (*badError)(nil)}})
		}
	}
	nilDispatch := fails((*core.DispatchError)(nil))
	for name, a := range map[string]answer{
		"plain": typedNil, "failed": outcomeOf(core.Failed), "rejected": outcomeOf(core.Rejected),
		"not sent": outcomeOf(core.NotSent), "unknown": outcomeOf(core.Unknown), "nil DispatchError": nilDispatch,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, exec core.Executor, first *script) {
				list := intents(t, 1)
				outcomes(t, exec(t.Context(), list...), list)
			}, a, a, a)
		})
	}
}

func TestOutcomesAreAlignedWhateverTheExecutorReturns(t *testing.T) {
	t.Parallel()
	list := []core.Intent{
		intent(t, 0, core.ID("same")), intent(t, 1, core.ID("same")), intent(t, 2, core.ID("last")),
	}
	shuffled := func(_ context.Context, in []core.Intent) error {
		return &core.DispatchError{Outcomes: []core.Outcome{
			{ID: "last", State: core.Duplicate, Err: errBackend},
			{ID: "stranger", State: core.Failed, Err: errBackend},
			{ID: "same", State: core.Accepted},
			{ID: "same", State: core.State(99), Err: errBackend},
		}}
	}
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		wantStates(t, exec(t.Context(), list...), list, core.Accepted, core.Unknown, core.Duplicate)
	}, shuffled, fails(errBackend), fails(errBackend))
}

func TestBadArgumentsAreTheAnswerToEachCallAndQuestion(t *testing.T) {
	t.Parallel()
	var zero compose.Mirror
	var none *compose.Mirror
	mirror, err := compose.NewMirror(accept, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mirror.Stop(context.Background()) })
	ok := core.Executor(accept)
	share := func(p float64) compose.Share { return compose.Share{Percent: p, To: accept} }
	nan := func() float64 { var z float64; return z / z }()
	for name, exec := range map[string]core.Executor{
		"WithRetry: nil executor":          compose.WithRetry(nil, compose.Retry{}),
		"WithRetry: -1 attempts":           compose.WithRetry(ok, compose.Retry{Attempts: -1}),
		"WithRetry: backoff of -1s":        compose.WithRetry(ok, compose.Retry{Backoff: core.Fixed(-time.Second)}),
		"the longest wait is shorter":      compose.WithRetry(ok, compose.Retry{Backoff: core.Exponential(2, 1)}),
		"WithTimeout: nil executor":        compose.WithTimeout(nil, time.Second),
		"WithTimeout: 0s":                  compose.WithTimeout(ok, 0),
		"WithLog: nil executor":            compose.WithLog(nil, quiet),
		"WithHeaders: nil executor":        compose.WithHeaders(nil, noHeaders),
		"WithHeaders: nil function":        compose.WithHeaders(ok, nil),
		"Strip: nil executor":              compose.Strip(nil, core.OptionDelay),
		`no option is named "retries"`:     compose.Strip(ok, "retries"),
		"WithPriority: nil executor":       compose.WithPriority(ok, nil, 0),
		"threshold 11":                     compose.WithPriority(ok, ok, 11),
		"threshold -1":                     compose.WithPriority(ok, ok, -1),
		"Route: nil function":              compose.Route(nil, nil, ok),
		`Route: nil executor for "a"`:      compose.Route(compose.ByTask, map[string]core.Executor{"a": nil}, ok),
		"Route: no executor":               compose.Route(compose.ByTask, nil, nil),
		"WithFallback: nil executor":       compose.WithFallback(nil, ok),
		"Split: nil executor":              compose.NewSplit(ok, compose.Share{Percent: 1}).Execute,
		"a share of -1 percent":            compose.NewSplit(ok, share(-1)).Execute,
		"a share of 101 percent":           compose.NewSplit(ok, share(101)).Execute,
		"a share of NaN percent":           compose.NewSplit(ok, share(nan)).Execute,
		"shares of 100.0001 percent":       compose.NewSplit(ok, share(99), share(1.0001)).Execute,
		"Mirror.Wrap: nil executor":        mirror.Wrap(nil),
		"zero Mirror: mirrors are made by": zero.Wrap(ok),
		"zero Mirror":                      none.Wrap(ok),
		"zero Split: splits are made by":   new(compose.Split).Execute,
		"zero Split":                       (*compose.Split)(nil).Execute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := intents(t, 2)
			err := exec(t.Context(), list...)
			wantStates(t, err, list, core.Rejected, core.Rejected)
			wantErrorIs(t, err, core.ErrInvalid)
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("does not say %q: %v", name, err)
			}
			for _, asked := range [][]core.Intent{nil, list[:1], list} {
				err := exec.Check(t.Context(), asked...)
				wantErrorIs(t, err, core.ErrInvalid)
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("Check of %d intents does not say %q: %v", len(asked), name, err)
				}
			}
			if caps, ok := exec.Capabilities(); ok {
				t.Errorf("it has capabilities: %+v", caps)
			}
		})
	}
}

func TestIntentsOfTheCallerStayAsTheyAre(t *testing.T) {
	t.Parallel()
	list := []core.Intent{
		intent(t, 0, core.Priority(9), core.Timeout(time.Second), core.Header("K", "v")),
		intent(t, 1, core.Queue("other"), core.ID("own"), core.Unique("u")),
	}
	before := make([]string, len(list))
	for i := range list {
		before[i] = encoded(t, list[i])
	}
	each(t, func(t *testing.T, exec core.Executor, first *script) {
		_ = exec(t.Context(), list...)
		for i := range list {
			if now := encoded(t, list[i]); now != before[i] {
				t.Errorf("intent %d was changed to %s", i, now)
			}
		}
	}, states(core.NotSent, core.NotSent))
}

func encoded(t testing.TB, in core.Intent) string {
	t.Helper()
	data, err := adapter.EncodeIntent(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
