package work_test

import (
	"context"
	"strings"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// unknownNamesAreBroughtBack is about producers that are deployed before their workers: any pool of the namespace puts a due
// job among the dead if it does not know its name.
func unknownNamesAreBroughtBack(w *testEnv) {
	w.serveNative("test.native", func(*work.Job) error { return nil })
	stranger, err := core.DeclareTask[string]("test.stranger").Intent("", core.ID("nobodys"), soon)
	w.Must(err)
	w.Want("accepted, accepted, accepted", w.Intent("early", core.ID("early"), soon, core.Header("H", "v")), stranger,
		w.Intent("waits", core.ID("waits")))
	w.awaitPlace("early", "dead") // before our worker is there
	w.awaitPlace("nobodys", "dead")
	native := `{"name":"test.gone","id":"natives","t":1,"args":null,"err":"unknown job when requeueing"}`
	w.do("ZADD", "dead", 1, native)
	w.do("ZADD", "dead", 1, `{"name":"test.work","id":"other","t":1,"args":null,"fails":4,"err":"another error"}`)
	w.serve(func(ctx context.Context, arg string) error {
		if job, _ := worker.JobFrom(ctx); arg == "early" && job.Headers.Get("H") != "v" {
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
	w.awaitPlace("nobodys", "waiting") // for a worker that knows its task
	if w.find("natives").place != "dead" || w.find("other").place != "dead" {
		w.Error("a job that is not ours was brought back")
	}
}

// strandedJobsArePutBack is about a registered pool's fetch whose answer never came: the job is in progress at a pool whose
// workers do not know.
func strandedJobsArePutBack(w *testEnv) {
	pool := w.pool("", 1)
	pool.Job("test.native", func(*work.Job) error { return nil })
	first := w.register(pool, w.Registry(trial.Succeed))
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
	w.Must(first.stop())
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
	if r := w.Await(1)[0]; r.Job.ID != "test.work" || r.Job.Attempt != 1 {
		w.Errorf("%+v", r)
	}
}
