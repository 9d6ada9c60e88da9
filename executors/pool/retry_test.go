package poolexec_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

// runsOf runs one job in fake time and returns when its runs began, and its
// verdict.
func runsOf(t *testing.T, fn func(ctx context.Context, run int) error, opts ...core.Option) ([]time.Duration, worker.Verdict) {
	t.Helper()
	over := make(chan worker.Verdict, 1)
	pool := newPool(t, &poolexec.Options{OnDone: func(_ core.Intent, v worker.Verdict) { over <- v }})
	start := time.Now()
	var began []time.Duration
	task := core.NewTask("test.runs", func(ctx context.Context, _ int) error {
		began = append(began, time.Since(start))
		return fn(ctx, len(began))
	})
	mustExecute(t, pool, newIntent(t, task, 0, opts...))
	v := <-over
	mustStop(t, pool)
	return began, v
}

func TestAFailingJobRunsMaxAttemptsTimes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 5} {
		synctest.Test(t, func(t *testing.T) {
			began, v := runsOf(t, func(ctx context.Context, run int) error {
				if job, _ := worker.JobFrom(ctx); job.Attempt != run || job.MaxAttempts != n {
					t.Errorf("run %d: got %+v", run, job)
				}
				return errTest
			}, core.MaxAttempts(n), core.Backoff(core.Fixed(time.Minute)))
			if len(began) != n || v.Action != worker.Dead || !errors.Is(v.Err, errTest) {
				t.Errorf("%d attempts: runs at %v, %v", n, began, v)
			}
		})
	}
}

func TestBackoffIsTheJobsOwnOrTheDefault(t *testing.T) {
	t.Parallel()
	fail := func(context.Context, int) error { return errTest }
	synctest.Test(t, func(t *testing.T) {
		began, _ := runsOf(t, fail, core.MaxAttempts(4), core.Backoff(core.Exponential(time.Minute, 3*time.Minute)))
		if got, want := fmt.Sprint(began), "[0s 1m0s 3m0s 6m0s]"; got != want {
			t.Errorf("runs at %s, want %s", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began, _ := runsOf(t, fail)
		if len(began) != 25 || began[1] != time.Second || began[2] != 3*time.Second || began[24]-began[23] != 10*time.Minute {
			t.Errorf("runs at %v", began)
		}
	})
}

func TestPermanentFailuresEndAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, v := runsOf(t, func(context.Context, int) error {
			return fmt.Errorf("twice wrapped: %w", fmt.Errorf("once: %w", worker.Permanent(errTest)))
		})
		if len(began) != 1 || v.Action != worker.Dead {
			t.Errorf("runs at %v, %v", began, v)
		}
	})
}

func TestASnoozeCostsNoAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var attempts []int
		began, v := runsOf(t, func(ctx context.Context, run int) error {
			job, _ := worker.JobFrom(ctx)
			attempts = append(attempts, job.Attempt)
			switch {
			case run%2 == 1:
				return worker.Snooze(time.Hour)
			case run == 2:
				return errTest
			}
			return nil
		}, core.MaxAttempts(2), core.Backoff(core.Fixed(time.Minute)))
		if got, want := fmt.Sprint(began, attempts), "[0s 1h0m0s 1h1m0s 2h1m0s] [1 1 2 2]"; got != want || v.Action != worker.Done {
			t.Errorf("got %s, %v, want %s", got, v, want)
		}
	})
}

func TestAGoexitIsRetriedLikeAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, v := runsOf(t, func(_ context.Context, run int) error {
			if run < 3 {
				goexit()
			}
			return nil
		}, core.Backoff(core.Fixed(time.Hour)))
		if got, want := fmt.Sprint(began), "[0s 1h0m0s 2h0m0s]"; got != want || v.Action != worker.Done {
			t.Errorf("got %s, %v, want %s", got, v, want)
		}
	})
}

