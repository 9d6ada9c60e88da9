package asynq_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

func (w *world) state(queue, id string) string {
	w.Helper()
	info, err := w.inspector().GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return "gone"
	}
	w.must(err)
	return info.State.String()
}

func (w *world) awaitState(queue, id, state string) {
	w.Helper()
	w.eventually(id+" is "+state, func() bool { return w.state(queue, id) == state })
}

func idOutlivesItsJob(w *world) {
	w.serve(succeed)
	chosen, generated := w.intent("a", core.ID("x")), w.intent("b")
	w.want("accepted, accepted", chosen, generated)
	w.awaitState("default", "x", "completed")
	w.awaitState("default", generated.ID, "completed")
	w.want("duplicate, accepted", chosen, generated)
	w.want("accepted", w.intent("fence"))
	if runs := w.await(3); len(runs) != 3 || runs[2].arg != "fence" {
		w.Errorf("runs %+v", runs)
	}
}

func idEndsWithItsJob(w *world) {
	w.serve(succeed)
	for n := range 2 {
		w.want("accepted", w.intent("a", core.ID("x")))
		w.await(n + 1)
		w.awaitState("default", "x", "gone")
	}
	if kind := w.exec.Capabilities().IDWindow.Kind; kind != core.UnfinishedWindow {
		w.Errorf("window %s", kind)
	}
}

func archivedJobKeepsItsID(w *world) {
	w.serve(func(context.Context, string) error { return core.Permanent(errDeclined) })
	chosen, generated := w.intent("a", core.ID("x")), w.intent("b")
	w.want("accepted, accepted", chosen, generated)
	w.awaitState("default", "x", "archived")
	w.awaitState("default", generated.ID, "archived")
	w.want("duplicate, accepted", chosen, generated)
	if i := w.info("default", "x"); i.Retried != 0 || i.LastErr != "declined" {
		w.Errorf("%+v", i)
	}
}

func panics(w *world) {
	w.serve(func(ctx context.Context, arg string) error {
		if job, _ := core.JobFrom(ctx); job.Attempt == 1 {
			switch arg {
			case "panic":
				panic("kaboom")
			case "goexit":
				runtime.Goexit()
			case "nilpointer":
				return (*brokenError)(nil)
			}
		}
		return nil
	})
	for _, arg := range []string{"panic", "goexit", "nilpointer"} {
		w.want("accepted", w.intent(arg, core.ID(arg[:4]), core.MaxAttempts(2), core.Backoff(core.Fixed(time.Millisecond))))
		w.awaitState("default", arg[:4], "completed")
	}
	if n := len(w.await(6)); n != 6 {
		w.Errorf("%d runs, want 6", n)
	}
}

// brokenError panics when asked for its text on a nil pointer.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func errorsThatAreNotUTF8(w *world) {
	w.serve(func(context.Context, string) error { return errors.New("caf\xe9") })
	w.want("accepted", w.intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitState("default", "x", "archived")
	if text := w.info("default", "x").LastErr; text != "caf\uFFFD" {
		w.Errorf("stored %q", text)
	}
}

func unknownTaskIsParked(w *world) {
	w.serve(succeed)
	stranger := core.DeclareTask[string]("test.stranger")
	in, err := stranger.Intent("", core.ID("x"))
	w.must(err)
	w.want("accepted, accepted", in, w.intent("known"))
	w.awaitState("default", "x", "retry")
	w.await(1)
	if i := w.info("default", "x"); i.Retried != 0 || time.Until(i.NextProcessAt) > 2*time.Minute {
		w.Errorf("%+v", i)
	}
	// Exact names: a task is not unknown's prefix.
	longer, err := core.DeclareTask[string]("test.work.more").Intent("", core.ID("y"))
	w.must(err)
	w.want("accepted", longer)
	w.awaitState("default", "y", "retry")
	if runs := w.await(1); len(runs) != 1 {
		w.Errorf("runs %+v", runs)
	}
}

func poisonIsArchived(w *world) {
	w.serve(succeed)
	native := asynq.NewClientFromRedisClient(w.connect())
	for id, task := range map[string]*asynq.Task{
		"payload":  asynq.NewTask("test.work", []byte("{not JSON")),
		"envelope": asynq.NewTaskWithHeaders("test.work", []byte(`"a"`), map[string]string{"Airlock-Envelope": "{not JSON"}),
		"version":  asynq.NewTaskWithHeaders("test.work", []byte(`"a"`), map[string]string{"Airlock-Envelope": `{"v":99}`}),
	} {
		_, err := native.EnqueueContext(w.ctx, task, asynq.TaskID(id))
		w.must(err)
		w.awaitState("default", id, "archived")
		if i := w.info("default", id); i.Retried != 0 || strings.Contains(i.LastErr, "not JSON") {
			w.Errorf("%s: %+v", id, i)
		}
	}
	w.want("accepted", w.intent("good"))
	if runs := w.await(1); len(runs) != 1 || runs[0].arg != "good" {
		w.Errorf("runs %+v", runs)
	}
}

func nativeHandlerWorksOurJob(w *world) {
	got := make(chan string, 1)
	w.serveNative(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		got <- strings.Join([]string{t.Type(), string(t.Payload()), id, t.Headers()["Trace"]}, " ")
		return nil
	}), asynq.Config{})
	w.want("accepted", w.intent("a", core.ID("x"), core.Header("Trace", "t1")))
	if task := <-got; task != `test.work "a" x t1` {
		w.Errorf("the native handler got %s", task)
	}
	w.awaitState("default", "x", "completed")
}

func nativeProducerFeedsOurHandler(w *world) {
	headers := make(chan core.Headers, 1)
	w.serve(func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		headers <- job.Headers
		return nil
	})
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.ctx, asynq.NewTaskWithHeaders("test.work", []byte(`"a"`), map[string]string{"Trace": "t1"}),
		asynq.TaskID("x"), asynq.MaxRetry(3))
	w.must(err)
	r := w.await(1)[0]
	if r.arg != "a" || r.job.ID != "x" || r.job.MaxAttempts != 4 || r.job.Queue != "default" || (<-headers).Get("Trace") != "t1" {
		w.Errorf("run %+v", r)
	}
	if r.limit.IsZero() || time.Until(r.limit) > time.Hour { // asynq's own 30 minutes
		w.Errorf("a native job has until %v", r.limit)
	}
}

func nativeHandlersBesideOurs(w *world) {
	native := make(chan string, 1)
	mux := asynq.NewServeMux()
	mux.HandleFunc("test.", func(_ context.Context, t *asynq.Task) error { native <- t.Type(); return nil })
	w.serveWith(asynqexec.Middleware(w.registry(succeed))(mux), asynq.Config{})
	client := asynq.NewClientFromRedisClient(w.connect())
	_, err := client.EnqueueContext(w.ctx, asynq.NewTask("test.native", nil))
	w.must(err)
	w.want("accepted", w.intent("ours"))
	if got := <-native; got != "test.native" {
		w.Errorf("the native handler got %s", got)
	}
	if runs := w.await(1); len(runs) != 1 || runs[0].arg != "ours" {
		w.Errorf("runs %+v", runs)
	}
}
