package asynq_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// answers lists what a handler can answer, and the job's state after it.
var answers = map[string]struct {
	err     error
	state   string
	retried int
}{
	"done":      {nil, "completed", 0},
	"permanent": {worker.Permanent(trial.ErrDeclined), "archived", 0},
	"snooze":    {worker.Snooze(time.Hour), "retry", 0},
	"fails":     {trial.ErrDeclined, "retry", 1},
}

func TestAnAnswerAfterTheTimeoutCountsAndNoTwoRunsOverlap(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		var running, most atomic.Int64
		w.runOn(w.connect(), w.Registry(func(_ context.Context, arg string) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(1600 * time.Millisecond)
			return answers[arg].err
		}), &asynqexec.WorkerOptions{Concurrency: 1, Logger: slog.New(slog.DiscardHandler)})
		for name := range answers {
			w.Want("accepted", w.Intent(name, core.ID(name), core.Timeout(time.Second), core.Backoff(core.Fixed(time.Hour))))
		}
		time.Sleep(5 * time.Minute)
		for name, want := range answers {
			if i := w.info("default", name); i.State.String() != want.state || i.Retried != want.retried {
				w.Errorf("%s: %s, retried %d times: %s", name, i.State, i.Retried, i.LastErr)
			}
		}
		if n := len(w.Await(len(answers))); n != len(answers) || most.Load() != 1 {
			w.Errorf("%d runs, %d at a time", n, most.Load())
		}
	})
}

func TestAJobWithoutMaxAttemptsRuns25Times(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		o := slowWorker
		o.Config.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return time.Second }
		w.runOn(w.connect(), w.Registry(func(context.Context, string) error { return trial.ErrDeclined }), &o)
		w.Want("accepted", w.Intent("", core.ID("x")))
		time.Sleep(time.Hour) // a run takes half a minute
		if state := w.state("default", "x"); state != "archived" {
			w.Errorf("the job is %s", state)
		}
		if runs := w.Await(25); len(runs) != 25 || runs[24].Job.Attempt != 25 || runs[24].Job.MaxAttempts != 25 {
			w.Errorf("%d runs", len(runs))
		}
	})
}

// The Inspector's CancelProcessing ends the run's context. The answer decides, not asynq.
func TestACanceledRunsAnswerCounts(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	ended := make(chan error, len(answers))
	w.serve(func(ctx context.Context, arg string) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return answers[arg].err
	})
	for name, want := range answers {
		w.Want("accepted", w.Intent(name, core.ID(name), core.Backoff(core.Fixed(time.Hour))))
		w.awaitState("default", name, "active")
		w.Eventually(name+" is canceled", func() bool {
			w.Must(w.inspector().CancelProcessing(name))
			return len(ended) > 0
		})
		if cause := <-ended; !errors.Is(cause, worker.ErrCanceled) {
			t.Errorf("%s: cause %v", name, cause)
		}
		w.awaitState("default", name, want.state)
		if i := w.info("default", name); i.Retried != want.retried {
			t.Errorf("%s: retried %d times", name, i.Retried)
		}
	}
	if n := len(w.Await(len(answers))); n != len(answers) {
		t.Errorf("%d runs", n)
	}
}

func TestAStoppedWorkerPutsItsJobsBackAtNoCost(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	began := make(chan string, 3)
	stop := w.run(w.Registry(func(ctx context.Context, arg string) error {
		began <- arg
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), worker.ErrStopping) {
			t.Errorf("cause %v", context.Cause(ctx))
		}
		return ctx.Err()
	}), &asynqexec.WorkerOptions{DrainTimeout: 50 * time.Millisecond})
	w.Want("accepted", w.Intent("first attempt", core.ID("first"), core.MaxAttempts(3)))
	w.Want("accepted", w.Intent("only attempt", core.ID("only"), core.MaxAttempts(1)))
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.Ctx, asynq.NewTask("test.work", []byte(`"native"`)), asynq.TaskID("native"), asynq.MaxRetry(0), asynq.Retention(time.Hour))
	w.Must(err)
	for range 3 {
		trial.Receive(w.Trial, began)
	}
	w.Must(stop()) // all obeyed
	for _, id := range []string{"first", "only", "native"} {
		if i := w.info("default", id); i.State != asynq.TaskStatePending && i.State != asynq.TaskStateRetry || i.Retried != 0 {
			t.Errorf("%s: %s, retried %d times", id, i.State, i.Retried)
		}
	}
	w.serve(trial.Succeed)
	for _, id := range []string{"first", "only", "native"} {
		w.awaitState("default", id, "completed")
	}
	for _, r := range w.Await(6)[3:] {
		if r.Job.Attempt != 1 {
			t.Errorf("%s is attempt %d", r.Arg, r.Job.Attempt)
		}
	}
}

