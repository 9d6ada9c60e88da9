package airlocktest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

type receipt struct{ Order, Secret string }

var (
	sendReceipt = core.DeclareTask[receipt]("email.receipt", core.MaxAttempts(5))
	pickOrder   = core.DeclareTask[string]("warehouse.pick")
)

// fakeTB is a test that may fail without failing this one.
type fakeTB struct {
	airlocktest.TB
	failure string
}

func (f *fakeTB) Helper() {}
func (f *fakeTB) Fatalf(format string, args ...any) {
	if f.failure == "" {
		f.failure = fmt.Sprintf(format, args...)
	}
}

// failure returns what the assertion says when it fails.
func failure(t *testing.T, assert func(tb airlocktest.TB)) string {
	t.Helper()
	f := &fakeTB{TB: t}
	assert(f)
	return f.failure
}

func wantFailure(t *testing.T, got string, words ...string) {
	t.Helper()
	if got == "" {
		t.Error("the assertion passed")
	}
	for _, w := range words {
		if !strings.Contains(got, w) {
			t.Errorf("failure %q does not say %q", got, w)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("failure %q shows arguments", got)
	}
}

func shop(t *testing.T) *airlocktest.Recorder {
	t.Helper()
	return airlocktest.Run(t, func(ctx context.Context) error {
		return errors.Join(
			airlock.Enqueue(ctx, sendReceipt, receipt{"A-1", "hunter2"}, core.Queue("mail"), core.Delay(time.Hour),
				core.Header("Trace", "hunter2"), core.Priority(9)),
			airlock.Enqueue(ctx, sendReceipt, receipt{"A-2", "hunter2"}, core.ID("receipt-2")),
			airlock.Enqueue(ctx, pickOrder, "A-1"),
		)
	})
}

func TestAssertionsFindWhatIsThere(t *testing.T) {
	t.Parallel()
	rec := shop(t)
	first := airlocktest.RequireDispatched(t, rec, sendReceipt, nil)
	if args, err := sendReceipt.Args(first); err != nil || args.Order != "A-1" {
		t.Errorf("first is %v, %v", args, err)
	}
	second := airlocktest.RequireDispatched(t, rec, sendReceipt, func(r receipt) bool { return r.Order == "A-2" })
	if second.ID != "receipt-2" {
		t.Errorf("second is %v", second)
	}
	airlocktest.RequireDispatched(t, rec, sendReceipt, nil, core.Queue("mail"), core.Delay(time.Hour),
		core.Header("Trace", "hunter2"), core.Priority(9), core.MaxAttempts(5))
	airlocktest.RequireDispatched(t, rec, sendReceipt, nil, core.At(first.Options.At))
	airlocktest.RequireDispatched(t, rec, sendReceipt, nil, core.ID("receipt-2"))
	airlocktest.RequireNotDispatched(t, rec, sendReceipt, func(r receipt) bool { return r.Order == "A-3" })
	if got := airlocktest.Args(t, rec, pickOrder); !slices.Equal(got, []string{"A-1"}) {
		t.Errorf("Args = %v", got)
	}
	rec.Reset()
	airlocktest.RequireNothingDispatched(t, rec)
}

func TestFailuresListWhatWasDispatchedInstead(t *testing.T) {
	t.Parallel()
	rec := shop(t)
	other := core.DeclareTask[string]("other.task")
	for name, tc := range map[string]struct {
		assert func(tb airlocktest.TB)
		words  []string
	}{
		"another task": {func(tb airlocktest.TB) { airlocktest.RequireDispatched(tb, rec, other, nil) },
			[]string{"no other.task", "email.receipt (2)", "warehouse.pick (1)"}},
		"nothing at all": {func(tb airlocktest.TB) { airlocktest.RequireDispatched(tb, new(airlocktest.Recorder), other, nil) },
			[]string{"no other.task", "none"}},
		"arguments": {func(tb airlocktest.TB) {
			airlocktest.RequireDispatched(tb, rec, sendReceipt, func(r receipt) bool { return false })
		}, []string{"receipt-2", "arguments do not match"}},
		"queue": {func(tb airlocktest.TB) { airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.Queue("post")) },
			[]string{"queue is mail, want post", "receipt-2: queue is not set"}},
		"header": {func(tb airlocktest.TB) {
			airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.Header("Trace", "other"))
		}, []string{"header Trace differs"}},
		"times": {func(tb airlocktest.TB) {
			airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.Delay(time.Minute),
				core.Deadline(time.Now().Add(time.Hour)), core.Timeout(time.Second), core.Backoff(core.Fixed(1)), core.Unique("k"))
		}, []string{"delay is", "deadline is not set", "timeout is not set", "backoff is not set", "unique is not set"}},
		"an absolute time": {func(tb airlocktest.TB) {
			at := airlocktest.RequireDispatched(t, rec, sendReceipt, nil).Options.At
			airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.At(at.Add(time.Second)))
		}, []string{"delay is"}},
		"attempts": {func(tb airlocktest.TB) { airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.MaxAttempts(3)) },
			[]string{"max-attempts is 5, want 3"}},
		"a bad option": {func(tb airlocktest.TB) { airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.Priority(0)) },
			[]string{"priority"}},
		"a native option": {func(tb airlocktest.TB) {
			airlocktest.RequireDispatched(tb, rec, sendReceipt, nil, core.NativeOption("asynq", 1))
		}, []string{"native"}},
		"another type": {func(tb airlocktest.TB) {
			airlocktest.RequireDispatched(tb, rec, core.DeclareTask[int]("email.receipt"), nil)
		}, []string{"cannot be decoded"}},
		"dispatched after all": {func(tb airlocktest.TB) { airlocktest.RequireNotDispatched(tb, rec, pickOrder, nil) },
			[]string{"warehouse.pick", "was dispatched"}},
		"not decodable": {func(tb airlocktest.TB) {
			airlocktest.RequireNotDispatched(tb, rec, core.DeclareTask[int]("warehouse.pick"), nil)
		}, []string{"cannot be decoded"}},
		"arguments of another type": {func(tb airlocktest.TB) { airlocktest.Args(tb, rec, core.DeclareTask[int]("warehouse.pick")) },
			[]string{"cannot be decoded"}},
		"something": {func(tb airlocktest.TB) { airlocktest.RequireNothingDispatched(tb, rec) },
			[]string{"email.receipt (2), warehouse.pick (1)"}},
		"a failing fn": {func(tb airlocktest.TB) {
			airlocktest.Run(tb, func(context.Context) error { return errors.New("declined") })
		}, []string{"declined"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, failure(t, tc.assert), tc.words...)
		})
	}
}

