package compose_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// asked is an executor that can be asked. It refuses what its capabilities refuse
// and accepts everything else.
type asked struct {
	exec core.Executor

	mu        sync.Mutex
	questions int // calls without intents
	calls     int // calls with intents
	sent      int // intents that were accepted
}

func newAsked(caps core.Capabilities) *asked {
	a := new(asked)
	a.exec = adapter.Guard(caps, func(_ context.Context, list ...core.Intent) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.sent += len(list)
		return nil
	})
	return a
}

func (a *asked) Execute(ctx context.Context, list ...core.Intent) error {
	a.mu.Lock()
	if len(list) == 0 {
		a.questions++
	} else {
		a.calls++
	}
	a.mu.Unlock()
	return a.exec(ctx, list...)
}

func (a *asked) reset() (questions, calls, sent int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	questions, calls, sent = a.questions, a.calls, a.sent
	a.questions, a.calls, a.sent = 0, 0, 0
	return questions, calls, sent
}

// few are capabilities that refuse Delay and take Queue.
func few(name string) core.Capabilities {
	return core.Capabilities{Executor: name, Options: map[core.OptionName]core.Claim{core.OptionQueue: native()}}
}

func TestQuestionsReachTheExecutorsBelowAsOftenAsNeeded(t *testing.T) {
	t.Parallel()
	type counts struct{ first, other int }
	type wants struct{ capabilities, empty, taken, refused counts }
	one := wants{counts{1, 0}, counts{1, 0}, counts{1, 0}, counts{1, 0}}
	chosen := wants{counts{1, 1}, counts{1, 1}, counts{1, 0}, counts{1, 0}}
	want := map[string]wants{
		"WithRetry": one, "WithTimeout": one, "WithLog": one, "WithHeaders": one, "Strip": one, "Mirror": one,
		"WithPriority": chosen, "Route": chosen, "Split": chosen,
		"WithFallback": {counts{1, 1}, counts{1, 1}, counts{1, 0}, counts{1, 1}},
	}
	plain, delayed := intent(t, 0), intent(t, 1, core.Delay(time.Hour))
	for name := range wrappers(t, accept, accept) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, other := newAsked(few("first")), newAsked(few("other"))
			exec := wrappers(t, first.Execute, other.Execute)[name]
			check := func(what string, want counts) {
				t.Helper()
				var got counts
				for n, a := range map[*int]*asked{&got.first: first, &got.other: other} {
					questions, calls, _ := a.reset()
					*n = questions
					if calls > 0 {
						t.Errorf("%s: a question came with intents", what)
					}
				}
				if got != want {
					t.Errorf("%s: %+v questions, want %+v", what, got, want)
				}
			}
			if caps, ok := exec.Capabilities(); !ok || caps.Options[core.OptionQueue] != native() {
				t.Errorf("capabilities %+v, %v", caps, ok)
			}
			check("Capabilities", want[name].capabilities)
			if err := exec.Check(t.Context()); err != nil {
				t.Error(err)
			}
			check("Check without intents", want[name].empty)
			for _, list := range [][]core.Intent{{plain}, {plain, plain}} {
				if err := exec.Check(t.Context(), list...); err != nil {
					t.Error(err)
				}
				check("Check", want[name].taken)
			}
			wantErrorIs(t, exec.Check(t.Context(), delayed), core.ErrUnsupported)
			check("Check of what is refused", want[name].refused)
			err := exec.Check(t.Context(), plain, delayed)
			check("Check of a call that is refused", want[name].refused)
			wantStates(t, err, []core.Intent{plain, delayed}, core.NotSent, core.Rejected)
			if err := exec(t.Context(), plain); err != nil {
				t.Error(err)
			}
			if questions, calls, _ := first.reset(); questions != 0 || calls != 1 {
				t.Errorf("a dispatch made %d questions and %d calls, want 0 and 1", questions, calls)
			}
		})
	}
}

func TestWrapperOfAPlainFunctionDoesNotSay(t *testing.T) {
	t.Parallel()
	for what, plain := range map[string]core.Executor{
		"accepts": accept,
		"fails":   func(context.Context, ...core.Intent) error { return errBackend },
		"panics":  func(_ context.Context, list ...core.Intent) error { panic(list[0]) },
	} {
		for name, exec := range wrappers(t, plain, plain) {
			if caps, ok := exec.Capabilities(); ok {
				t.Errorf("%s, %s: capabilities %+v", name, what, caps)
			}
			for n := range 3 {
				if err := exec.Check(t.Context(), intents(t, n)...); err != nil {
					t.Errorf("%s, %s: Check of %d intents: %v", name, what, n, err)
				}
			}
		}
	}
	says := adapter.Guard(few("says"), accept)
	for _, name := range []string{"WithPriority", "Route", "WithFallback", "Split"} {
		for i, pair := range [][2]core.Executor{{says, accept}, {accept, says}} {
			if caps, ok := wrappers(t, pair[0], pair[1])[name].Capabilities(); ok {
				t.Errorf("%s, pair %d: capabilities %+v though one does not say", name, i, caps)
			}
		}
	}
}

