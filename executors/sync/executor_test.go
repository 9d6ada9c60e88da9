package syncexec_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
	"github.com/goairlock/airlock/worker"
)

// testEnv is an executor and one task with the handler of the test.
type testEnv struct {
	task core.Task[string]
	exec *syncexec.Executor
}

func setup(t *testing.T, handler func(ctx context.Context, arg string) error, opts ...core.Option) testEnv {
	t.Helper()
	w := testEnv{task: core.DeclareTask[string]("test.work", opts...)}
	reg, err := worker.NewRegistry(worker.Handle(w.task, handler))
	if err != nil {
		t.Fatal(err)
	}
	if w.exec, err = syncexec.New(&syncexec.Options{Registry: reg}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w testEnv) intent(t *testing.T, arg string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := w.task.Intent(arg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// states dispatches and returns the outcomes' states, and the error.
func (w testEnv) states(t *testing.T, intents ...core.Intent) (string, error) {
	t.Helper()
	err := w.exec.Execute(t.Context(), intents...)
	var words []string
	for _, o := range core.OutcomesOf(err, intents) {
		words = append(words, o.State.String())
	}
	return strings.Join(words, ", "), err
}

func TestJobsRunInOrderBeforeTheCallReturns(t *testing.T) {
	t.Parallel()
	var ran []string
	w := setup(t, func(_ context.Context, arg string) error { ran = append(ran, arg); return nil })
	if got, err := w.states(t, w.intent(t, "a"), w.intent(t, "b"), w.intent(t, "c")); err != nil {
		t.Errorf("%s: %v", got, err)
	}
	if got := strings.Join(ran, " "); got != "a b c" {
		t.Errorf("ran %q", got)
	}
}

func TestTheFirstFailureEndsTheCall(t *testing.T) {
	t.Parallel()
	declined := errors.New("declined")
	var ran []string
	w := setup(t, func(_ context.Context, arg string) error {
		ran = append(ran, arg)
		if arg == "b" {
			return declined
		}
		return nil
	})
	got, err := w.states(t, w.intent(t, "a"), w.intent(t, "b"), w.intent(t, "c"))
	if got != "accepted, failed, not sent" {
		t.Errorf("outcomes %s", got)
	}
	if strings.Join(ran, " ") != "a b" {
		t.Errorf("ran %v", ran)
	}
	var de *core.DispatchError
	if !errors.As(err, &de) || de.Outcomes[1].Err != declined {
		t.Errorf("outcome's error is not the handler's own: %v", err)
	}
	if de != nil && !errors.Is(de.Outcomes[2].Err, core.ErrNotSent) {
		t.Errorf("the third one's error: %v", de.Outcomes[2].Err)
	}
}

// What one intent's failure means must not depend on its place in the call.
func TestTheTasksErrorIsFoundInEveryOrder(t *testing.T) {
	t.Parallel()
	declined := errors.New("declined")
	w := setup(t, func(_ context.Context, arg string) error {
		if arg == "fails" {
			return declined
		}
		return nil
	})
	for _, order := range [][]string{{"fails", "ok"}, {"ok", "fails"}, {"ok", "fails", "ok"}} {
		var intents []core.Intent
		for _, arg := range order {
			intents = append(intents, w.intent(t, arg))
		}
		if _, err := w.states(t, intents...); !errors.Is(err, declined) || errors.Is(err, core.ErrNotSent) {
			t.Errorf("%v in one call: %v", order, err)
		}
		err := airlock.Run(t.Context(), w.exec.Execute, func(ctx context.Context) error {
			for _, arg := range order {
				if err := airlock.Enqueue(ctx, w.task, arg); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, declined) {
			t.Errorf("%v in a scope: %v", order, err)
		}
	}
}

func TestTheHandlersOwnErrorComesBack(t *testing.T) {
	t.Parallel()
	declined := errors.New("declined")
	w := setup(t, func(context.Context, string) error { return declined })
	if _, err := w.states(t, w.intent(t, "a")); !errors.Is(err, declined) {
		t.Errorf("error %v, want the handler's own", err)
	}
}

func TestAttemptsBackoffAndTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var attempts []int
		var at []time.Duration
		start := time.Now()
		w := setup(t, func(ctx context.Context, _ string) error {
			job, _ := worker.JobFrom(ctx)
			attempts, at = append(attempts, job.Attempt), append(at, time.Since(start))
			return errors.New("again")
		})
		got, err := w.states(t, w.intent(t, "a", core.MaxAttempts(4), core.Backoff(core.Exponential(time.Second, 3*time.Second))))
		if got != "failed" || err == nil {
			t.Errorf("outcome %s: %v", got, err)
		}
		want := []time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("attempts %v at %v, want at %v", attempts, at, want)
		}
		for i := range want {
			if at[i] != want[i] || attempts[i] != i+1 {
				t.Errorf("attempt %d at %v, want attempt %d at %v", attempts[i], at[i], i+1, want[i])
			}
		}
	})
}

func TestTimeoutEndsEachAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := setup(t, func(ctx context.Context, _ string) error {
			start := time.Now()
			<-ctx.Done()
			if took := time.Since(start); took != time.Minute {
				t.Errorf("attempt %d had %v", n+1, took)
			}
			if n++; n == 2 {
				return nil
			}
			return ctx.Err()
		})
		if got, err := w.states(t, w.intent(t, "a", core.Timeout(time.Minute), core.MaxAttempts(2))); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	})
}

func TestNoAttemptAfterTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := setup(t, func(context.Context, string) error { n++; return errors.New("again") })
		_, err := w.states(t, w.intent(t, "a", core.MaxAttempts(9), core.Backoff(core.Fixed(time.Minute)),
			core.Deadline(time.Now().Add(150*time.Second))))
		if n != 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d attempts, want 3; error %v", n, err)
		}
	})
}

func TestTheSameIntentAgainIsNoSecondJob(t *testing.T) {
	t.Parallel()
	n := 0
	w := setup(t, func(context.Context, string) error { n++; return nil })
	generated, chosen := w.intent(t, "a"), w.intent(t, "a", core.ID("receipt-1"))
	first, _ := w.states(t, generated, chosen)
	again, err := w.states(t, generated, chosen)
	if first != "accepted, accepted" || again != "accepted, duplicate" || n != 2 {
		t.Errorf("first %s, again %s, %d runs", first, again, n)
	}
	if !errors.Is(err, core.ErrDuplicate) {
		t.Errorf("error %v", err)
	}
	if got, _ := w.states(t, w.intent(t, "b", core.ID("receipt-1"))); got != "duplicate" {
		t.Errorf("another intent of the ID: %s", got)
	}
}

func TestAnIntentTwiceInACallIsOneJob(t *testing.T) {
	t.Parallel()
	n := 0
	w := setup(t, func(context.Context, string) error { n++; return nil })
	generated, chosen, unique := w.intent(t, "a"), w.intent(t, "a", core.ID("x")), w.intent(t, "a", core.Unique("k"))
	got, _ := w.states(t, generated, generated, chosen, chosen, unique, unique)
	if got != "accepted, accepted, accepted, duplicate, accepted, duplicate" || n != 3 {
		t.Errorf("%s, %d runs", got, n)
	}
	// The first job of the key has ended when the second intent's turn comes.
	if got, _ := w.states(t, w.intent(t, "a", core.Unique("k")), w.intent(t, "b", core.Unique("k"))); got != "accepted, accepted" || n != 5 {
		t.Errorf("other intents of the key: %s, %d runs", got, n)
	}
}

// A job that dispatches itself again must not run forever.
func TestAJobThatSendsItselfIsOneJob(t *testing.T) {
	t.Parallel()
	for want, opt := range map[string]core.Option{
		"accepted": core.Priority(5), "duplicate": core.ID("x"), "duplicate ": core.Unique("k"),
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			var w testEnv
			var self core.Intent
			var inside string
			n := 0
			w = setup(t, func(context.Context, string) error {
				n++
				inside, _ = w.states(t, self)
				return nil
			})
			self = w.intent(t, "a", opt)
			if got, err := w.states(t, self); err != nil || n != 1 || inside != strings.TrimSpace(want) {
				t.Errorf("%s: %v; %d runs, inside %s", got, err, n, inside)
			}
		})
	}
}

