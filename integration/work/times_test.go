package work_test

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// soon sends a job through the schedule, even on a slow machine.
var soon = core.Delay(3 * time.Second)

func maxAttempts(w *testEnv) {
	w.serve(func(context.Context, string) error { return trial.ErrDeclined })
	total := 0
	for n := 1; n <= 5; n++ { // beyond the library's own limit of 4
		if n == 4 {
			continue
		}
		id := string(rune('a' + n))
		w.Want("accepted", w.Intent(id, core.ID(id), core.MaxAttempts(n), core.Backoff(core.Fixed(time.Millisecond))))
		w.awaitPlace(id, "dead")
		runs := w.Await(total + n)[total:]
		total += n
		for i, r := range runs {
			if r.Arg != id || r.Job.Attempt != i+1 || r.Job.MaxAttempts != n || len(runs) != n {
				w.Errorf("run %d of %d: %+v", i+1, n, r)
			}
		}
	}
	w.Want("accepted", w.Intent("unset", core.ID("unset"), core.Backoff(core.Fixed(time.Millisecond))))
	for _, r := range w.Await(total + 2)[total:] {
		if r.Job.MaxAttempts != core.DefaultMaxAttempts {
			w.Errorf("%+v", r)
		}
	}
}

func snoozes(w *testEnv) {
	w.serve(func(_ context.Context, arg string) error {
		if len(w.Await(1)) < 4 {
			return worker.Snooze(300 * time.Millisecond)
		}
		return nil
	})
	w.Want("accepted", w.Intent("patient", core.ID("x"), core.MaxAttempts(1))) // in its last attempt too
	runs := w.Await(4)
	for i, r := range runs {
		if r.Job.Attempt != 1 {
			w.Errorf("run %d is attempt %d", i+1, r.Job.Attempt)
		}
		if i > 0 && r.Began.Sub(runs[i-1].Began) < 300*time.Millisecond {
			w.Errorf("run %d after %v", i+1, r.Began.Sub(runs[i-1].Began))
		}
	}
	w.awaitPlace("x", "gone")
}
