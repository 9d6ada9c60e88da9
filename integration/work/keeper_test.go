package work_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// unknownNamesAreBroughtBack is about producers that are deployed before their workers: any pool of the namespace puts a due
// job among the dead if it does not know its name.
func unknownNamesAreBroughtBack(w *world) {
	w.serveNative("test.native", func(*work.Job) error { return nil })
	stranger, err := core.DeclareTask[string]("test.stranger").Intent("", core.ID("nobodys"), soon)
	w.Must(err)
	w.Want("accepted, accepted, accepted", w.Intent("early", core.ID("early"), soon, core.Header("H", "v")), stranger,
		w.Intent("waits", core.ID("waits")))
	w.awaitPlace("early", "dead") // before our worker is there
	w.awaitPlace("nobodys", "dead")
	w.do("ZADD", "dead", 1, `{"name":"test.work","id":"other","t":1,"args":null,"fails":4,"err":"another error"}`)
	w.serve(func(ctx context.Context, arg string) error {
		if job, _ := core.JobFrom(ctx); arg == "early" && job.Headers.Get("H") != "v" {
			w.Errorf("job %+v", job)
		}
		return nil
	})
	w.Await(2)
	w.awaitPlace("early", "gone")
	for range 3 { // and while it runs: which pool moves a job is a matter of luck
		w.Want("accepted, accepted, accepted", w.Batch(0, 3, soon)...)
	}
	for _, r := range w.Await(11) {
		if r.Job.Attempt != 1 {
			w.Errorf("%+v", r)
		}
	}
	if w.find("nobodys").place != "dead" || w.find("other").place != "dead" {
		w.Error("a job that is not ours was brought back")
	}
}

// strandedJobsArePutBack is about a fetch whose answer never came: the job is in the hands of a pool whose workers do not know.
func strandedJobsArePutBack(w *world) {
	pool := w.pool("", 1)
	pool.Job("test.native", func(*work.Job) error { return nil })
	worker, err := workexec.Register(pool, w.Registry(trial.Succeed), &workexec.WorkerOptions{Logger: quiet})
	w.Must(err)
	worker.Start()
	var id string
	w.Eventually("the pool is announced", func() bool {
		ids, err := redis.Strings(w.do("SMEMBERS", "worker_pools"), nil)
		w.Must(err)
		if len(ids) == 1 {
			id = ids[0]
		}
		return id != ""
	})
	for _, name := range []string{"test.work", "test.native"} {
		w.do("SADD", "known_jobs", name)
		w.do("LPUSH", "jobs:"+name+":"+id+":inprogress", `{"name":"`+name+`","id":"`+name+`","t":1,"args":{"airlock_payload":"\"a\""}}`)
		w.do("INCR", "jobs:"+name+":lock")
	}
	w.do("LPUSH", "jobs:test.work:"+id+":inprogress", `{no job`)
	w.Must(worker.Stop(w.Ctx))
	if a, b := w.find("test.work").place, w.find("test.native").place; a != "waiting" || b != "waiting" {
		w.Errorf("the jobs are %s and %s", a, b)
	}
	dead := 0
	for _, s := range w.jobs(w.ns) {
		if s.place == "dead" && strings.Contains(s.LastErr, "no job") && s.ID != "" {
			dead++
			payload, err := workexec.Payload(&s.Job)
			w.Must(err)
			if string(payload) != `{no job` {
				w.Errorf("buried as %q", payload)
			}
		}
	}
	if dead != 1 {
		w.Errorf("%d messages are buried, want 1", dead)
	}
	if lock, _ := redis.Int(w.do("GET", "jobs:test.native:lock"), nil); lock != 0 {
		w.Errorf("the lock that counts running jobs is at %d", lock)
	}
	w.serve(trial.Succeed)
	if r := w.Await(1)[0]; r.Job.ID != "test.work" {
		w.Errorf("%+v", r)
	}
}

// stopWaitsNoLongerThanItsContext: the library's own Stop waits for ever and cuts off nothing.
func stopWaitsNoLongerThanItsContext(w *world) {
	cause := make(chan error, 1)
	first := w.serve(func(ctx context.Context, arg string) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return errors.New("query cancelled") // not the context's own error
	})
	w.Want("accepted", w.Intent("long", core.ID("x"), core.MaxAttempts(1), core.Unique("k")))
	w.Await(1)
	ctx, cancel := context.WithTimeout(w.Ctx, 100*time.Millisecond)
	defer cancel()
	if err := first.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		w.Errorf("Stop: %v", err)
	}
	if err := trial.Receive(w.Trial, cause); !errors.Is(err, workexec.ErrStopped) {
		w.Errorf("cause %v", err)
	}
	w.Must(first.Stop(w.Ctx))
	w.Want("duplicate", w.Intent("second", core.Unique("k")))
	first.Start() // does nothing any more
	w.serve(trial.Succeed)
	if r := w.Await(2)[1]; r.Job.ID != "x" || r.Job.Attempt != 1 {
		w.Errorf("the job that was cut off runs as %+v", r)
	}
}

// stopBeginsNothing: a worker of the library's may fetch a further job after it was told to stop.
func stopBeginsNothing(w *world) {
	open, began := make(chan struct{}), make(chan struct{}, 1)
	worker := w.serve(func(_ context.Context, arg string) error {
		if arg == "gate" {
			began <- struct{}{}
			<-open
		}
		return nil
	})
	for range 4 {
		w.Want("accepted", w.Intent("gate"))
		trial.Receive(w.Trial, began)
	}
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 200)...))
	ctx, cancel := context.WithCancel(w.Ctx)
	cancel()
	if err := worker.Stop(ctx); err == nil {
		w.Error("Stop says nothing of four jobs that run")
	}
	close(open)
	w.Must(worker.Stop(w.Ctx))
	if n := len(w.Await(4)); n != 4 {
		w.Errorf("%d jobs were begun after Stop", n-4)
	}
	w.serve(trial.Succeed)
	for _, r := range w.Await(204)[4:] {
		if r.Job.Attempt != 1 {
			w.Fatalf("%+v", r)
		}
	}
}