func TestAFailedIntentMayBeSentAgain(t *testing.T) {
	t.Parallel()
	n := 0
	w := setup(t, func(context.Context, string) error {
		if n++; n == 1 {
			return errors.New("the first time")
		}
		return nil
	})
	in := w.intent(t, "a", core.ID("receipt-1"))
	first, _ := w.states(t, in)
	again, _ := w.states(t, in)
	if first != "failed" || again != "accepted" {
		t.Errorf("first %s, then %s", first, again)
	}
}

func TestIDsAreForgottenBeyondTheBound(t *testing.T) {
	t.Parallel()
	runs := map[string]int{}
	task := core.NewTask("test.work", func(_ context.Context, arg string) error { runs[arg]++; return nil })
	for remember, want := range map[int]int{-1: 2, 1: 2, 2: 1} {
		clear(runs)
		exec, err := syncexec.New(&syncexec.Options{RememberIDs: remember})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"first", "second", "first"} {
			in, err := task.Intent(id, core.ID(id))
			if err != nil {
				t.Fatal(err)
			}
			if err := exec.Execute(t.Context(), in); err != nil && !errors.Is(err, core.ErrDuplicate) {
				t.Fatal(err)
			}
		}
		if runs["first"] != want {
			t.Errorf("RememberIDs %d: %d runs, want %d", remember, runs["first"], want)
		}
	}
}

func TestUniqueHoldsWhileTheJobRuns(t *testing.T) {
	t.Parallel()
	running, finish := make(chan struct{}), make(chan struct{})
	w := setup(t, func(_ context.Context, arg string) error {
		if arg == "slow" {
			close(running)
			<-finish
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := w.states(t, w.intent(t, "slow", core.Unique("k"))); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	})
	<-running
	for want, in := range map[string]core.Intent{
		"duplicate": w.intent(t, "a", core.Unique("k")),
		"accepted":  w.intent(t, "a", core.Unique("k"), core.Queue("other")),
	} {
		if got, _ := w.states(t, in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
	close(finish)
	wg.Wait()
	if got, err := w.states(t, w.intent(t, "a", core.Unique("k"))); err != nil {
		t.Errorf("afterwards %s: %v", got, err)
	}
}

func TestWhatCannotBeDoneIsRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	w := setup(t, func(context.Context, string) error { t.Error("a job ran"); return nil })
	unknown, err := core.DeclareTask[string]("test.unknown").Intent("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		bad  core.Intent
		want error
	}{
		{w.intent(t, "a", core.Delay(time.Hour)), core.ErrUnsupported},
		{w.intent(t, "a", core.NativeOption("asynq", 1)), core.ErrUnsupported},
		{unknown, core.ErrNoHandler},
		{core.Intent{}, core.ErrInvalid},
	} {
		got, err := w.states(t, w.intent(t, "good"), tc.bad)
		if got != "not sent, rejected" {
			t.Errorf("%v: outcomes %s", tc.bad, got)
		}
		var de *core.DispatchError
		if !errors.As(err, &de) || !errors.Is(de.Outcomes[1].Err, tc.want) {
			t.Errorf("%v: error %v, want %v", tc.bad, err, tc.want)
		}
	}
}

func TestPanicsAndGoexitAreFailedAttempts(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(){"panic": func() { panic("kaboom") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			w := setup(t, func(context.Context, string) error {
				if n++; n == 1 {
					bad()
				}
				return nil
			})
			if got, err := w.states(t, w.intent(t, "a", core.MaxAttempts(2))); err != nil || n != 2 {
				t.Errorf("%s after %d attempts: %v", got, n, err)
			}
			n = 0
			if got, _ := w.states(t, w.intent(t, "a")); got != "failed" {
				t.Errorf("without attempts left: %s", got)
			}
		})
	}
}

func TestSnoozeFails(t *testing.T) {
	t.Parallel()
	w := setup(t, func(context.Context, string) error { return worker.Snooze(time.Hour) })
	got, err := w.states(t, w.intent(t, "a", core.MaxAttempts(3)))
	if got != "failed" || !strings.Contains(err.Error(), "snooze") {
		t.Errorf("%s: %v", got, err)
	}
}

func TestTheContextReachesTheHandlerWithoutItsValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	stopped := errors.New("server stops")
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "secret"))
	n := 0
	w := setup(t, func(ctx context.Context, _ string) error {
		n++
		if ctx.Value(key{}) != nil {
			t.Error("the handler sees the producer's values")
		}
		cancel(stopped)
		<-ctx.Done()
		return ctx.Err()
	})
	intents := []core.Intent{w.intent(t, "a", core.MaxAttempts(5)), w.intent(t, "b")}
	err := w.exec.Execute(ctx, intents...)
	out := core.OutcomesOf(err, intents)
	if n != 1 || out[0].State != core.Failed || out[1].State != core.NotSent {
		t.Errorf("%d attempts, outcomes %v and %v", n, out[0].State, out[1].State)
	}
	for _, o := range out {
		if !errors.Is(o.Err, context.Canceled) || !errors.Is(o.Err, stopped) {
			t.Errorf("%v: %v does not wrap the context's error and its cause", o.State, o.Err)
		}
	}
}

