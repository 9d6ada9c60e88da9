package nats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

func TestADrainLetsJobsFinishAndStartsNoMore(t *testing.T) {
	t.Parallel()
	w := setup(t, &natsexec.Options{Concurrency: 1})
	started, proceed := make(chan string, 10), make(chan struct{})
	stop := w.work(func(ctx context.Context, arg string) error {
		started <- arg
		<-proceed
		return ctx.Err()
	})
	w.send(w.intent("a"), w.intent("b"), w.intent("c", core.Delay(time.Millisecond)))
	next(w, started)
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	select {
	case <-stopped:
		t.Error("stopped while a job ran")
	case <-time.After(300 * time.Millisecond):
	}
	close(proceed)
	w.must(next(w, stopped))
	if len(started) > 0 {
		t.Errorf("job %s was started by a worker that stops", <-started)
	}
	w.wantStored("JOBS.>", 2)
}

func TestAJobThatADrainCutsShortKeepsItsAttempt(t *testing.T) {
	t.Parallel()
	w := setup(t, &natsexec.Options{DrainTimeout: 100 * time.Millisecond})
	attempts := make(chan int, 2)
	cut := make(chan error, 2)
	stop := w.work(func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		attempts <- job.Attempt
		<-ctx.Done()
		cut <- context.Cause(ctx)
		return ctx.Err()
	})
	in := w.intent("a", core.MaxAttempts(1))
	w.send(in)
	next(w, attempts)
	w.must(stop())
	if err := next(w, cut); !strings.Contains(err.Error(), "worker stops") {
		t.Errorf("cause %v", err)
	}
	w.wantStored("JOBS.job.>", 1)
	jobs := make(chan core.Job, 1)
	w.work(func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		jobs <- job
		return nil
	})
	if job := next(w, jobs); job.ID != in.ID || job.Attempt != 1 {
		t.Errorf("job %+v", job)
	}
}

func TestAHandlerThatDoesNotReturnIsGivenUp(t *testing.T) {
	t.Parallel()
	w := setup(t, &natsexec.Options{DrainTimeout: 10 * time.Millisecond, AckWait: time.Second})
	stuck, started := make(chan struct{}), make(chan int, 2)
	defer close(stuck)
	reg, err := core.NewRegistry(core.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := core.JobFrom(ctx)
		if started <- job.Attempt; job.Attempt == 1 {
			<-stuck
		}
		return nil
	}))
	w.must(err)
	run := func(ctx context.Context) error {
		worker, err := natsexec.NewWorker(w.js, streamName, reg, w.opts)
		w.must(err)
		return worker.Run(ctx)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.send(w.intent("a"))
	stopped := make(chan error)
	go func() { stopped <- run(ctx) }()
	next(w, started)
	cancel()
	if err := next(w, stopped); err == nil || !strings.Contains(err.Error(), "1 jobs did not end") {
		t.Errorf("error %v", err)
	}
	ctx, cancel = context.WithCancel(w.ctx)
	go func() { stopped <- run(ctx) }()
	if got := next(w, started); got != 2 {
		t.Errorf("attempt %d, want 2", got)
	}
	cancel()
	w.must(next(w, stopped))
}

func TestWhatAWorkerIsGivenMustBeGood(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	reg, err := core.NewRegistry()
	w.must(err)
	for name, make := range map[string]func() (*natsexec.Worker, error){
		"no JetStream": func() (*natsexec.Worker, error) { return natsexec.NewWorker(nil, streamName, reg, nil) },
		"no stream":    func() (*natsexec.Worker, error) { return natsexec.NewWorker(w.js, "", reg, nil) },
		"no registry":  func() (*natsexec.Worker, error) { return natsexec.NewWorker(w.js, streamName, nil, nil) },
		"a bad queue": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.Options{Queues: []string{"a.*"}})
		},
		"negative slots": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.Options{Concurrency: -1})
		},
		"a short AckWait": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.Options{AckWait: time.Millisecond})
		},
	} {
		if _, err := make(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	worker, err := natsexec.NewWorker(w.js, streamName, reg, w.opts)
	w.must(err)
	var noContext context.Context
	if err := worker.Run(noContext); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil context: %v", err)
	}
	done, cancel := context.WithCancel(w.ctx)
	cancel()
	w.must(worker.Run(done))
}