func TestQuestionCallsNoHookAndStartsNothing(t *testing.T) {
	t.Parallel()
	hook := func(error) { t.Error("a question called a hook") }
	logger := slog.New(slog.NewTextHandler(writerFunc(func([]byte) { t.Error("a question was logged") }), nil))
	second := newAsked(few("second"))
	mirror := newMirror(t, second.Execute, &compose.MirrorOptions{OnError: hook, Logger: logger})
	exec := adapter.Guard(few("first"), func(context.Context, ...core.Intent) error {
		t.Error("a question was dispatched")
		return nil
	})
	exec = compose.WithLog(exec, logger)
	exec = compose.WithRetry(exec, compose.Retry{OnRetry: func(context.Context, int, time.Duration, error) { hook(nil) }})
	exec = mirror.Wrap(exec)
	if _, ok := exec.Capabilities(); !ok {
		t.Error("it does not say")
	}
	if err := exec.Check(t.Context(), intents(t, 2)...); err != nil {
		t.Error(err)
	}
	wantErrorIs(t, exec.Check(t.Context(), intent(t, 0, core.Delay(time.Hour))), core.ErrUnsupported)
	stop(t, mirror)
	if questions, calls, _ := second.reset(); questions+calls > 0 {
		t.Error("a question reached the Mirror's second executor")
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestCheckPassesWrappersOfOneExecutorWithoutAllocating(t *testing.T) {
	in := intent(t, 0)
	ctx := context.Background()
	bare := adapter.Guard(few("q"), accept)
	wrapped := compose.WithRetry(compose.WithTimeout(compose.WithLog(bare, quiet), time.Hour), compose.Retry{})
	allocs := func(exec core.Executor) float64 {
		return testing.AllocsPerRun(200, func() {
			if err := exec.Check(ctx, in); err != nil {
				t.Error(err)
			}
		})
	}
	if direct, through := allocs(bare), allocs(wrapped); through > direct {
		t.Errorf("%v allocations through three wrappers, %v without", through, direct)
	}
}

func TestCallThatOneOfSeveralWouldRefuseSendsNothing(t *testing.T) {
	t.Parallel()
	list := []core.Intent{
		intent(t, 0, core.Queue("a")), intent(t, 1, core.Delay(time.Hour)), intent(t, 2, core.Queue("a")), intent(t, 3),
	}
	a, rest := newAsked(few("a")), newAsked(few("rest"))
	exec := compose.Route(compose.ByQueue, map[string]core.Executor{"a": a.Execute}, rest.Execute)
	for name, err := range map[string]error{"dispatch": exec(t.Context(), list...), "Check": exec.Check(t.Context(), list...)} {
		wantStates(t, err, list, core.NotSent, core.Rejected, core.NotSent, core.NotSent)
		wantErrorIs(t, err, core.ErrUnsupported)
		if err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
	for _, e := range []*asked{a, rest} {
		if questions, calls, _ := e.reset(); questions != 2 || calls != 0 {
			t.Errorf("%d questions and %d calls, want one question each for the dispatch and the Check", questions, calls)
		}
	}
	if err := exec(t.Context(), list[0], list[2]); err != nil {
		t.Error(err)
	}
	if questions, _, _ := a.reset(); questions != 0 {
		t.Error("a call that goes to one executor alone needs no question")
	}
}

func TestFallbackAsksSecondaryBeforeItSendsHalfOfACall(t *testing.T) {
	t.Parallel()
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Delay(time.Hour)), intent(t, 2)}
	primary, secondary := newAsked(few("primary")), newAsked(few("secondary"))
	err := compose.WithFallback(primary.Execute, secondary.Execute)(t.Context(), list...)
	wantStates(t, err, list, core.NotSent, core.Rejected, core.NotSent)
	const want = "airlock: secondary refuses option delay; primary: primary refuses option delay"
	if got := outcomes(t, err, list)[1].Err.Error(); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	for _, e := range []*asked{primary, secondary} {
		if _, _, sent := e.reset(); sent > 0 {
			t.Error("part of a refused call was sent")
		}
	}
}

func TestCheckJudgesTheHeadersThatWouldBeSent(t *testing.T) {
	t.Parallel()
	caps := few("q")
	caps.Options[core.OptionHeader] = native()
	caps.Refuse = func(in core.Intent) error {
		if in.Headers().Len() > 2 {
			return core.ErrTooLarge
		}
		return nil
	}
	exec := compose.WithHeaders(adapter.Guard(caps, accept), trace)
	traced := context.WithValue(t.Context(), traceKey{}, "t1")
	full := intent(t, 0, core.Header("A", "1"))
	if err := exec.Check(t.Context(), full); err != nil {
		t.Error(err)
	}
	wantErrorIs(t, exec.Check(traced, full), core.ErrTooLarge)
	wantErrorIs(t, exec(traced, full), core.ErrTooLarge)

	bad := compose.WithHeaders(accept, func(context.Context) map[string]string { return map[string]string{"Airlock-Id": "x"} })
	wantErrorIs(t, bad.Check(t.Context(), full), core.ErrInvalid)
	panics := compose.WithHeaders(accept, func(context.Context) map[string]string { panic("no trace") })
	var p *core.PanicError
	if err := panics.Check(t.Context(), full); !errors.As(err, &p) {
		t.Errorf("want the panic: %v", err)
	}
	if err := panics.Check(t.Context()); err != nil {
		t.Errorf("without intents there are no headers to add: %v", err)
	}
}

func TestCheckWithoutIntentsFindsAMistakeAnywhereBelow(t *testing.T) {
	t.Parallel()
	bad := compose.WithRetry(nil, compose.Retry{})
	for name := range wrappers(t, accept, accept) {
		wantErrorIs(t, wrappers(t, bad, accept)[name].Check(t.Context()), core.ErrInvalid)
		if slices.Contains([]string{"WithPriority", "Route", "WithFallback", "Split"}, name) {
			wantErrorIs(t, wrappers(t, accept, bad)[name].Check(t.Context()), core.ErrInvalid)
		}
	}
}
