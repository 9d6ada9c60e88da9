package compose_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// quick retries at once.
var quick = compose.Retry{Backoff: core.Fixed(time.Nanosecond)}

func TestRetrySendsAgainOnlyWhatIsUndecided(t *testing.T) {
	t.Parallel()
	s := scripted(
		states(core.Accepted, core.NotSent, core.Duplicate, core.Unknown, core.Rejected, core.Failed),
		states(core.Unknown, core.Accepted, core.Accepted),
	)
	list := intents(t, 6)
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantSent(t, "the executor", s, []int{0, 1, 2, 3, 4, 5}, []int{1, 3, 5}, []int{1})
	wantStates(t, err, list, core.Accepted, core.Accepted, core.Duplicate, core.Accepted, core.Rejected, core.Accepted)
	if s.calls[0][3].ID != s.calls[1][1].ID {
		t.Error("an intent was sent again under another ID")
	}
}

func TestRetryOnlyNotSentLeavesWhatMayBeStored(t *testing.T) {
	t.Parallel()
	s := scripted(
		states(core.NotSent, core.Unknown, core.Failed, core.NotSent),
		states(core.Unknown, core.NotSent),
		states(core.Accepted),
	)
	only := quick
	only.OnlyNotSent = true
	list := intents(t, 4)
	err := compose.WithRetry(s.Execute, only)(t.Context(), list...)
	wantSent(t, "the executor", s, []int{0, 1, 2, 3}, []int{0, 3}, []int{3})
	wantStates(t, err, list, core.Unknown, core.Unknown, core.Failed, core.Accepted)

	plain := scripted(fails(errBackend))
	err = compose.WithRetry(plain.Execute, only)(t.Context(), list[0])
	wantSent(t, "an executor with a plain error", plain, []int{0})
	wantStates(t, err, list[:1], core.Unknown)
}

func TestRetryEndsAfterTheLastAttemptWithTheLastError(t *testing.T) {
	t.Parallel()
	last := errors.New("last")
	s := scripted(fails(errBackend), fails(errBackend), fails(last))
	list := intents(t, 2)
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.Unknown, core.Unknown)
	wantErrorIs(t, err, last)
	wantErrorIsNot(t, err, errBackend)
	wantSent(t, "the executor", s, []int{0, 1}, []int{0, 1}, []int{0, 1})
}

func TestRetryDoesNotRepeatAPermanentFailure(t *testing.T) {
	t.Parallel()
	permanent := worker.Permanent(errBackend)
	s := scripted(func(_ context.Context, in []core.Intent) error {
		return core.Combine([]core.Outcome{{ID: in[0].ID, State: core.Failed, Err: permanent}})
	})
	list := intents(t, 1)
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.Failed)
	wantErrorIs(t, err, permanent)
	wantSent(t, "the executor", s, []int{0})
}

func TestRetryDoesNotRunAJobAgainThatHasUsedUpItsAttempts(t *testing.T) {
	t.Parallel()
	s := scripted(states(core.Failed, core.Failed, core.NotSent), states(core.Failed, core.Accepted))
	list := []core.Intent{intent(t, 0, core.MaxAttempts(5)), intent(t, 1), intent(t, 2, core.MaxAttempts(5))}
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.Failed, core.Accepted, core.Accepted)
	wantSent(t, "the executor", s, []int{0, 1, 2}, []int{1, 2}, []int{1})
}

// The default options of a task count as well.
func TestRetryOfAnExecutorInThisProcessRunsAJobMaxAttemptsTimes(t *testing.T) {
	t.Parallel()
	runs := 0
	fails := core.DeclareTask[int]("test.fails", core.MaxAttempts(5))
	reg, err := worker.NewRegistry(worker.Handle(fails, func(context.Context, int) error { runs++; return errBackend }))
	if err != nil {
		t.Fatal(err)
	}
	exec := func(ctx context.Context, list ...core.Intent) error {
		d := worker.FirstDelivery(&list[0])
		for ; ; d.Attempt++ {
			if v := reg.Perform(ctx, d); v.Action != worker.Retry {
				return core.Combine([]core.Outcome{list[0].Outcome(core.Failed, v.Err)})
			}
		}
	}
	in, err := fails.Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	wantErrorIs(t, compose.WithRetry(exec, quick)(t.Context(), in), errBackend)
	if runs != 5 {
		t.Errorf("the job ran %d times, want 5", runs)
	}
}

