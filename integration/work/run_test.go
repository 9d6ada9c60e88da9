package work_test

import (
	"context"
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// stopPutsBack has a job that runs until its context ends. It goes back and has used no attempt.
func stopPutsBack(w *testEnv) {
	cause := make(chan error, 1)
	first := w.serveWith(w.Registry(func(ctx context.Context, arg string) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return errors.New("query cancelled") // not the context's own error
	}), workexec.WorkerOptions{DrainTimeout: 100 * time.Millisecond})
	w.Want("accepted", w.Intent("long", core.ID("x"), core.MaxAttempts(1), core.Unique("k")))
	w.Await(1)
	if err := first.stop(); err != nil {
		w.Errorf("Run: %v", err)
	}
	if err := trial.Receive(w.Trial, cause); !errors.Is(err, worker.ErrStopping) {
		w.Errorf("cause %v", err)
	}
	if s := w.find("x"); s.place != "waiting" || s.Fails != 0 {
		w.Errorf("the job is %+v", s)
	}
	w.Want("duplicate", w.Intent("second", core.Unique("k")))
	w.serve(trial.Succeed)
	if r := w.Await(2)[1]; r.Job.ID != "x" || r.Job.Attempt != 1 {
		w.Errorf("the job that was cut off runs as %+v", r)
	}
}

// stopBeginsNothing has more jobs waiting than slots when the worker stops.
func stopBeginsNothing(w *testEnv) {
	open, began := make(chan struct{}), make(chan struct{}, 1)
	first := w.serve(func(_ context.Context, arg string) error {
		if arg == "gate" {
			began <- struct{}{}
			<-open
		}
		return nil
	})
	for range slots {
		w.Want("accepted", w.Intent("gate"))
		trial.Receive(w.Trial, began)
	}
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 200)...))
	first.cancel()
	close(open)
	w.Must(first.stop())
	n := len(w.Await(slots))
	if n != slots {
		w.Errorf("%d jobs were begun after the end of Run's context", n-slots)
	}
	w.serve(trial.Succeed)
	for _, r := range w.Await(n + 200)[n:] {
		if r.Job.Attempt != 1 {
			w.Fatalf("%+v", r)
		}
	}
}

// stuckHandlersAreNamed has a handler that does not return. Its job is put back all the same, and what it answers in the end
// changes nothing.
func stuckHandlersAreNamed(w *testEnv) {
	open, answered := make(chan struct{}), make(chan struct{})
	first := w.serveWith(w.Registry(func(context.Context, string) error {
		defer close(answered)
		<-open
		return worker.Permanent(trial.ErrDeclined)
	}), workexec.WorkerOptions{DrainTimeout: -1})
	w.Want("accepted", w.Intent("stuck", core.ID("x"), core.MaxAttempts(1)))
	w.Await(1)
	var stuck *worker.DrainError
	if err := first.stop(); !errors.As(err, &stuck) || len(stuck.Jobs) != 1 || stuck.Jobs[0].ID != "x" {
		w.Errorf("Run: %v", err)
	}
	if s := w.find("x"); s.place != "waiting" || s.Fails != 0 {
		w.Errorf("the job is %+v", s)
	}
	close(open)
	trial.Receive(w.Trial, answered)
	w.serve(trial.Succeed)
	if r := w.Await(2)[1]; r.Job.Attempt != 1 {
		w.Errorf("%+v", r)
	}
	w.awaitPlace("x", "gone")
}

// registeredPoolsStop is about Register: the library's own Stop waits without limit and ends no context.
func registeredPoolsStop(w *testEnv) {
	open := make(chan struct{})
	worker, err := workexec.Register(w.pool("", 2), w.Registry(func(ctx context.Context, arg string) error {
		if arg == "stuck" {
			<-open
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}), &workexec.WorkerOptions{DrainTimeout: -1, Logger: quiet})
	w.Must(err)
	first := w.start(worker)
	w.Want("accepted, accepted", w.Intent("stuck", core.ID("stuck")), w.Intent("polite", core.ID("polite")))
	w.Await(2)
	if err := first.stop(); err == nil {
		w.Error("a handler that ignores its context is not named")
	}
	close(open)
	for _, id := range []string{"stuck", "polite"} {
		if s := w.find(id); s.place != "waiting" || s.Fails != 0 {
			w.Errorf("%s is %+v", id, s)
		}
	}
	w.serve(trial.Succeed)
	for _, r := range w.Await(4)[2:] {
		if r.Job.Attempt != 1 {
			w.Errorf("%+v", r)
		}
	}
}
