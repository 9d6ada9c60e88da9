package work_test

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

const (
	childRedis = "AIRLOCK_TEST_CHILD_REDIS"
	childMode  = "AIRLOCK_TEST_CHILD_MODE"
)

// TestMain runs the tests, or is the worker of a process whose jobs end it.
func TestMain(m *testing.M) {
	if addr := os.Getenv(childRedis); addr != "" {
		child(addr, os.Getenv(childMode) == "Register")
	}
	os.Exit(m.Run())
}

// child runs jobs and never returns.
func child(addr string, registered bool) {
	var pools cleanups
	rdb := plain(&pools, addr)
	reg, err := worker.NewRegistry(worker.Handle(trial.Task, func(context.Context, string) error {
		os.Exit(3)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	var w *workexec.Worker
	if registered {
		w, err = workexec.Register((&testEnv{rdb: rdb, ns: "crash"}).pool("", 2), reg, nil)
	} else {
		w, err = workexec.NewWorker(rdb, reg, &workexec.WorkerOptions{Namespace: "crash"})
	}
	if err != nil {
		panic(err)
	}
	panic(w.Run(context.Background()))
}

// TestAnAttemptCountsWhenItBegins has jobs that end the process of their worker.
func TestAnAttemptCountsWhenItBegins(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"NewWorker", "Register"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			w := setup(t, plain(t, m.Addr()), "crash", workexec.Options{})
			w.Want("accepted", w.Intent("once", core.ID("once"), core.MaxAttempts(1), core.Unique("k")))
			crash := func() {
				process := exec.Command(os.Args[0])
				process.Env = append(os.Environ(), childRedis+"="+m.Addr(), childMode+"="+mode)
				if output, err := process.CombinedOutput(); process.ProcessState.ExitCode() != 3 {
					t.Fatalf("the process ends with %v, want exit status 3\n%s", err, output)
				}
			}
			crash()
			w.Want("accepted", w.Intent("twice", core.ID("twice"), core.MaxAttempts(2)))
			crash() // it has no time to look for dead workers
			var log lines
			var mu sync.Mutex
			reported := map[string]worker.Run{}
			reg, err := worker.NewRegistry(
				worker.Handle(trial.Task, func(ctx context.Context, arg string) error { w.Note(ctx, arg); return nil }),
				worker.Observer(func(_ context.Context, run worker.Run) {
					mu.Lock()
					defer mu.Unlock()
					if run.Verdict.Action == worker.Dead {
						reported[run.Delivery.ID] = run
					}
				}))
			w.Must(err)
			w.serveWith(reg, workexec.WorkerOptions{Logger: log.logger()})
			w.awaitPlace("once", "dead")
			const why = "attempts used up; the last worker never answered"
			if s := w.find("once"); s.LastErr != "airlock: work: "+why || s.Fails != 1 {
				t.Errorf("%+v", s)
			}
			// The worker stores that the job is dead, and then logs and reports it.
			w.Eventually("the log says why", func() bool { return log.count("level=ERROR", why, "id=once") == 1 })
			w.Eventually("the observer gets the run", func() bool {
				mu.Lock()
				defer mu.Unlock()
				run := reported["once"]
				return run.Verdict.Err != nil && run.Delivery.Attempt == 1
			})
			if runs := w.Await(1); len(runs) != 1 || runs[0].Arg != "twice" || runs[0].Job.Attempt != 2 {
				t.Errorf("%+v", runs)
			}
			w.awaitPlace("twice", "gone")
			w.Want("accepted", w.Intent("again", core.Unique("k")))
		})
	}
}
