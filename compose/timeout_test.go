package compose_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

func TestTimeoutEndsTheContextOfTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list, begun := intents(t, 2), time.Now()
		err := compose.WithTimeout(func(ctx context.Context, _ ...core.Intent) error {
			<-ctx.Done()
			return ctx.Err()
		}, time.Second)(t.Context(), list...)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v, want a second", took)
		}
		wantStates(t, err, list, core.Unknown, core.Unknown)
		wantErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestTimeoutIsFoundBehindAnErrorOfTheBackend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := intents(t, 3)
		slow := scripted(func(ctx context.Context, in []core.Intent) error {
			<-ctx.Done()
			return states(core.Accepted, core.Unknown, core.NotSent)(ctx, in)
		})
		err := compose.WithTimeout(slow.Execute, time.Second)(t.Context(), list...)
		wantStates(t, err, list, core.Accepted, core.Unknown, core.NotSent)
		wantErrorIs(t, err, context.DeadlineExceeded)
		wantErrorIs(t, err, errBackend)
		if !strings.Contains(err.Error(), "WithTimeout limits each call to 1s") {
			t.Errorf("does not say whose limit it was: %v", err)
		}
	})
}

func TestTimeoutErrorIsFoundInEveryState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, worst := range []core.State{core.Rejected, core.Failed} {
			list := intents(t, 4)
			slow := scripted(func(ctx context.Context, in []core.Intent) error {
				<-ctx.Done()
				return states(core.Duplicate, worst, core.NotSent, core.Accepted)(ctx, in)
			})
			err := compose.WithTimeout(slow.Execute, time.Second)(t.Context(), list...)
			wantStates(t, err, list, core.Duplicate, worst, core.NotSent, core.Accepted)
			wantErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

func TestTimeoutAfterADefiniteAnswerIsNotReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := intents(t, 2)
		slow := scripted(func(ctx context.Context, in []core.Intent) error {
			<-ctx.Done()
			return states(core.Accepted, core.Failed)(ctx, in)
		})
		err := compose.WithTimeout(slow.Execute, time.Second)(t.Context(), list...)
		wantStates(t, err, list, core.Accepted, core.Failed)
		wantErrorIsNot(t, err, context.DeadlineExceeded)
	})
}

func TestAnswerInTimeSaysNothingOfTimeouts(t *testing.T) {
	t.Parallel()
	s := scripted(fails(errBackend))
	err := compose.WithTimeout(s.Execute, time.Hour)(t.Context(), intents(t, 1)...)
	wantErrorIsNot(t, err, context.DeadlineExceeded)
}

func TestAcceptedAfterTheTimeoutIsAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		err := compose.WithTimeout(func(context.Context, ...core.Intent) error {
			time.Sleep(time.Minute)
			return nil
		}, time.Second)(t.Context(), intents(t, 1)...)
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRetryAroundTimeoutLimitsEachAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ []core.Intent) error { <-ctx.Done(); return ctx.Err() }
		s := scripted(hang, hang)
		begun := time.Now()
		exec := compose.WithRetry(compose.WithTimeout(s.Execute, time.Second), quick)
		if err := exec(t.Context(), intents(t, 1)...); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun).Round(time.Millisecond); took != 2*time.Second {
			t.Errorf("took %v, want two seconds", took)
		}
	})
}
