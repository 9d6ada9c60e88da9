package compose_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestFallbackTakesOnlyWhatIsSurelyNotStored(t *testing.T) {
	t.Parallel()
	primary := scripted(func(_ context.Context, in []core.Intent) error {
		out := core.OutcomesOf(errBackend, in) // all Unknown
		out[0].State, out[0].Err = core.Accepted, nil
		out[1].State = core.Duplicate
		out[2].State = core.Failed
		out[4].State = core.NotSent
		out[5].State, out[5].Err = core.Rejected, errOption
		out[6].State, out[6].Err = core.Rejected, errTooLarge
		return core.Combine(out)
	})
	secondary := scripted()
	list := intents(t, 7)
	err := compose.WithFallback(primary.Execute, secondary.Execute)(t.Context(), list...)
	wantStates(t, err, list, core.Accepted, core.Duplicate, core.Failed, core.Unknown, core.Accepted, core.Accepted, core.Rejected)
	wantSent(t, "primary", primary, []int{0, 1, 2, 3, 4, 5, 6})
	wantSent(t, "secondary", secondary, []int{4, 5})
}

func TestFallbackWhenPrimaryIsDown(t *testing.T) {
	t.Parallel()
	primary, secondary := scripted(fails(core.ErrUnavailable)), scripted()
	if err := compose.WithFallback(primary.Execute, secondary.Execute)(t.Context(), intents(t, 3)...); err != nil {
		t.Error(err)
	}
	wantSent(t, "secondary", secondary, []int{0, 1, 2})
}

func TestFallbackLeavesToPrimaryWhatItSupports(t *testing.T) {
	t.Parallel()
	got := scripted()
	primary := adapter.Guard(core.Capabilities{Executor: "primary"}, got.Execute)
	secondary := scripted()
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Delay(time.Hour)), intent(t, 2)}
	if err := compose.WithFallback(primary, secondary.Execute)(t.Context(), list...); err != nil {
		t.Error(err)
	}
	wantSent(t, "primary", got, []int{0, 2})
	wantSent(t, "secondary", secondary, []int{1})
}

func TestFallbackOfARefusedCallWhosePrimaryIsDown(t *testing.T) {
	t.Parallel()
	primary := adapter.Guard(core.Capabilities{Executor: "primary"}, scripted(fails(core.ErrUnavailable)).Execute)
	secondary := scripted()
	list := []core.Intent{intent(t, 0), intent(t, 1, core.Delay(time.Hour)), intent(t, 2)}
	if err := compose.WithFallback(primary, secondary.Execute)(t.Context(), list...); err != nil {
		t.Error(err)
	}
	wantSent(t, "secondary", secondary, []int{0, 1, 2})
}

func TestFallbackDoesNotSendHalfOfACallRefusedForAnotherReason(t *testing.T) {
	t.Parallel()
	primary := scripted(func(_ context.Context, in []core.Intent) error {
		return core.Combine([]core.Outcome{
			{ID: in[0].ID, State: core.NotSent, Err: core.ErrNotSent},
			{ID: in[1].ID, State: core.Rejected, Err: errTooLarge},
			{ID: in[2].ID, State: core.Rejected, Err: errOption},
		})
	})
	secondary := scripted()
	list := intents(t, 3)
	err := compose.WithFallback(primary.Execute, secondary.Execute)(t.Context(), list...)
	wantStates(t, err, list, core.NotSent, core.Rejected, core.Rejected)
	wantSent(t, "primary", primary, []int{0, 1, 2})
	wantSent(t, "secondary", secondary)
}

func TestFallbackReportsBothReasons(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	primary := scripted(func(_ context.Context, in []core.Intent) error {
		return core.Combine([]core.Outcome{{ID: in[0].ID, State: core.NotSent, Err: errors.Join(down, core.ErrUnavailable)}})
	})
	secondary := scripted(fails(errBackend))
	list := intents(t, 1)
	err := compose.WithFallback(primary.Execute, secondary.Execute)(t.Context(), list...)
	wantStates(t, err, list, core.Unknown)
	wantErrorIs(t, err, errBackend)
	wantErrorIs(t, err, down)
	wantErrorIsNot(t, err, core.ErrNotSent) // it may be stored, on secondary
	wantErrorIsNot(t, err, core.ErrUnavailable)
}

// A circuit breaker is a function around primary that makes no call while it is
// open. What it wraps decides.
func TestFallbackBehindACircuitBreaker(t *testing.T) {
	t.Parallel()
	errOpen := errors.New("circuit breaker is open")
	for name, tt := range map[string]struct {
		err  error
		want core.State
	}{
		"that says the backend is unavailable":      {fmt.Errorf("%w: %w", errOpen, core.ErrUnavailable), core.Accepted},
		"that says nothing was sent":                {fmt.Errorf("%w: %w", errOpen, core.ErrNotSent), core.Accepted},
		"that does not say so":                      {errOpen, core.Unknown},
		"that passes on a call without an answer":   {fmt.Errorf("breaker: %w", &core.DispatchError{}), core.Unknown},
		"that passes on that it may have been sent": {errors.Join(core.ErrUnavailable, core.ErrUnknownOutcome), core.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secondary := scripted()
			list := intents(t, 2)
			err := compose.WithFallback(scripted(fails(tt.err)).Execute, secondary.Execute)(t.Context(), list...)
			wantStates(t, err, list, tt.want, tt.want)
		})
	}
}

func TestContextErrorWithoutAFallbackIsFoundInEveryState(t *testing.T) {
	t.Parallel()
	for _, worst := range []core.State{core.Rejected, core.Failed, core.Unknown} {
		ctx, cancel := context.WithCancel(t.Context())
		primary := scripted(func(ctx context.Context, list []core.Intent) error {
			cancel()
			return states(core.Accepted, worst, core.NotSent)(ctx, list)
		})
		secondary := scripted()
		list := intents(t, 3)
		err := compose.WithFallback(primary.Execute, secondary.Execute)(ctx, list...)
		wantStates(t, err, list, core.Accepted, worst, core.NotSent)
		wantErrorIs(t, err, context.Canceled)
		wantSent(t, "secondary", secondary)
	}
}

func TestNoFallbackOfARefusedCallOnceTheContextHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	primary := scripted(func(ctx context.Context, list []core.Intent) error {
		cancel()
		return states(core.NotSent, core.Rejected)(ctx, list)
	})
	secondary := newAsked(few("secondary"))
	list := intents(t, 2)
	err := compose.WithFallback(primary.Execute, secondary.Execute)(ctx, list...)
	wantStates(t, err, list, core.NotSent, core.Rejected)
	wantErrorIs(t, err, context.Canceled)
	wantErrorIs(t, err, core.ErrUnsupported)
	wantSent(t, "primary", primary, []int{0, 1})
	if questions, calls, _ := secondary.reset(); questions+calls > 0 {
		t.Error("secondary was asked or called")
	}
}

func TestNoFallbackOnceTheContextHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	primary := scripted(func(context.Context, []core.Intent) error { cancel(); return core.ErrUnavailable })
	secondary := scripted()
	list := intents(t, 2)
	err := compose.WithFallback(primary.Execute, secondary.Execute)(ctx, list...)
	wantStates(t, err, list, core.NotSent, core.NotSent)
	wantErrorIs(t, err, context.Canceled)
	wantErrorIs(t, err, core.ErrUnavailable)
	wantSent(t, "secondary", secondary)
}
