package core_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/goairlock/airlock/core"
)

// answering is an executor that refuses intents whose ID is "bad", and itself with
// refusal.
func answering(refusal error) core.Executor {
	return func(ctx context.Context, intents ...core.Intent) error {
		if len(intents) == 0 {
			core.Answer(ctx, nil, func(_ context.Context, intents []core.Intent) error {
				for _, in := range intents {
					if in.ID == "bad" {
						return core.ErrUnsupported
					}
				}
				return refusal
			})
		}
		return nil
	}
}

func checkerIntents(t *testing.T) (good, bad core.Intent) {
	t.Helper()
	task := core.DeclareTask[int]("test.checker")
	good, err := task.Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	if bad, err = task.Intent(1, core.ID("bad")); err != nil {
		t.Fatal(err)
	}
	return good, bad
}

func TestACheckerAnswersAsCheckDoes(t *testing.T) {
	t.Parallel()
	good, bad := checkerIntents(t)
	check, err := answering(nil).Checker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if err := check(good); err != nil {
					t.Error(err)
				}
				if err := check(bad); !errors.Is(err, core.ErrUnsupported) {
					t.Errorf("check = %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestACheckerReportsWhatIsWrongWithTheExecutor(t *testing.T) {
	t.Parallel()
	broken := errors.New("wrong wiring")
	var noContext context.Context
	for name, tc := range map[string]struct {
		ctx  context.Context
		exec core.Executor
		want error
	}{
		"wrong wiring": {t.Context(), answering(broken), broken},
		"nil executor": {t.Context(), nil, core.ErrInvalid},
		"nil context":  {noContext, answering(nil), core.ErrInvalid},
	} {
		if _, err := tc.exec.Checker(tc.ctx); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, exec := range map[string]core.Executor{
		"a plain function": func(context.Context, ...core.Intent) error { return errors.New("no intents") },
		"a panic":          func(context.Context, ...core.Intent) error { panic("no intents") },
	} {
		if check, err := exec.Checker(t.Context()); check != nil || err != nil {
			t.Errorf("%s: check %v, error %v", name, check != nil, err)
		}
	}
}

// A check that panics is no answer, as for Check.
func TestACheckThatPanicsIsNoAnswer(t *testing.T) {
	t.Parallel()
	good, bad := checkerIntents(t)
	check, err := core.Executor(func(ctx context.Context, _ ...core.Intent) error {
		core.Answer(ctx, nil, func(_ context.Context, intents []core.Intent) error {
			if len(intents) > 0 && intents[0].ID == "bad" {
				panic("boom")
			}
			return nil
		})
		return nil
	}).Checker(t.Context())
	if err != nil || check == nil {
		t.Fatalf("check %v, error %v", check != nil, err)
	}
	for range 3 {
		if err := errors.Join(check(bad), check(good)); err != nil {
			t.Error(err)
		}
	}
}
