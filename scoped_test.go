package airlock_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// perform runs a job of the given handler under Scoped.
func perform(t *testing.T, exec core.Executor, id string, fn func(ctx context.Context) error, opts ...airlock.RunOption) worker.Verdict {
	t.Helper()
	return performIn(t, t.Context(), exec, id, fn, opts...)
}

func performIn(t *testing.T, ctx context.Context, exec core.Executor, id string, fn func(ctx context.Context) error, opts ...airlock.RunOption) worker.Verdict {
	t.Helper()
	parent := core.DeclareTask[int]("test.parent")
	reg, err := worker.NewRegistry(
		worker.Handle(parent, func(ctx context.Context, _ int) error { return fn(ctx) }),
		airlock.Scoped(exec, opts...),
	)
	if err != nil {
		t.Fatal(err)
	}
	return reg.Perform(ctx, worker.Delivery{ID: id, Task: "test.parent", Payload: []byte("1"), Attempt: 1})
}

func ids(intents []core.Intent) []string {
	var out []string
	for _, in := range intents {
		out = append(out, in.ID)
	}
	return out
}

func TestScopedJobsSendWhatTheyEnqueuedOnlyOnSuccess(t *testing.T) {
	t.Parallel()
	var s sink
	v := perform(t, s.Execute, "p", func(ctx context.Context) error {
		enqueue(t, ctx, "a")
		return errors.New("failed")
	})
	if v.Action != worker.Retry {
		t.Errorf("verdict %v", v)
	}
	wantGot(t, &s, "")
	if v := perform(t, s.Execute, "p", func(ctx context.Context) error { enqueue(t, ctx, "a", "b"); return nil }); v.Action != worker.Done {
		t.Errorf("verdict %v", v)
	}
	wantGot(t, &s, "a b")
}

func TestScopedJobsFailWhenTheFlushFails(t *testing.T) {
	t.Parallel()
	s := sink{fail: func([]core.Intent) error { return core.ErrUnavailable }}
	v := perform(t, s.Execute, "p", func(ctx context.Context) error { enqueue(t, ctx, "a"); return nil })
	if v.Action != worker.Retry || !errors.Is(v.Err, core.ErrUnavailable) {
		t.Errorf("verdict %v %v", v.Action, v.Err)
	}
}

func TestChildrenOfARetriedParentAreTheSameJobs(t *testing.T) {
	t.Parallel()
	chosen := core.ID("chosen")
	attempt := func(exec core.Executor, id string, discarded bool) {
		v := perform(t, exec, id, func(ctx context.Context) error {
			if discarded { // what was discarded on the way is no occurrence
				airlock.Run(ctx, nil, func(ctx context.Context) error { // it fails on purpose
					enqueue(t, ctx, "same")
					return errors.New("inner failure")
				})
			}
			enqueue(t, ctx, "same", "other", "same")
			nest(t, ctx, nil, func(ctx context.Context) { enqueue(t, ctx, "same") })
			return airlock.Enqueue(ctx, note, "same", chosen)
		})
		if v.Action != worker.Done {
			t.Fatalf("verdict %v: %v", v.Action, v.Err)
		}
	}
	var s sink
	attempt(s.Execute, "parent-1", false)
	attempt(s.Execute, "parent-1", true)
	attempt(s.Execute, "parent-2", false)
	first, again, stranger := ids(s.calls[0]), ids(s.calls[1]), ids(s.calls[2])
	if !slices.Equal(first, again) {
		t.Errorf("retried parent: IDs %v, then %v", first, again)
	}
	if first[4] != "chosen" || stranger[4] != "chosen" {
		t.Error("a chosen ID was changed")
	}
	all := map[string]bool{}
	for _, id := range slices.Concat(first, stranger[:4]) {
		all[id] = true
	}
	if len(all) != 9 {
		t.Errorf("%d different IDs among 5 children of one parent and 4 of another, want 9", len(all))
	}
	if s.calls[0][0].ChosenID() {
		t.Error("a derived ID counts as chosen")
	}
}