// errors.Is sees the worst state only, and Failed is worse than NotSent.
func TestTheContextsErrorIsFoundWhateverTheHandlerReturns(t *testing.T) {
	t.Parallel()
	own, stopped := errors.New("own"), errors.New("server stops")
	for name, tc := range map[string]struct {
		answer error
		state  core.State
	}{
		"success":           {nil, core.Accepted},
		"an ordinary error": {own, core.Failed},
		"a permanent error": {worker.Permanent(own), core.Failed},
		"a snooze":          {worker.Snooze(time.Hour), core.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			n := 0
			w := setup(t, func(context.Context, string) error { n++; cancel(stopped); return tc.answer })
			intents := []core.Intent{w.intent(t, "a", core.MaxAttempts(5)), w.intent(t, "b")}
			err := w.exec.Execute(ctx, intents...)
			if n != 1 || !errors.Is(err, context.Canceled) || !errors.Is(err, stopped) {
				t.Errorf("%d runs: %v", n, err)
			}
			out := core.OutcomesOf(err, intents)
			if out[0].State != tc.state || out[1].State != core.NotSent {
				t.Errorf("outcomes %v and %v", out[0].State, out[1].State)
			}
			if tc.state == core.Failed && errors.Is(tc.answer, own) && !errors.Is(err, own) {
				t.Errorf("the handler's own error is lost: %v", err)
			}
		})
	}
}

func TestTheContextEndsBetweenTwoAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		own := errors.New("own")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := setup(t, func(context.Context, string) error { return own })
		start := time.Now()
		err := w.exec.Execute(ctx, w.intent(t, "a", core.MaxAttempts(2), core.Backoff(core.Fixed(time.Hour))))
		if took := time.Since(start); took != time.Minute || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, own) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestAQuestionIsAnsweredAndNothingRuns(t *testing.T) {
	t.Parallel()
	w := setup(t, func(context.Context, string) error { t.Error("a job ran"); return nil })
	exec := core.Executor(w.exec.Execute)
	caps, ok := exec.Capabilities()
	if !ok || caps.Executor != "sync" || caps.DefaultAttempts != 1 {
		t.Errorf("capabilities %+v, %v", caps, ok)
	}
	unknown, err := core.DeclareTask[string]("test.unknown").Intent("a")
	if err != nil {
		t.Fatal(err)
	}
	own, err := core.NewTask("test.own", func(context.Context, string) error { return nil }).Intent("a")
	if err != nil {
		t.Fatal(err)
	}
	good, delayed := w.intent(t, "a"), w.intent(t, "a", core.Delay(time.Hour))
	for _, tc := range []struct {
		intents []core.Intent
		want    error
	}{
		{[]core.Intent{good, own}, nil},
		{[]core.Intent{unknown}, core.ErrNoHandler},
		{[]core.Intent{good, unknown}, core.ErrNoHandler},
		{[]core.Intent{delayed}, core.ErrUnsupported},
		{[]core.Intent{unknown, delayed}, core.ErrUnsupported},
	} {
		if err := exec.Check(t.Context(), tc.intents...); !errors.Is(err, tc.want) {
			t.Errorf("%v: the answer is %v, want %v", tc.intents, err, tc.want)
		}
		if tc.want == nil {
			continue
		}
		if err := exec(t.Context(), tc.intents...); !errors.Is(err, tc.want) {
			t.Errorf("%v: a dispatch returns %v, want %v", tc.intents, err, tc.want)
		}
	}
	var refused *core.DispatchError
	if err := exec.Check(t.Context(), unknown); !errors.Is(err, core.ErrNoHandler) || errors.As(err, &refused) {
		t.Errorf("one intent: %v, want the refusal itself", err)
	}
}

