package nats_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// The server is killed under load and is back within a second. It never answers acknowledgements of deliveries that it does
// not remember.
func TestAWorkerGoesOnSoonAfterItsServerWasKilled(t *testing.T) {
	t.Parallel()
	server := servers.NATS(t, servers.NATSOptions{OwnProcess: true})
	w := setupOn(t, server.URL(), nil, &options{Concurrency: 20}) // an ack_wait of 30 seconds
	logged := w.hear()
	const n = 3000
	var mu sync.Mutex
	runs := map[string]int{}
	var last atomic.Int64
	started, all := make(chan struct{}, 10*n), make(chan struct{})
	w.workOn(w.js, w.opts, worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		last.Store(time.Now().UnixNano())
		started <- struct{}{}
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if runs[job.ID]++; runs[job.ID] == 1 && len(runs) == n {
			close(all)
		}
		return nil
	}))
	w.send(w.some(n)...)
	for range 300 {
		next(w, started)
	}
	w.must(server.Kill())
	w.must(server.Restart())
	back := time.Now()
	for time.Unix(0, last.Load()).Before(back) {
		if w.ctx.Err() != nil {
			t.Fatal("it never went on")
		}
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(back); took > 10*time.Second { // mostly under one; the slots were held for 30 seconds
		t.Errorf("it went on after %v", took)
	} else {
		t.Logf("it went on after %v", took)
	}
	next(w, all)
	w.wantStored("JOBS.>", 0)
	mu.Lock()
	again := 0
	for _, count := range runs {
		again += count - 1
	}
	mu.Unlock()
	t.Logf("%d jobs, %d run again", n, again)
	lost, regained := 0, 0
	for len(logged) > 0 {
		line := next(w, logged)
		if strings.Contains(line, notYet) {
			lost++
		}
		if strings.Contains(line, "backend is back") || strings.Contains(line, "fetches jobs of a queue again") {
			regained++
		}
	}
	if lost == 0 || regained == 0 || lost > 3 || regained > 3 {
		t.Errorf("%d lines that the server is away, %d that it is back", lost, regained)
	}
}

// A success whose acknowledgement gets no answer is recorded when the server answers again, without a second run.
func TestASuccessIsRecordedWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, &options{AckWait: 2 * time.Second})
	ran := make(chan int, 10)
	w.workOn(connect(t, "nats://"+proxy.Addr()), w.opts, worker.Handle(w.task, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if job.Attempt == 1 {
			proxy.LoseRequests()
		}
		ran <- job.Attempt
		return nil
	}))
	w.send(w.intent("a"))
	next(w, ran)
	time.Sleep(6 * time.Second) // more than two leases: the worker has given up, and the job waits to be delivered again
	w.must(proxy.Heal())
	w.wantStored("JOBS.>", 0)
	if len(ran) > 0 {
		t.Errorf("it ran again, as attempt %d", <-ran)
	}
}

func TestQueuesHaveNativeNames(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{QueueNames: map[string]string{"critical": "Critical", "default": "Jobs"}, Lanes: true})
	jobs := make(chan worker.Job, 10)
	critical := core.DeclareTask[string]("test.critical", core.Queue("critical"))
	handler := func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		if m, ok := job.Native.(*nats.Msg); !ok || !strings.HasPrefix(m.Subject, "JOBS.") {
			t.Errorf("native value %v", job.Native)
		}
		jobs <- job
		if job.Attempt == 1 {
			return worker.Snooze(time.Millisecond)
		}
		return nil
	}
	in, err := critical.Intent("a", core.Priority(9))
	w.must(err)
	w.send(in, w.intent("b", core.Delay(time.Millisecond)))
	w.message("JOBS.high.Critical.test.critical")
	w.message("JOBS.*.Jobs.>")
	// The task's default names the queue.
	w.workOn(w.js, w.opts, worker.Handle(critical, handler), worker.Handle(w.task, func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	}))
	seen := map[string]bool{}
	for len(seen) < 2 {
		seen[next(w, jobs).Queue] = true
	}
	if !seen["critical"] || !seen["default"] {
		t.Errorf("queues %v", seen)
	}
	if _, err := w.js.Consumer(w.ctx, streamName, "Critical--high"); err != nil {
		t.Error(err)
	}
	if err := w.exec.Execute(w.ctx, w.intent("a", core.Queue("jobs"))); err != nil {
		t.Error(err)
	}
}

func TestJobsInLanesThatNobodyServesAreLogged(t *testing.T) {
	t.Parallel()
	w := setup(t, &options{Lanes: true})
	w.send(w.intent("a", core.Priority(9)), w.intent("b"))
	w.opts.Lanes = false
	logged := w.hear()
	ran := make(chan string, 10)
	stop := w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	logged.await(w, "jobs in lanes that this worker does not serve")
	if got := next(w, ran); got != "b" {
		t.Errorf("ran %s", got)
	}
	w.must(stop())
}