func TestDelaysAreKeptToTheNanosecond(t *testing.T) {
	t.Parallel()
	ok := func(context.Context, int) error { return nil }
	for _, d := range []time.Duration{1, time.Millisecond, 1500 * time.Millisecond, time.Hour, 99 * 365 * 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			if began, _ := runsOf(t, ok, core.Delay(d)); len(began) != 1 || began[0] != d {
				t.Errorf("delay of %v: runs at %v", d, began)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		if began, _ := runsOf(t, ok, core.At(time.Now().Add(-time.Hour))); began[0] != 0 {
			t.Errorf("a time that is past: runs at %v", began)
		}
		zone := time.FixedZone("far", -11*3600)
		if began, _ := runsOf(t, ok, core.At(time.Now().Add(time.Hour).In(zone))); began[0] != time.Hour {
			t.Errorf("a time elsewhere: runs at %v", began)
		}
	})
}

func TestDelayedJobsComeInTheOrderOfTheirTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1})
		var l ledger
		task := core.NewTask("test.note", func(_ context.Context, s string) error { l.add(s); return nil })
		at := time.Now().Add(time.Hour)
		for i, d := range []time.Duration{3, 1, 2, 1, 0, 3} {
			mustExecute(t, pool, newIntent(t, task, fmt.Sprintf("%d.%d", d, i), core.At(at.Add(d*time.Minute))))
		}
		time.Sleep(2 * time.Hour)
		mustStop(t, pool)
		if got, want := l.String(), "[0.4 1.1 1.3 2.2 3.0 3.5]"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestAnEarlierJobIsNotHeldUpByALaterOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, nil)
		start := time.Now()
		var l ledger
		task := core.NewTask("test.note", func(context.Context, int) error { l.add(time.Since(start).String()); return nil })
		for _, d := range []time.Duration{3, 1, 2} {
			mustExecute(t, pool, newIntent(t, task, 0, core.Delay(d*time.Hour)))
		}
		time.Sleep(4 * time.Hour)
		if got, want := l.String(), "[1h0m0s 2h0m0s 3h0m0s]"; got != want {
			t.Errorf("runs at %s, want %s", got, want)
		}
	})
}

func TestEveryJobBeginsWithItsFirstAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, nil)
		failing := core.NewTask("test.fails", func(ctx context.Context, _ int) error {
			if job, _ := worker.JobFrom(ctx); job.Attempt < 4 {
				return errTest
			}
			return nil
		}, core.Backoff(core.Fixed(time.Minute)))
		fresh := core.NewTask("test.fresh", func(ctx context.Context, _ int) error {
			if job, _ := worker.JobFrom(ctx); job.Attempt != 1 {
				t.Errorf("first run is attempt %d", job.Attempt)
			}
			return nil
		})
		var first, second []core.Intent
		for i := range 200 { // the second ones take the places of the first
			first = append(first, newIntent(t, failing, i))
			second = append(second, newIntent(t, fresh, i))
		}
		mustExecute(t, pool, first...)
		time.Sleep(time.Hour)
		mustExecute(t, pool, second...)
		mustStop(t, pool)
	})
}

func TestATimeoutBoundsEachAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, v := runsOf(t, func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}, core.Timeout(1500*time.Millisecond), core.MaxAttempts(2), core.Backoff(core.Fixed(time.Minute)))
		if got, want := fmt.Sprint(began), "[0s 1m1.5s]"; got != want || !errors.Is(v.Err, context.DeadlineExceeded) {
			t.Errorf("runs at %s, %v, want %s", got, v, want)
		}
	})
}

func TestNothingStartsAfterTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, v := runsOf(t, func(context.Context, int) error { return errTest },
			core.Deadline(time.Now().Add(150*time.Second)), core.Backoff(core.Fixed(time.Minute)))
		if len(began) != 3 || v.Action != worker.Dead || !errors.Is(v.Err, context.DeadlineExceeded) || !errors.Is(v.Err, errTest) {
			t.Errorf("runs at %v, %v", began, v)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		over := make(chan worker.Verdict, 2)
		pool := newPool(t, &poolexec.Options{Workers: 1, OnDone: func(_ core.Intent, v worker.Verdict) { over <- v }})
		g := newGate()
		mustExecute(t, pool, newIntent(t, g.Task, "holds the worker"))
		mustExecute(t, pool, newIntent(t, g.Task, "late", core.Deadline(time.Now().Add(time.Minute))))
		time.Sleep(2 * time.Minute)
		close(g.open)
		<-over
		if v := <-over; v.Action != worker.Dead || !errors.Is(v.Err, context.DeadlineExceeded) || len(g.entered) != 1 {
			t.Errorf("got %v, %d runs", v, len(g.entered))
		}
	})
}