// What the package comment says, and what the README's table shows.
func TestTheClaims(t *testing.T) {
	t.Parallel()
	for remember, window := range map[int]core.Window{
		0:  {Kind: core.WindowStored, Count: 10000},
		1:  {Kind: core.WindowStored, Count: 1},
		7:  {Kind: core.WindowStored, Count: 7},
		-1: {Kind: core.WindowUnfinished},
		-9: {Kind: core.WindowUnfinished},
	} {
		exec, err := syncexec.New(&syncexec.Options{RememberIDs: remember})
		if err != nil {
			t.Fatal(err)
		}
		caps := exec.Capabilities()
		if caps.IDWindow != window {
			t.Errorf("RememberIDs %d: window %+v, want %+v", remember, caps.IDWindow, window)
		}
		if caps.Delivery != core.GuaranteeAtMostOnce || caps.Durability != core.DurabilityProcess || caps.Order != core.OrderFIFO {
			t.Errorf("claims %q, %q, %q", caps.Delivery, caps.Durability, caps.Order)
		}
		for name, claim := range caps.Options {
			refuses := claim.Support == core.SupportRefused || claim.Support == core.SupportNotApplicable
			if refuses != (claim.Reason != "") {
				t.Errorf("%s: %+v", name, claim)
			}
		}
	}
}

func TestCapabilitiesAreACopy(t *testing.T) {
	t.Parallel()
	w := setup(t, func(context.Context, string) error { return nil })
	w.exec.Capabilities().Options[core.OptionHeader] = core.Claim{}
	caps, _ := core.Executor(w.exec.Execute).Capabilities()
	caps.Options[core.OptionHeader] = core.Claim{}
	if w.exec.Capabilities().Options[core.OptionHeader].Support != core.SupportNative {
		t.Error("a change of the result changes the executor")
	}
	if got, err := w.states(t, w.intent(t, "a", core.Header("A", "1"))); err != nil {
		t.Errorf("%s: %v", got, err)
	}
}

func TestANilOrZeroExecutorIsInvalid(t *testing.T) {
	t.Parallel()
	w := setup(t, func(context.Context, string) error { t.Error("a job ran"); return nil })
	for _, zero := range []*syncexec.Executor{nil, new(syncexec.Executor)} {
		if err := zero.Execute(t.Context(), w.intent(t, "a")); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("Execute: %v", err)
		}
		if err := core.Executor(zero.Execute).Check(t.Context()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("Check: %v", err)
		}
		if caps := zero.Capabilities(); len(caps.Options) != 0 {
			t.Errorf("Capabilities: %v", caps.Options)
		}
	}
}

func TestOneExecutorServesManyGoroutines(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	n := 0
	w := setup(t, func(context.Context, string) error { mu.Lock(); defer mu.Unlock(); n++; return nil })
	shared := w.intent(t, "shared")
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 50 {
				if got, err := w.states(t, w.intent(t, "a"), shared); err != nil {
					t.Errorf("%s: %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if n != 32*50+1 {
		t.Errorf("%d runs, want %d", n, 32*50+1)
	}
}
