package work_test

import (
	"context"
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
)

// soon sends a job through the schedule, even on a slow machine.
var soon = core.Delay(3 * time.Second)

func delayIsNeverEarly(w *world) {
	w.serve(succeed)
	due := map[string]time.Time{}
	var intents []core.Intent
	for i := range 10 {
		in := w.intent("", core.Delay(time.Duration(i)*137*time.Millisecond+time.Millisecond))
		due[in.ID] = in.Options.At
		intents = append(intents, in)
	}
	w.must(w.exec.Execute(w.ctx, intents[0]))
	w.must(w.exec.Execute(w.ctx, intents[1:]...))
	for _, r := range w.await(len(intents)) {
		if early := due[r.job.ID].Sub(r.began); early > 0 {
			w.Errorf("a job ran %v early", early)
		}
	}
}

func backoffIsNeverEarly(w *world) {
	var ended time.Time
	policy := core.Exponential(700*time.Millisecond, time.Minute)
	w.serve(func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		if job.Attempt > 1 {
			if gap := time.Since(ended); gap < policy.Wait(job.Attempt-1) {
				w.Errorf("attempt %d after %v", job.Attempt, gap)
			}
		}
		ended = time.Now()
		return errDeclined
	})
	w.want("accepted", w.intent("", core.ID("x"), core.MaxAttempts(3), core.Backoff(policy)))
	for i, r := range w.await(3) {
		if r.job.Attempt != i+1 || r.job.MaxAttempts != 3 {
			w.Errorf("run %d is attempt %d of %d", i+1, r.job.Attempt, r.job.MaxAttempts)
		}
	}
	w.awaitPlace("x", "dead")
}

func timeouts(w *world) {
	limited := make(chan error, 2)
	w.serve(func(ctx context.Context, arg string) error {
		if arg == "limited" {
			<-ctx.Done()
			limited <- context.Cause(ctx)
		}
		return nil
	})
	w.want("accepted", w.intent("unlimited"))
	if limit := w.await(1)[0].limit; !limit.IsZero() {
		w.Errorf("a job without time-out has until %v", limit)
	}
	for n, d := range []time.Duration{50 * time.Millisecond, time.Second} {
		w.want("accepted", w.intent("limited", core.Timeout(d), core.MaxAttempts(1)))
		if err := receive(w, limited); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("cause %v", err)
		}
		if r := w.await(n + 2)[n+1]; r.limit.Sub(r.began) > d {
			w.Errorf("a time-out of %v became %v", d, r.limit.Sub(r.began))
		}
	}
}

func deadlines(w *world) {
	open := make(chan struct{})
	w.serve(func(_ context.Context, arg string) error {
		if arg == "gate" {
			<-open
		}
		return errDeclined
	})
	for range 4 { // as many as there are workers
		w.want("accepted", w.intent("gate", core.MaxAttempts(1)))
	}
	w.await(4)
	end := time.Now().Add(300 * time.Millisecond)
	w.want("accepted", w.intent("late", core.Deadline(end), core.ID("late")))
	<-time.After(time.Until(end))
	close(open)
	w.awaitPlace("late", "dead")
	// A job that could only be retried after its deadline is not.
	w.want("accepted", w.intent("retried", core.Deadline(time.Now().Add(time.Minute)), core.ID("retried"), core.Backoff(core.Fixed(time.Hour))))
	w.awaitPlace("retried", "dead")
	if runs := w.await(5); len(runs) != 5 || runs[4].arg != "retried" || runs[4].limit.IsZero() {
		w.Errorf("runs %+v", runs)
	}
}

func maxAttempts(w *world) {
	w.serve(func(context.Context, string) error { return errDeclined })
	total := 0
	for n := 1; n <= 5; n++ { // beyond the library's own limit of 4
		if n == 4 {
			continue
		}
		id := string(rune('a' + n))
		w.want("accepted", w.intent(id, core.ID(id), core.MaxAttempts(n), core.Backoff(core.Fixed(time.Millisecond))))
		w.awaitPlace(id, "dead")
		runs := w.await(total + n)[total:]
		total += n
		for i, r := range runs {
			if r.arg != id || r.job.Attempt != i+1 || r.job.MaxAttempts != n || len(runs) != n {
				w.Errorf("run %d of %d: %+v", i+1, n, r)
			}
		}
	}
	// Without a number the library's own holds, for native jobs and for ours.
	w.want("accepted", w.intent("unset", core.ID("unset"), core.Backoff(core.Fixed(time.Millisecond))))
	w.awaitPlace("unset", "dead")
	if runs := w.await(total + 4); len(runs) != total+4 || runs[total].job.MaxAttempts != 4 {
		w.Errorf("%d runs of a job without a number of attempts", len(runs)-total)
	}
}

func snoozes(w *world) {
	w.serve(func(_ context.Context, arg string) error {
		if len(w.await(1)) < 4 {
			return core.Snooze(300 * time.Millisecond)
		}
		return nil
	})
	w.want("accepted", w.intent("patient", core.ID("x"), core.MaxAttempts(1))) // in its last attempt too
	runs := w.await(4)
	for i, r := range runs {
		if r.job.Attempt != 1 {
			w.Errorf("run %d is attempt %d", i+1, r.job.Attempt)
		}
		if i > 0 && r.began.Sub(runs[i-1].began) < 300*time.Millisecond {
			w.Errorf("run %d after %v", i+1, r.began.Sub(runs[i-1].began))
		}
	}
	w.awaitPlace("x", "gone")
}
