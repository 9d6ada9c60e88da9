package asynq_test

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

func deadlines(w *testEnv) {
	trial.DeadlinesAreKept(w.Trial, slots)
	if i := w.info("default", "late"); i.Retried != 0 {
		w.Errorf("the late job was retried %d times", i.Retried)
	}
}

func maxAttempts(w *testEnv) {
	w.serve(func(context.Context, string) error { return trial.ErrDeclined })
	for n := 1; n <= 3; n++ {
		id := string(rune('a' + n))
		w.Want("accepted", w.Intent(id, core.ID(id), core.MaxAttempts(n), core.Backoff(core.Fixed(time.Millisecond))))
		w.Eventually("the job is archived", func() bool { return w.info("default", id).State.String() == "archived" })
		runs := 0
		for _, r := range w.Await(n) {
			if r.Arg == id {
				runs++
			}
		}
		if runs != n {
			w.Errorf("%d runs of %d", runs, n)
		}
	}
}

func snoozes(w *testEnv) {
	w.serve(func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		switch {
		case arg == "patient" && len(w.Await(1)) < 3:
			return worker.Snooze(300 * time.Millisecond)
		case arg == "late" && job.Attempt == job.MaxAttempts:
			return worker.Snooze(time.Hour)
		}
		return nil
	})
	w.Want("accepted", w.Intent("patient", core.MaxAttempts(2)))
	runs := w.Await(3)
	for i, r := range runs {
		if r.Job.Attempt != 1 {
			w.Errorf("run %d is attempt %d", i+1, r.Job.Attempt)
		}
		if i > 0 && r.Began.Sub(runs[i-1].Began) < 300*time.Millisecond {
			w.Errorf("run %d after %v", i+1, r.Began.Sub(runs[i-1].Began))
		}
	}
	w.Want("accepted", w.Intent("late", core.ID("late"), core.MaxAttempts(1)))
	w.awaitState("default", "late", "retry")
	if i := w.info("default", "late"); i.Retried != 0 {
		w.Errorf("the snoozed job was retried %d times", i.Retried)
	}
}