func TestNoEffects(t *testing.T) {
	t.Parallel()
	airlocktest.NoEffects(t, func(context.Context) error { return nil })
	wantFailure(t, failure(t, func(tb airlocktest.TB) {
		airlocktest.NoEffects(tb, func(ctx context.Context) error {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { _ = airlock.Enqueue(ctx, pickOrder, "hunter2") }) // the careless kind
			}
			wg.Wait()
			return nil
		})
	}), "warehouse.pick")
	wantFailure(t, failure(t, func(tb airlocktest.TB) {
		airlocktest.NoEffects(tb, func(context.Context) error { return errors.New("declined") })
	}), "declined")
}

func one(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := pickOrder.Intent("A-1", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestTheRecorderFailsOnRequest(t *testing.T) {
	t.Parallel()
	t.Run("fail", func(t *testing.T) {
		t.Parallel()
		var rec airlocktest.Recorder
		rec.Fail(core.ErrUnavailable)
		if err := rec.Execute(t.Context(), one(t)); !errors.Is(err, core.ErrNotSent) || len(rec.Intents()) != 0 {
			t.Errorf("error %v, recorded %v", err, rec.Intents())
		}
		rec.Fail(nil)
		if err := rec.Execute(t.Context(), one(t)); err != nil || len(rec.Intents()) != 1 {
			t.Errorf("error %v, recorded %v", err, rec.Intents())
		}
	})
	t.Run("lose", func(t *testing.T) {
		t.Parallel()
		var rec airlocktest.Recorder
		in := one(t)
		rec.Lose(true)
		if err := rec.Execute(t.Context(), in); !errors.Is(err, core.ErrUnknownOutcome) || len(rec.Intents()) != 1 {
			t.Errorf("error %v, recorded %v", err, rec.Intents())
		}
		rec.Lose(false)
		if err := rec.Execute(t.Context(), in); err != nil || len(rec.Intents()) != 1 {
			t.Errorf("sent again: error %v, recorded %v", err, rec.Intents())
		}
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var rec airlocktest.Recorder
			rec.Delay(time.Hour)
			start := time.Now()
			if err := rec.Execute(t.Context(), one(t)); err != nil || time.Since(start) != time.Hour {
				t.Errorf("error %v after %v", err, time.Since(start))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := rec.Execute(ctx, one(t))
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, core.ErrNotSent) || len(rec.Intents()) != 1 {
				t.Errorf("error %v, recorded %v", err, rec.Intents())
			}
		})
	})
	t.Run("act", func(t *testing.T) {
		t.Parallel()
		var rec airlocktest.Recorder
		rec.Act(core.Capabilities{Executor: "small"})
		if err := rec.Execute(t.Context(), one(t, core.Priority(3))); !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheRecorderKnowsItsJobs(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	generated, chosen, unique := one(t), one(t, core.ID("x")), one(t, core.Unique("k"))
	intents := []core.Intent{generated, chosen, unique, generated, one(t, core.ID("x")), one(t, core.Unique("k"))}
	var states []string
	for _, o := range core.OutcomesOf(rec.Execute(t.Context(), intents...), intents) {
		states = append(states, o.State.String())
	}
	if got := strings.Join(states, " "); got != "accepted accepted accepted accepted duplicate duplicate" {
		t.Errorf("outcomes %s", got)
	}
	if n := len(rec.Intents()); n != 3 {
		t.Errorf("%d jobs", n)
	}
}

func TestTheRecorderAnswersQuestionsWithWhatItActsAs(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	exec := core.Executor(rec.Execute)
	caps, ok := exec.Capabilities()
	if !ok || caps.Executor != "recorder" || len(caps.Options) != len(core.PortableOptions()) {
		t.Errorf("at first: %v, %v", caps, ok)
	}
	if err := exec.Check(t.Context(), one(t, core.Priority(3))); err != nil {
		t.Error(err)
	}
	rec.Act(core.Capabilities{Executor: "small", Transactional: true})
	if caps, ok := exec.Capabilities(); !ok || caps.Executor != "small" || !caps.Transactional {
		t.Errorf("acting: %v, %v", caps, ok)
	}
	if err := exec.Check(t.Context(), one(t, core.Priority(3))); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("Check = %v", err)
	}
	if n := len(rec.Intents()); n != 0 {
		t.Errorf("questions recorded %d intents", n)
	}
}

func TestWhatTheRecorderRefusesIsRefusedAtTheCallSite(t *testing.T) {
	t.Parallel()
	var rec airlocktest.Recorder
	rec.Act(core.Capabilities{Executor: "small"})
	err := airlock.Run(t.Context(), rec.Execute, func(ctx context.Context) error {
		if err := airlock.Enqueue(ctx, pickOrder, "A-1", core.Priority(3)); !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("Enqueue = %v", err)
		}
		return airlock.Enqueue(ctx, pickOrder, "A-2")
	})
	if err != nil || len(rec.Intents()) != 1 {
		t.Errorf("error %v, recorded %v", err, rec.Intents())
	}
}

func TestScopesInsideATestHandOverToTheRecorder(t *testing.T) {
	t.Parallel()
	queue := func(_ context.Context, intents ...core.Intent) error {
		if len(intents) > 0 {
			t.Error("the test has sent to the queue")
		}
		return nil
	}
	rec := airlocktest.Run(t, func(ctx context.Context) error {
		return airlock.Run(ctx, queue, func(ctx context.Context) error { return airlock.Enqueue(ctx, pickOrder, "A-1") })
	})
	airlocktest.RequireDispatched(t, rec, pickOrder, nil)
}