func TestChildrenSentByAnInnerScopeAreDerivedToo(t *testing.T) {
	t.Parallel()
	var outer, inner sink
	for range 2 {
		perform(t, outer.Execute, "p", func(ctx context.Context) error {
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") }, airlock.Independent())
			enqueue(t, ctx, "a")
			return nil
		})
	}
	if a, b := inner.calls[0][0].ID, inner.calls[1][0].ID; a != b {
		t.Errorf("IDs %s and %s for the same child", a, b)
	}
	if a, b := inner.calls[0][0].ID, outer.calls[0][0].ID; a == b {
		t.Errorf("two children share the ID %s", a)
	}
}

// A worker may run inside a scope itself, which knows nothing of the job.
func TestChildrenThatAnOuterScopeTakesAreDerivedToo(t *testing.T) {
	t.Parallel()
	all := airlock.OnDescendantFlush(func(context.Context, core.Intent) bool { return true })
	for name, tc := range map[string]struct{ outer, inner []airlock.RunOption }{
		"joined":   {},
		"captured": {[]airlock.RunOption{all}, []airlock.RunOption{airlock.Independent()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s, own sink
			for range 2 {
				nest(t, t.Context(), s.Execute, func(ctx context.Context) {
					performIn(t, ctx, own.Execute, "p", func(ctx context.Context) error { enqueue(t, ctx, "a", "a"); return nil }, tc.inner...)
				}, tc.outer...)
			}
			first, again := ids(s.calls[0]), ids(s.calls[1])
			if !slices.Equal(first, again) || first[0] == first[1] {
				t.Errorf("IDs %v, then %v", first, again)
			}
			wantGot(t, &own, "")
		})
	}
}

func TestAFailedJobSendsNothingAlsoFromAScopeWithItsOwnExecutor(t *testing.T) {
	t.Parallel()
	var s, own sink
	v := perform(t, s.Execute, "p", func(ctx context.Context) error {
		nest(t, ctx, own.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") })
		return errors.New("failed")
	})
	if v.Action != worker.Retry {
		t.Errorf("verdict %v", v.Action)
	}
	wantGot(t, &s, "")
	wantGot(t, &own, "")
}

// The executor of a registry is often made after the registry.
func TestScopedTakesAnExecutorThatIsSetLater(t *testing.T) {
	t.Parallel()
	var s sink
	var later core.Executor
	reg, err := worker.NewRegistry(
		worker.Handle(core.DeclareTask[int]("test.parent"), func(ctx context.Context, _ int) error {
			return airlock.Enqueue(ctx, note, "a", core.Priority(3))
		}),
		airlock.Scoped(func(ctx context.Context, intents ...core.Intent) error { return later(ctx, intents...) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	run := func() worker.Verdict {
		return reg.Perform(t.Context(), worker.Delivery{ID: "p", Task: "test.parent", Payload: []byte("1"), Attempt: 1})
	}
	if v := run(); v.Action == worker.Done || flushError(t, v.Err).Outcomes[0].State != core.Unknown {
		t.Errorf("without an executor: %v %v", v.Action, v.Err)
	}
	later = adapter.Guard(core.Capabilities{Executor: "small"}, s.Execute)
	v := run()
	wantIs(t, v.Err, core.ErrUnsupported)
	var fe *airlock.FlushError
	if errors.As(v.Err, &fe) {
		t.Errorf("refused at the flush: %v", v.Err)
	}
	later = s.Execute
	if v := run(); v.Action != worker.Done {
		t.Errorf("verdict %v: %v", v.Action, v.Err)
	}
	wantGot(t, &s, "a")
}

func TestScopedOutsideAJobIsARun(t *testing.T) {
	t.Parallel()
	var s sink
	err := airlock.Scoped(s.Execute)(t.Context(), func(ctx context.Context) error { enqueue(t, ctx, "a"); return nil })
	if err != nil {
		t.Error(err)
	}
	wantGot(t, &s, "a")
}
