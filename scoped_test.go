package airlock_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// perform runs a job of the given handler under Scoped, as attempt n.
func perform(t *testing.T, exec core.Executor, id string, fn func(ctx context.Context) error, opts ...airlock.Option) core.Verdict {
	t.Helper()
	return performIn(t, t.Context(), exec, id, fn, opts...)
}

func performIn(t *testing.T, ctx context.Context, exec core.Executor, id string, fn func(ctx context.Context) error, opts ...airlock.Option) core.Verdict {
	t.Helper()
	parent := core.DeclareTask[int]("test.parent")
	reg, err := core.NewRegistry(core.Handle(parent, func(ctx context.Context, _ int) error { return fn(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.Use(airlock.Scoped(exec, opts...)); err != nil {
		t.Fatal(err)
	}
	return reg.Perform(ctx, core.Delivery{ID: id, Task: "test.parent", Payload: []byte("1"), Attempt: 1})
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
	if v.Action != core.Retry {
		t.Errorf("verdict %v", v)
	}
	wantGot(t, &s, "")
	if v := perform(t, s.Execute, "p", func(ctx context.Context) error { enqueue(t, ctx, "a", "b"); return nil }); v.Action != core.Done {
		t.Errorf("verdict %v", v)
	}
	wantGot(t, &s, "a b")
}

func TestScopedJobsFailWhenTheFlushFails(t *testing.T) {
	t.Parallel()
	s := sink{fail: func([]core.Intent) error { return core.ErrUnavailable }}
	v := perform(t, s.Execute, "p", func(ctx context.Context) error { enqueue(t, ctx, "a"); return nil })
	if v.Action != core.Retry || !errors.Is(v.Err, core.ErrUnavailable) {
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
		if v.Action != core.Done {
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
			nest(t, ctx, inner.Execute, func(ctx context.Context) { enqueue(t, ctx, "a") })
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

// A worker may run inside of a scope itself, which knows nothing of the job.
func TestChildrenThatAnOuterScopeTakesAreDerivedToo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts []airlock.Option
		own  bool
	}{"joined": {}, "captured": {[]airlock.Option{airlock.CaptureAll()}, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s, own sink
			exec := core.Executor(nil)
			if tc.own {
				exec = own.Execute
			}
			for range 2 {
				nest(t, t.Context(), s.Execute, func(ctx context.Context) {
					performIn(t, ctx, exec, "p", func(ctx context.Context) error { enqueue(t, ctx, "a", "a"); return nil })
				}, tc.opts...)
			}
			first, again := ids(s.calls[0]), ids(s.calls[1])
			if !slices.Equal(first, again) || first[0] == first[1] {
				t.Errorf("IDs %v, then %v", first, again)
			}
			wantGot(t, &own, "")
		})
	}
}

func TestScopedOutsideOfAJobIsARun(t *testing.T) {
	t.Parallel()
	var s sink
	err := airlock.Scoped(s.Execute)(t.Context(), func(ctx context.Context) error { enqueue(t, ctx, "a"); return nil })
	if err != nil {
		t.Error(err)
	}
	wantGot(t, &s, "a")
}
