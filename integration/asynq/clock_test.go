package asynq_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// These tests take minutes and hours of the time of a bubble, which costs nothing. Only looking for work costs real time.

// inBubble runs a check in a bubble, on an embedded server of its own.
func inBubble(t *testing.T, opts *asynqexec.Options, check func(w *testEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var embedded bubbles
		w := setup(t, embedded.open(t, ""), opts)
		w.Ctx = t.Context() // the days of a bubble are short
		check(w)
	})
}

// slowWorker looks for work rarely, and for what is due as often as asynq's default.
var slowWorker = asynqexec.WorkerOptions{
	Concurrency: 4, Logger: slog.New(slog.DiscardHandler),
	Config: asynq.Config{TaskCheckInterval: 15 * time.Second},
}

// maxLate is how late a slow worker may be: a second for the rounding, five for the look for what is due, and asynq looks for
// work at up to one and a half times its interval.
const maxLate = 30 * time.Second

// serveSlowly starts a slow worker.
func (w *testEnv) serveSlowly(fn func(ctx context.Context, arg string) error) {
	w.Helper()
	w.runOn(w.connect(), w.Registry(fn), &slowWorker)
}

func TestADelayOfAnHourIsNeverEarly(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.serveSlowly(trial.Succeed)
		in := w.Intent("later", core.Delay(time.Hour+300*time.Millisecond))
		w.Want("accepted", in)
		if late := w.Await(1)[0].Began.Sub(in.Options.At); late < 0 || late > maxLate {
			w.Errorf("it ran %v after its time", late)
		}
	})
}

func TestABackoffOfAnHourIsKept(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.serveSlowly(func(context.Context, string) error { return trial.ErrDeclined })
		w.Want("accepted", w.Intent("", core.MaxAttempts(2), core.Backoff(core.Fixed(time.Hour))))
		runs := w.Await(2)
		for i := 1; i < len(runs); i++ {
			if gap := runs[i].Began.Sub(runs[i-1].Began); gap < time.Hour || gap > time.Hour+maxLate {
				w.Errorf("attempt %d after %v", i+1, gap)
			}
		}
	})
}

// Without our mapping asynq ends a job that has no time-out after 30 minutes.
func TestAJobWithoutATimeoutMayTakeLong(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.serveSlowly(func(ctx context.Context, _ string) error {
			select {
			case <-time.After(40 * time.Minute):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		w.Want("accepted", w.Intent("", core.ID("long"), core.MaxAttempts(1)))
		w.Await(1)
		time.Sleep(40*time.Minute + time.Second)
		if state := w.state("default", "long"); state != "completed" {
			w.Errorf("the job is %s: %s", state, w.info("default", "long").LastErr)
		}
		if n := len(w.Await(1)); n != 1 { // its lease was kept all the time
			w.Errorf("it ran %d times", n)
		}
	})
}

func TestAnIDIsFreeAgainAfterItsWindow(t *testing.T) {
	t.Parallel()
	inBubble(t, &asynqexec.Options{IDWindow: 10 * time.Minute}, func(w *testEnv) {
		w.serveSlowly(trial.Succeed)
		in := w.Intent("a", core.ID("x"))
		w.Want("accepted", in)
		w.Await(1)
		w.awaitState("default", "x", "completed")
		time.Sleep(10*time.Minute - time.Second)
		w.Want("duplicate", in)
		time.Sleep(time.Minute) // asynq's janitor has come by
		w.Want("accepted", in)
		w.Await(2)
	})
}

// asynq keeps the ID of an archived job for 90 days (hibiken/asynq#492).
func TestAnArchivedJobKeepsItsIDAndNotItsKey(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.serveSlowly(func(context.Context, string) error { return worker.Permanent(trial.ErrDeclined) })
		in := w.Intent("a", core.ID("x"), core.Unique("k"))
		w.Want("accepted", in)
		w.awaitState("default", "x", "archived")
		time.Sleep(20 * time.Minute)
		w.Want("duplicate", in)
		w.Want("accepted", w.Intent("another of the key", core.Unique("k"))) // which is not kept: nobody works on it
	})
}

func TestAnUnknownTaskIsParkedForAnHourAtNoCost(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		w.serveSlowly(trial.Succeed)
		in, err := core.DeclareTask[string]("test.stranger").Intent("", core.ID("x"), core.MaxAttempts(2))
		w.Must(err)
		w.Want("accepted", in)
		time.Sleep(time.Hour)
		if i := w.info("default", "x"); i.Retried != 0 || i.State == asynq.TaskStateArchived {
			w.Errorf("%s, retried %d times", i.State, i.Retried)
		}
	})
}

// A lease lasts 30 seconds. asynq allows 30 more for clocks, and looks every minute.
func TestAJobOfADeadWorkerRunsAgainWithinMinutes(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		wire := newCable()
		rdb := w.connect()
		rdb.AddHook(wire)
		gone := make(chan struct{})
		stopDying := w.runOn(rdb, w.Registry(func(context.Context, string) error {
			<-gone
			return errors.New("nobody hears this")
		}), &slowWorker)
		w.Want("accepted", w.Intent("", core.ID("x"), core.Backoff(core.Fixed(time.Second))))
		w.Await(1)
		wire.cut()
		died := time.Now()
		w.serveSlowly(trial.Succeed)
		again := w.Await(2)[1]
		if took := again.Began.Sub(died); again.Job.Attempt != 2 || took > 2*time.Minute+maxLate {
			w.Errorf("attempt %d after %v", again.Job.Attempt, took)
		}
		close(gone)
		wire.letGo()
		w.Must(stopDying())
		w.awaitState("default", "x", "completed")
	})
}
