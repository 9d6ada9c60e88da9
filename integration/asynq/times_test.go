package asynq_test

import (
	"context"
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
)

var errDeclined = errors.New("declined")

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
	w.serve(func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		if job.Attempt > 1 {
			if gap := time.Since(ended); gap < core.Exponential(700*time.Millisecond, time.Minute).Wait(job.Attempt-1) {
				w.Errorf("attempt %d after %v", job.Attempt, gap)
			}
		}
		ended = time.Now()
		return errDeclined
	})
	w.want("accepted", w.intent("", core.MaxAttempts(3), core.Backoff(core.Exponential(700*time.Millisecond, time.Minute))))
	for i, r := range w.await(3) {
		if r.job.Attempt != i+1 || r.job.MaxAttempts != 3 {
			w.Errorf("run %d is attempt %d of %d", i+1, r.job.Attempt, r.job.MaxAttempts)
		}
	}
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
		if err := <-limited; !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("cause %v", err)
		}
		// asynq's own limit, a second here, began a moment before.
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
	for range 4 { // as many as the server's slots
		w.want("accepted", w.intent("gate", core.MaxAttempts(1)))
	}
	w.await(4)
	end := time.Now().Add(300 * time.Millisecond)
	late := w.intent("late", core.Deadline(end), core.ID("late"))
	w.want("accepted", late)
	<-time.After(time.Until(end))
	close(open)
	w.eventually("the late job is archived", func() bool { return w.info("default", "late").State.String() == "archived" })
	if i := w.info("default", "late"); i.Retried != 0 {
		w.Errorf("the late job was retried %d times", i.Retried)
	}
	// A job that could only be retried after its deadline is not.
	w.want("accepted", w.intent("retried", core.Deadline(time.Now().Add(time.Minute)), core.ID("retried"), core.Backoff(core.Fixed(time.Hour))))
	w.eventually("the job without time for a retry is archived", func() bool { return w.info("default", "retried").State.String() == "archived" })
	if runs := w.await(5); len(runs) != 5 || runs[4].arg != "retried" || runs[4].limit.IsZero() {
		w.Errorf("runs %+v", runs)
	}
}

func maxAttempts(w *world) {
	w.serve(func(context.Context, string) error { return errDeclined })
	for n := 1; n <= 3; n++ {
		id := string(rune('a' + n))
		w.want("accepted", w.intent(id, core.ID(id), core.MaxAttempts(n), core.Backoff(core.Fixed(time.Millisecond))))
		w.eventually("the job is archived", func() bool { return w.info("default", id).State.String() == "archived" })
		runs := 0
		for _, r := range w.await(n) {
			if r.arg == id {
				runs++
			}
		}
		if runs != n {
			w.Errorf("%d runs of %d", runs, n)
		}
	}
}

func snoozes(w *world) {
	w.serve(func(ctx context.Context, arg string) error {
		job, _ := core.JobFrom(ctx)
		switch {
		case arg == "patient" && len(w.await(1)) < 3:
			return core.Snooze(300 * time.Millisecond)
		case arg == "late" && job.Attempt == job.MaxAttempts:
			return core.Snooze(time.Hour)
		}
		return nil
	})
	w.want("accepted", w.intent("patient", core.MaxAttempts(2)))
	runs := w.await(3)
	for i, r := range runs {
		if r.job.Attempt != 1 {
			w.Errorf("run %d is attempt %d", i+1, r.job.Attempt)
		}
		if i > 0 && r.began.Sub(runs[i-1].began) < 300*time.Millisecond {
			w.Errorf("run %d after %v", i+1, r.began.Sub(runs[i-1].began))
		}
	}
	w.want("accepted", w.intent("late", core.ID("late"), core.MaxAttempts(1)))
	w.eventually("the job is archived", func() bool { return w.info("default", "late").State.String() == "archived" })
	if text := w.info("default", "late").LastErr; text == "" {
		w.Error("the archive does not say why")
	}
}