func TestRetryDoesNotRepeatWhatAnErrorCallsFinal(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"permanent": worker.Permanent(errBackend), "malformed": fmt.Errorf("decoding: %w", core.ErrMalformed),
	} {
		for _, state := range []core.State{core.Failed, core.Unknown, core.NotSent} {
			s := scripted(always(state, err))
			list := intents(t, 1)
			got := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
			wantStates(t, got, list, state)
			wantErrorIs(t, got, err)
			if len(s.sent()) != 1 {
				t.Errorf("%s, %v: sent %d times", name, state, len(s.sent()))
			}
		}
	}
}

func TestRetryDoesNotSendHalfOfARefusedCall(t *testing.T) {
	t.Parallel()
	s := scripted(states(core.NotSent, core.Rejected, core.NotSent))
	list := intents(t, 3)
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.NotSent, core.Rejected, core.NotSent)
	wantSent(t, "the executor", s, []int{0, 1, 2})
}

func TestRetryOfWhatMayBeStored(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		second answer
		want   core.State
	}{
		"then a duplicate is accepted":                 {states(core.Duplicate), core.Accepted},
		"then accepted is accepted":                    {states(core.Accepted), core.Accepted},
		"then not sent is still unknown":               {fails(core.ErrUnavailable), core.Unknown},
		"then rejected is still unknown":               {fails(core.ErrTooLarge), core.Unknown},
		"then failed is still unknown":                 {states(core.Failed), core.Unknown},
		"then a call without an outcome still unknown": {fails(&core.DispatchError{}), core.Unknown},
	} {
		for kind, opt := range map[string][]core.Option{
			"generated ID": nil, "chosen ID": {core.ID("mine")}, "unique key": {core.Unique("mine")},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				s := scripted(fails(errBackend), tt.second)
				list := []core.Intent{intent(t, 0, opt...)}
				err := compose.WithRetry(s.Execute, compose.Retry{Attempts: 2, Backoff: core.Fixed(1)})(t.Context(), list...)
				wantStates(t, err, list, tt.want)
				if tt.want == core.Unknown {
					wantErrorIs(t, err, core.ErrUnknownOutcome)
					wantErrorIsNot(t, err, core.ErrNotSent)
					wantErrorIsNot(t, err, core.ErrTooLarge)
				}
			})
		}
	}
}

func TestRetryKeepsAnEarlierFailureThatCouldNotBeRepeated(t *testing.T) {
	t.Parallel()
	s := scripted(states(core.Failed), fails(core.ErrClosed), fails(core.ErrClosed))
	list := intents(t, 1)
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.Failed)
	wantErrorIs(t, err, errBackend)
}

func TestRetryDuplicateOfAnotherProducerStaysOne(t *testing.T) {
	t.Parallel()
	s := scripted(states(core.NotSent), states(core.Duplicate))
	list := []core.Intent{intent(t, 0, core.ID("theirs"))}
	err := compose.WithRetry(s.Execute, quick)(t.Context(), list...)
	wantStates(t, err, list, core.Duplicate)
	wantErrorIs(t, err, core.ErrDuplicate)
}

func TestRetryWaitsLongerEachTimeWithJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begun := time.Now()
		exec := compose.WithRetry(func(context.Context, ...core.Intent) error {
			at = append(at, time.Since(begun))
			return core.ErrUnavailable
		}, compose.Retry{Attempts: 5, Backoff: core.Exponential(time.Second, 3*time.Second)})
		_ = exec(t.Context(), intents(t, 1)...)
		if len(at) != 5 {
			t.Fatalf("%d attempts, want 5", len(at))
		}
		for i, full := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			if wait := at[i+1] - at[i]; wait < full/2 || wait > full {
				t.Errorf("wait %d was %v, want %v to %v", i+1, wait, full/2, full)
			}
		}
	})
}

