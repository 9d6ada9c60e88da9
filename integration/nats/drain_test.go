package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

func TestADrainLetsJobsFinishAndStartsNoMore(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Concurrency: 1})
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
	w := setup(t, &options{DrainTimeout: 100 * time.Millisecond})
	attempts := make(chan int, 2)
	cut := make(chan error, 2)
	stop := w.work(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		attempts <- job.Attempt
		<-ctx.Done()
		cut <- context.Cause(ctx)
		return ctx.Err()
	})
	in := w.intent("a", core.MaxAttempts(1))
	w.send(in)
	next(w, attempts)
	w.must(stop())
	if err := next(w, cut); !errors.Is(err, worker.ErrStopping) {
		t.Errorf("cause %v", err)
	}
	w.wantStored("JOBS.job.>", 1)
	jobs := make(chan worker.Job, 1)
	w.work(func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	})
	if job := next(w, jobs); job.ID != in.ID || job.Attempt != 1 {
		t.Errorf("job %+v", job)
	}
}

func TestAHandlerThatDoesNotReturnIsGivenUp(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{DrainTimeout: 10 * time.Millisecond, AckWait: 2 * time.Second})
	stuck, started := make(chan struct{}), make(chan int, 2)
	defer close(stuck)
	reg, err := worker.NewRegistry(worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if started <- job.Attempt; job.Attempt == 1 {
			<-stuck
		}
		return nil
	}))
	w.must(err)
	run := func(ctx context.Context) error {
		worker, err := natsexec.NewWorker(w.js, streamName, reg, w.opts.work())
		w.must(err)
		return worker.Run(ctx)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.send(w.intent("a"))
	stopped := make(chan error)
	go func() { stopped <- run(ctx) }()
	next(w, started)
	cancel()
	var left *worker.DrainError
	if err := next(w, stopped); !errors.As(err, &left) || len(left.Jobs) != 1 || left.Jobs[0].Task != "test.work" {
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
	reg, err := worker.NewRegistry()
	w.must(err)
	for name, make := range map[string]func() (*natsexec.Worker, error){
		"a bad stream": func() (*natsexec.Worker, error) { return natsexec.NewWorker(w.js, "a.*", reg, nil) },
		"two queues of one name": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.WorkerOptions{QueueNames: map[string]string{"a": "X", "b": "X"}})
		},
		"a queue with another's native name": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.WorkerOptions{QueueNames: map[string]string{"a": "b"}, Queues: []string{"b"}})
		},
		"no JetStream": func() (*natsexec.Worker, error) { return natsexec.NewWorker(nil, streamName, reg, nil) },
		"no stream":    func() (*natsexec.Worker, error) { return natsexec.NewWorker(w.js, "", reg, nil) },
		"no registry":  func() (*natsexec.Worker, error) { return natsexec.NewWorker(w.js, streamName, nil, nil) },
		"a bad queue": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.WorkerOptions{Queues: []string{"a.*"}})
		},
		"negative slots": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.WorkerOptions{Concurrency: -1})
		},
		"a short AckWait": func() (*natsexec.Worker, error) {
			return natsexec.NewWorker(w.js, streamName, reg, &natsexec.WorkerOptions{AckWait: time.Millisecond})
		},
	} {
		if _, err := make(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := natsexec.NewWorker(w.js, streamName, reg, w.opts.work())
	w.must(err)
	var noContext context.Context
	if err := good.Run(noContext); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil context: %v", err)
	}
	done, cancel := context.WithCancel(w.ctx)
	cancel()
	w.must(good.Run(done))
	for name, bad := range map[string]*natsexec.Worker{"a second Run": good, "nil": nil, "zero": {}} {
		if err := bad.Run(w.ctx); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A worker asks for as many jobs as it has room for, and what the server sends it while its drain begins is on its way.
func TestAJobThatIsOnItsWayWhenADrainBeginsKeepsItsAttempt(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, nil)
	ran := make(chan worker.Job, 1000)
	handler := worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		ran <- job
		return nil
	})
	near, err := natsexec.New(w.ctx, w.js, streamName, w.opts.dispatch())
	w.must(err)
	for { // on a busy machine the job may arrive before its worker stops
		stop := w.workOn(connect(t, "nats://"+proxy.Addr()), w.opts, handler)
		w.must(near.Execute(w.ctx, w.intent("first")))
		next(w, ran) // it works, and asks for more
		w.wantStored("JOBS.>", 0)
		proxy.Delay(400 * time.Millisecond)
		in := w.intent("on its way", core.MaxAttempts(1))
		w.must(near.Execute(w.ctx, in))
		for sent := false; !sent && len(ran) == 0; {
			consumer, err := w.js.Consumer(w.ctx, streamName, "default")
			w.must(err)
			sent = consumer.CachedInfo().NumAckPending == 1
		}
		w.must(stop())
		proxy.Delay(0)
		if len(ran) > 0 {
			<-ran
			continue
		}
		m := w.message("JOBS.job.>")
		if got := m.Header.Get("Airlock-Attempts"); got != "0" {
			t.Errorf("%q attempts counted", got)
		}
		w.wantStored("JOBS.>", 1)
		w.workOn(w.js, w.opts, handler)
		if job := next(w, ran); job.ID != in.ID || job.Attempt != 1 {
			t.Errorf("job %+v", job)
		}
		return
	}
}

func TestADrainLeavesDelayedJobsToTheStream(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ran := make(chan worker.Job, 10)
	handler := func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		ran <- job
		if job.Attempt == 1 {
			return errors.New("again")
		}
		return nil
	}
	stop := w.work(handler)
	far := w.intent("in an hour", core.Delay(time.Hour))
	soon := w.intent("soon", core.Delay(300*time.Millisecond))
	retried := w.intent("retried", core.Backoff(core.Fixed(time.Second)))
	w.send(far, soon, retried)
	next(w, ran) // one of the two, which waits for its retry then
	w.must(stop())
	w.work(handler)
	seen := map[string]int{}
	for range 3 {
		seen[next(w, ran).ID]++
	}
	if seen[soon.ID] == 0 || seen[retried.ID] == 0 {
		t.Errorf("ran %v", seen)
	}
	w.wantStored("JOBS.at.>", 1)
	w.wantStored("JOBS.>", 1)
}
