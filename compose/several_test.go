package compose_test

import (
	"context"
	"errors"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestPriorityDecidesWhoGetsAnIntent(t *testing.T) {
	t.Parallel()
	list := []core.Intent{intent(t, 0)} // unset
	for p := 1; p <= 10; p++ {
		list = append(list, intent(t, p, core.Priority(p)))
	}
	for threshold, urgentFrom := range map[int]int{0: 8, 1: 1, 5: 5, 6: 6, 10: 10} {
		base, urgent := scripted(), scripted()
		if err := compose.WithPriority(base.Execute, urgent.Execute, threshold)(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
		var low, high []int
		for n := range 11 {
			p := n
			if n == 0 {
				p = 5
			}
			if p >= urgentFrom {
				high = append(high, n)
			} else {
				low = append(low, n)
			}
		}
		wantSent(t, "urgent", urgent, high)
		if low == nil {
			wantSent(t, "base", base)
		} else {
			wantSent(t, "base", base, low)
		}
	}
}

func TestPriorityOptionGoesOnWithTheIntent(t *testing.T) {
	t.Parallel()
	urgent := scripted()
	if err := compose.WithPriority(accept, urgent.Execute, 8)(t.Context(), intent(t, 0, core.Priority(9))); err != nil {
		t.Fatal(err)
	}
	if p := urgent.calls[0][0].Options.Priority; p != 9 {
		t.Errorf("priority %d, want 9", p)
	}
}

// mixed are intents for the routes a, b, a, c, b.
func mixed(t *testing.T) []core.Intent {
	var list []core.Intent
	for i, q := range []string{"a", "b", "a", "c", "b"} {
		list = append(list, intent(t, i, core.Queue(q)))
	}
	return list
}

func routed(a, b, c *script) core.Executor {
	return compose.Route(compose.ByQueue, map[string]core.Executor{"a": a.Execute, "b": b.Execute}, c.Execute)
}

func TestRouteMakesOneCallPerDestinationInOrder(t *testing.T) {
	t.Parallel()
	a, b, c := scripted(), scripted(), scripted()
	if err := routed(a, b, c)(t.Context(), mixed(t)...); err != nil {
		t.Fatal(err)
	}
	wantSent(t, "a", a, []int{0, 2})
	wantSent(t, "b", b, []int{1, 4})
	wantSent(t, "c", c, []int{3})
}

func TestPartsAfterAFailedOneAreNotSent(t *testing.T) {
	t.Parallel()
	for _, failed := range []core.State{core.Rejected, core.NotSent, core.Unknown, core.Failed} {
		a, b, c := scripted(), scripted(states(core.Accepted, failed)), scripted()
		list := mixed(t)
		err := routed(a, b, c)(t.Context(), list...)
		wantStates(t, err, list, core.Accepted, core.Accepted, core.Accepted, core.NotSent, failed)
		wantErrorIs(t, outcomes(t, err, list)[3].Err, core.ErrNotSent)
		wantSent(t, "c", c)
	}
}

func TestPartsAfterADuplicateAreSent(t *testing.T) {
	t.Parallel()
	a, b, c := scripted(states(core.Accepted, core.Duplicate)), scripted(), scripted()
	list := mixed(t)
	err := routed(a, b, c)(t.Context(), list...)
	wantStates(t, err, list, core.Accepted, core.Accepted, core.Duplicate, core.Accepted, core.Accepted)
	wantErrorIs(t, err, core.ErrDuplicate)
}

func TestPartsAfterTheContextEndedAreNotSent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	a, b, c := scripted(func(context.Context, []core.Intent) error { cancel(); return nil }), scripted(), scripted()
	list := mixed(t)
	err := routed(a, b, c)(ctx, list...)
	wantStates(t, err, list, core.Accepted, core.NotSent, core.Accepted, core.NotSent, core.NotSent)
	wantErrorIs(t, err, context.Canceled)
	wantSent(t, "b", b)
}

func TestContextErrorOfAPartIsFoundInEveryState(t *testing.T) {
	t.Parallel()
	for _, worst := range []core.State{core.Rejected, core.Unknown, core.Failed} {
		ctx, cancel := context.WithCancel(t.Context())
		a := scripted(func(_ context.Context, list []core.Intent) error {
			cancel()
			return states(core.Accepted, worst)(ctx, list)
		})
		list := mixed(t)
		err := routed(a, scripted(), scripted())(ctx, list...)
		wantStates(t, err, list, core.Accepted, core.NotSent, worst, core.NotSent, core.NotSent)
		wantErrorIs(t, err, context.Canceled)
		for i, o := range outcomes(t, err, list)[1:] {
			wantErrorIs(t, o.Err, context.Canceled)
			if i != 1 {
				wantErrorIs(t, o.Err, core.ErrEarlierFailed)
			}
		}
	}
}

func TestUnknownRouteRefusesTheCall(t *testing.T) {
	t.Parallel()
	a := scripted()
	exec := compose.Route(compose.ByQueue, map[string]core.Executor{"a": a.Execute}, nil)
	list := []core.Intent{intent(t, 0, core.Queue("a")), intent(t, 1, core.Queue("nowhere")), intent(t, 2)}
	err := exec(t.Context(), list...)
	wantStates(t, err, list, core.NotSent, core.Rejected, core.Rejected)
	wantErrorIs(t, outcomes(t, err, list)[1].Err, core.ErrInvalid)
	wantSent(t, "a", a)
}

func TestRouteByTaskAndByAFunctionOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := scripted()
	to := map[string]core.Executor{"test.task": s.Execute}
	if err := compose.Route(compose.ByTask, to, nil)(t.Context(), intent(t, 1)); err != nil {
		t.Error(err)
	}
	delete(to, "test.task") // the map was copied
	own := compose.Route(func(in core.Intent) string { return in.Headers().Get("Tenant") },
		map[string]core.Executor{"acme": s.Execute}, nil)
	if err := own(t.Context(), intent(t, 2, core.Header("Tenant", "acme"))); err != nil {
		t.Error(err)
	}
	wantSent(t, "the executor", s, []int{1}, []int{2})
}

func TestPanicOfTheRouteFunctionRejectsTheIntent(t *testing.T) {
	t.Parallel()
	s := scripted()
	exec := compose.Route(func(in core.Intent) string {
		if in.Options.Queue == "bad" {
			panic("no key")
		}
		return ""
	}, nil, s.Execute)
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Queue("bad"))}
	err := exec(t.Context(), list...)
	wantStates(t, err, list, core.NotSent, core.Rejected)
	var p *core.PanicError
	if !errors.As(outcomes(t, err, list)[1].Err, &p) {
		t.Errorf("want the panic: %v", err)
	}
	wantSent(t, "the executor", s)
}