func TestAHandlerThatIgnoresTheEndIsReported(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	began, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	stop := w.run(w.Registry(func(context.Context, string) error { close(began); <-end; return nil }),
		&asynqexec.WorkerOptions{DrainTimeout: -1})
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	trial.Receive(w.Trial, began)
	var left *worker.DrainError
	if err := stop(); !errors.As(err, &left) || len(left.Jobs) != 1 || left.Jobs[0].ID != "x" {
		t.Errorf("got %v", err)
	}
	if i := w.info("default", "x"); i.State != asynq.TaskStatePending || i.Retried != 0 {
		t.Errorf("%s, retried %d times", i.State, i.Retried)
	}
}

func TestWhatEndsDuringADrainIsDone(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		began, end := make(chan struct{}), make(chan struct{})
		o := slowWorker
		o.Config.TaskCheckInterval = time.Second
		stop := w.runOn(w.connect(), w.Registry(func(context.Context, string) error { close(began); <-end; return nil }), &o)
		w.Want("accepted", w.Intent("", core.ID("x")))
		<-began
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		time.Sleep(3 * time.Second) // what was fetched when it stopped has begun
		w.Want("accepted", w.Intent("", core.ID("y")))
		time.Sleep(3 * time.Second) // it would have begun
		close(end)
		w.Must(<-stopped)
		if x, y := w.state("default", "x"), w.state("default", "y"); x != "completed" || y != "pending" {
			t.Errorf("x is %s, y is %s", x, y)
		}
	})
}

// A job whose last worker never answered is dead with that reason, in the record, the log and for the observers.
func TestUsedUpAttemptsAreVisible(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *testEnv) {
		reports := make(chan worker.Run, 10)
		reg, err := worker.NewRegistry(
			worker.Handle(trial.Task, func(ctx context.Context, arg string) error { w.Note(ctx, arg); return nil }),
			worker.Observer(func(_ context.Context, r worker.Run) { reports <- r }))
		w.Must(err)
		w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1), core.Backoff(core.Fixed(time.Hour))))
		wire, gone := newCable(), make(chan struct{})
		rdb := w.connect()
		rdb.AddHook(wire)
		stopDying := w.runOn(rdb, w.Registry(func(context.Context, string) error { <-gone; return nil }), &slowWorker)
		w.Await(1)
		wire.cut()
		var log logged
		o := slowWorker
		o.Logger = log.logger()
		w.runOn(w.connect(), reg, &o)
		w.awaitState("default", "x", "archived")
		const reason = "attempts used up; the last worker never answered"
		if i := w.info("default", "x"); !strings.Contains(i.LastErr, reason) {
			t.Errorf("the record says %q", i.LastErr)
		}
		if log.lines("ERROR", reason) != 1 || log.lines("ERROR", "airlock: job dead") != 1 {
			t.Errorf("the log says %s", log.String())
		}
		if r := trial.Receive(w.Trial, reports); r.Verdict.Action != worker.Dead || r.Delivery.ID != "x" || r.Took != 0 {
			t.Errorf("the observer got %+v", r)
		}
		if n := len(w.Await(1)); n != 1 {
			t.Errorf("%d runs", n)
		}
		close(gone)
		wire.letGo()
		w.Must(stopDying())
	})
}

func TestQueuesHaveNativeNames(t *testing.T) {
	t.Parallel()
	names := map[string]string{"critical": "Critical", "default": "user.events"}
	w := setup(t, embedded(t), &asynqexec.Options{QueueNames: names, Lanes: true})
	w.Want("accepted, accepted, accepted", w.Intent("a", core.Queue("critical"), core.Unique("k")), w.Intent("b"), w.Intent("c", core.Queue("critical"), core.Priority(9)))
	if got := w.pending("Critical"); len(got) != 1 || got[0] != "a" {
		t.Errorf("waiting: %v", got)
	}
	w.run(w.Registry(trial.Succeed), &asynqexec.WorkerOptions{Queues: []string{"critical", "default"}, QueueNames: names, Lanes: true})
	want := map[string]string{"a": "critical", "b": "default", "c": "critical"}
	for _, r := range w.Await(3) {
		if r.Job.Queue != want[r.Arg] {
			t.Errorf("%s is of queue %s", r.Arg, r.Job.Queue)
		}
		if task, ok := r.Job.Native.(*asynq.Task); !ok || task.Type() != "test.work" {
			t.Errorf("%s: native %v", r.Arg, r.Job.Native)
		}
	}
}

func TestAWorkerWorksTheQueueNamesItsTasks(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	mail := core.DeclareTask[string]("test.mail", core.Queue("mail"))
	got := make(chan string, 2)
	note := func(_ context.Context, arg string) error { got <- arg; return nil }
	reg, err := worker.NewRegistry(worker.Handle(mail, note), worker.Handle(trial.Task, note))
	w.Must(err)
	w.run(reg, nil)
	in, err := mail.Intent("mail")
	w.Must(err)
	w.Want("accepted", in)
	w.Want("accepted", w.Intent("default"))
	if all := trial.Receive(w.Trial, got) + " " + trial.Receive(w.Trial, got); len(all) != len("mail default") {
		t.Error(all)
	}
}
