package asynq_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

func (w *testEnv) state(queue, id string) string {
	w.Helper()
	info, err := w.inspector().GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return "gone"
	}
	w.Must(err)
	return info.State.String()
}

func (w *testEnv) awaitState(queue, id, state string) {
	w.Helper()
	w.Eventually(id+" is "+state, func() bool { return w.state(queue, id) == state })
}

func idOutlivesItsJob(w *testEnv) {
	w.serve(trial.Succeed)
	chosen, generated := w.Intent("a", core.ID("x")), w.Intent("b")
	w.Want("accepted, accepted", chosen, generated)
	w.awaitState("default", "x", "completed")
	w.awaitState("default", generated.ID, "completed")
	w.Want("duplicate, accepted", chosen, generated)
	w.Want("accepted", w.Intent("fence"))
	if runs := w.Await(3); len(runs) != 3 || runs[2].Arg != "fence" {
		w.Errorf("runs %+v", runs)
	}
}

func idEndsWithItsJob(w *testEnv) {
	w.serve(trial.Succeed)
	for n := range 2 {
		w.Want("accepted", w.Intent("a", core.ID("x")))
		w.Await(n + 1)
		w.awaitState("default", "x", "gone")
	}
	if kind := w.exec.Capabilities().IDWindow.Kind; kind != core.WindowUnfinished {
		w.Errorf("window %s", kind)
	}
}

func archivedJobKeepsItsID(w *testEnv) {
	w.serve(func(context.Context, string) error { return worker.Permanent(trial.ErrDeclined) })
	chosen, generated := w.Intent("a", core.ID("x")), w.Intent("b")
	w.Want("accepted, accepted", chosen, generated)
	w.awaitState("default", "x", "archived")
	w.awaitState("default", generated.ID, "archived")
	w.Want("duplicate, accepted", chosen, generated)
	if i := w.info("default", "x"); i.Retried != 0 || i.LastErr != "declined" {
		w.Errorf("%+v", i)
	}
}

func errorsThatAreNotUTF8(w *testEnv) {
	w.serve(func(context.Context, string) error { return errors.New("caf\xe9") })
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitState("default", "x", "archived")
	if text := w.info("default", "x").LastErr; text != "caf\uFFFD" {
		w.Errorf("stored %q", text)
	}
}

func unknownTaskIsParked(w *testEnv) {
	w.serve(trial.Succeed)
	stranger := core.DeclareTask[string]("test.stranger", core.MaxAttempts(1))
	in, err := stranger.Intent("", core.ID("x"))
	w.Must(err)
	w.Want("accepted, accepted", in, w.Intent("known"))
	w.awaitState("default", "x", "retry")
	w.Await(1)
	if i := w.info("default", "x"); i.Retried != 0 || time.Until(i.NextProcessAt) > 2*time.Minute {
		w.Errorf("%+v", i)
	}
	// Exact names: a task is not unknown's prefix.
	longer, err := core.DeclareTask[string]("test.work.more").Intent("", core.ID("y"))
	w.Must(err)
	w.Want("accepted", longer)
	w.awaitState("default", "y", "retry")
	if runs := w.Await(1); len(runs) != 1 {
		w.Errorf("runs %+v", runs)
	}
}

func poisonIsArchived(w *testEnv) {
	w.serve(trial.Succeed)
	native := asynq.NewClientFromRedisClient(w.connect())
	for id, task := range map[string]*asynq.Task{
		"payload":  asynq.NewTask("test.work", []byte("{not JSON")),
		"envelope": asynq.NewTaskWithHeaders("test.work", []byte(`"a"`), map[string]string{"Airlock-Envelope": "{not JSON"}),
	} {
		_, err := native.EnqueueContext(w.Ctx, task, asynq.TaskID(id))
		w.Must(err)
		w.awaitState("default", id, "archived")
		if i := w.info("default", id); i.Retried != 0 || strings.Contains(i.LastErr, "not JSON") {
			w.Errorf("%s: %+v", id, i)
		}
	}
	w.Want("accepted", w.Intent("good"))
	if runs := w.Await(1); len(runs) != 1 || runs[0].Arg != "good" {
		w.Errorf("runs %+v", runs)
	}
}

func nativeHandlerWorksOurJob(w *testEnv) {
	got := make(chan string, 1)
	w.serveNative(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		got <- strings.Join([]string{t.Type(), string(t.Payload()), id, t.Headers()["Trace"]}, " ")
		return nil
	}), asynq.Config{})
	w.Want("accepted", w.Intent("a", core.ID("x"), core.Header("Trace", "t1")))
	if task := <-got; task != `test.work "a" x t1` {
		w.Errorf("the native handler got %s", task)
	}
	w.awaitState("default", "x", "completed")
}

func nativeProducerFeedsOurHandler(w *testEnv) {
	headers := make(chan core.Headers, 1)
	w.serve(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		headers <- job.Headers
		return nil
	})
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.Ctx, asynq.NewTaskWithHeaders("test.work", []byte(`"a"`), map[string]string{"Trace": "t1"}),
		asynq.TaskID("x"), asynq.MaxRetry(3))
	w.Must(err)
	r := w.Await(1)[0]
	if r.Arg != "a" || r.Job.ID != "x" || r.Job.MaxAttempts != 4 || r.Job.Queue != "default" || (<-headers).Get("Trace") != "t1" {
		w.Errorf("run %+v", r)
	}
	if r.Limit.IsZero() || time.Until(r.Limit) > time.Hour { // asynq's own 30 minutes
		w.Errorf("a native job has until %v", r.Limit)
	}
}

func nativeHandlersNextToOurs(w *testEnv) {
	native := make(chan string, 1)
	mux := asynq.NewServeMux()
	mux.HandleFunc("test.", func(_ context.Context, t *asynq.Task) error { native <- t.Type(); return nil })
	w.serveWith(asynqexec.Middleware(w.Registry(trial.Succeed))(mux), asynq.Config{})
	client := asynq.NewClientFromRedisClient(w.connect())
	_, err := client.EnqueueContext(w.Ctx, asynq.NewTask("test.native", nil))
	w.Must(err)
	w.Want("accepted", w.Intent("ours"))
	if got := <-native; got != "test.native" {
		w.Errorf("the native handler got %s", got)
	}
	if runs := w.Await(1); len(runs) != 1 || runs[0].Arg != "ours" {
		w.Errorf("runs %+v", runs)
	}
	stranger, err := core.DeclareTask[string]("unknown.task", core.MaxAttempts(1)).Intent("", core.ID("stranger"))
	w.Must(err)
	w.Want("accepted", stranger) // of which neither has a handler
	w.awaitState("default", "stranger", "retry")
	if i := w.info("default", "stranger"); i.Retried != 0 {
		w.Errorf("%+v", i)
	}
}