func TestZeroRetryIsThreeAttemptsWithinHalfASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scripted(fails(errBackend), fails(errBackend), fails(errBackend))
		begun := time.Now()
		_ = compose.WithRetry(s.Execute, compose.Retry{})(t.Context(), intents(t, 1)...)
		wantSent(t, "the executor", s, []int{0}, []int{0}, []int{0})
		if took := time.Since(begun); took < 150*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("took %v, want 150ms to 300ms", took)
		}
	})
}

func TestRetryReturnsAtOnceWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]core.State{"not sent": core.NotSent, "unknown": core.Unknown, "failed": core.Failed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cause := errors.New("request gave up")
				ctx, cancel := context.WithCancelCause(t.Context())
				s := scripted(states(core.Accepted, state))
				time.AfterFunc(time.Minute, func() { cancel(cause) })
				list, begun := intents(t, 2), time.Now()
				err := compose.WithRetry(s.Execute, compose.Retry{Backoff: core.Fixed(time.Hour)})(ctx, list...)
				if took := time.Since(begun); took != time.Minute {
					t.Errorf("took %v, want a minute", took)
				}
				wantStates(t, err, list, core.Accepted, state)
				wantErrorIs(t, err, context.Canceled)
				wantErrorIs(t, err, cause)
				wantErrorIs(t, err, errBackend)
			})
		})
	}
}

func TestContextErrorOfAWaitIsFoundInEveryState(t *testing.T) {
	t.Parallel()
	for _, worst := range []core.State{core.Rejected, core.Failed} {
		ctx, cancel := context.WithCancel(t.Context())
		s := scripted(func(ctx context.Context, list []core.Intent) error {
			cancel()
			return states(core.Accepted, worst, core.NotSent)(ctx, list)
		})
		list := []core.Intent{intent(t, 0), intent(t, 1, core.MaxAttempts(1)), intent(t, 2)}
		err := compose.WithRetry(s.Execute, quick)(ctx, list...)
		wantStates(t, err, list, core.Accepted, worst, core.NotSent)
		wantErrorIs(t, err, context.Canceled)
	}
}

func TestRetryDoesNotWaitWhenTheContextEndedDuringTheCall(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := scripted(func(context.Context, []core.Intent) error { cancel(); return errBackend })
	list := intents(t, 1)
	err := compose.WithRetry(s.Execute, compose.Retry{
		OnRetry: func(context.Context, int, time.Duration, error) { t.Error("OnRetry was called without a retry") },
	})(ctx, list...)
	wantStates(t, err, list, core.Unknown)
	wantErrorIs(t, err, context.Canceled)
	wantSent(t, "the executor", s, []int{0})
}

func TestOnRetryGetsWhatWillBeSentAgain(t *testing.T) {
	t.Parallel()
	type retry struct {
		attempt int
		states  []core.State
	}
	var got []retry
	s := scripted(states(core.Accepted, core.NotSent, core.Unknown), states(core.Accepted, core.Unknown))
	r := quick
	r.OnRetry = func(_ context.Context, attempt int, wait time.Duration, err error) {
		var de *core.DispatchError
		if !errors.As(err, &de) || wait < 0 || wait > time.Nanosecond {
			t.Errorf("wait %v, error %v", wait, err)
			return
		}
		one := retry{attempt: attempt}
		for _, o := range de.Outcomes {
			one.states = append(one.states, o.State)
		}
		got = append(got, one)
	}
	if err := compose.WithRetry(s.Execute, r)(t.Context(), intents(t, 3)...); err != nil {
		t.Error(err)
	}
	want := []retry{{1, []core.State{core.NotSent, core.Unknown}}, {2, []core.State{core.Unknown}}}
	if !slices.EqualFunc(got, want, func(a, b retry) bool { return a.attempt == b.attempt && slices.Equal(a.states, b.states) }) {
		t.Errorf("OnRetry got %v, want %v", got, want)
	}
}

func TestPanicOfOnRetryKeepsTheOutcome(t *testing.T) {
	logged := captureDefaultLog(t)
	s := scripted(fails(errBackend))
	r := quick
	r.OnRetry = func(context.Context, int, time.Duration, error) { panic("hook") }
	if err := compose.WithRetry(s.Execute, r)(t.Context(), intents(t, 1)...); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "OnRetry panicked") {
		t.Errorf("the panic is not logged: %q", logged)
	}
}
