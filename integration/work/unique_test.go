package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

func jsonOf(job work.Job) ([]byte, error) { return json.Marshal(job) }

func uniqueUntilFinished(w *testEnv) {
	key := core.Unique("k")
	open := make(chan struct{})
	w.Want("accepted", w.Intent("waits", key, core.ID("first")))
	w.Want("duplicate", w.Intent("second", key))
	w.Want("accepted", w.Intent("other", core.Unique("other")))
	w.Want("accepted", w.Intent("other queue", key, core.Queue("mail")))
	other, err := core.DeclareTask[string]("test.other").Intent("", key)
	w.Must(err)
	w.Want("accepted", other)
	w.serve(func(_ context.Context, arg string) error {
		switch arg {
		case "waits":
			<-open
		case "dies":
			return worker.Permanent(trial.ErrDeclined)
		case "retries":
			return trial.ErrDeclined
		}
		return nil
	})
	w.awaitPlace("first", "running")
	w.Want("duplicate", w.Intent("second", key))
	close(open)
	w.awaitPlace("first", "gone")
	w.Want("accepted", w.Intent("dies", key, core.ID("dies"))) // free after success
	w.awaitPlace("dies", "dead")
	w.Want("accepted", w.Intent("retries", key, core.ID("retries"), core.Backoff(core.Fixed(time.Hour)))) // and after failure
	w.awaitPlace("retries", "retry")
	w.Want("duplicate", w.Intent("second", key))
	if left, err := redis.Int64(w.do("PTTL", "airlock:unique:test.work k"), nil); err != nil || left < (7*24*time.Hour+50*time.Minute).Milliseconds() {
		w.Errorf("the lock of a job that waits an hour ends in %d ms, %v", left, err)
	}
	s := w.find("retries")
	w.Must(work.NewClient(w.ns, w.rdb).DeleteRetryJob(s.score, s.ID))
	w.Want("accepted", w.Intent("later", key, core.ID("later"), core.Delay(time.Hour))) // and after it was deleted by hand
	w.Want("duplicate, duplicate", w.Intent("second", key), w.Intent("third", key))
	s = w.find("later")
	w.Must(work.NewClient(w.ns, w.rdb).DeleteScheduledJob(s.score, s.ID))
	w.Want("accepted", w.Intent("last", key))
}

// uniqueIsLeakedByNobody is about workers that do not know our locks.
func uniqueIsLeakedByNobody(w *testEnv) {
	key := core.Unique("k")
	open := make(chan struct{})
	var fail atomic.Bool
	begun := make(chan string, 10) // IDs
	w.serveNative("test.work", func(job *work.Job) error {
		begun <- job.ID
		<-open
		if fail.Load() {
			return trial.ErrDeclined
		}
		return nil
	})
	w.Want("accepted, duplicate", w.Intent("a", key, core.ID("a")), w.Intent("b", key))
	w.awaitPlace("a", "running")
	w.Want("duplicate", w.Intent("b", key))
	close(open)
	w.awaitPlace("a", "gone")
	fail.Store(true)
	w.Want("accepted", w.Intent("c", key, core.ID("c")))
	w.awaitPlace("c", "retry")
	w.Want("duplicate", w.Intent("d", key))
	w.do("DEL", "retry")
	fail.Store(false)
	w.Want("accepted", w.Intent("e", key, core.ID("e/<\\\"~"), soon))
	w.Want("duplicate", w.Intent("f", key))
	for id := ""; id != "e/<\\\"~"; { // on its way there it is nowhere, for who looks place by place
		select {
		case id = <-begun:
		case <-w.Ctx.Done():
			w.Fatal("the scheduled job does not run")
		}
	}
	w.awaitPlace("e/<\\\"~", "gone")
	w.Want("accepted", w.Intent("g", key))
}

// uniqueInANewPool is about a pool that has fetched a job before its first heartbeat: only the count of the fetch shows it.
func uniqueInANewPool(w *testEnv) {
	key := core.Unique("k")
	w.Want("accepted", w.Intent("a", key, core.ID("a")))
	const list, inProgress = "jobs:test.work", "jobs:test.work:young:inprogress"
	w.do("RPOPLPUSH", list, w.ns+":"+inProgress)
	w.do("HINCRBY", list+":lock_info", "young", 1)
	if s := w.find("a"); s.place != "running" {
		w.Fatalf("the job is %s", s.place)
	}
	w.Want("duplicate", w.Intent("b", key))
	w.do("DEL", inProgress)
	w.do("HINCRBY", list+":lock_info", "young", -1)
	w.Want("accepted", w.Intent("c", key))
}

// uniqueAmongMany is about a search that must not take long.
func uniqueAmongMany(w *testEnv) {
	key := core.Unique("k")
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 900)...))
	w.Want("accepted", w.Intent("a", key, core.ID("a")))
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 900)...))
	w.Want("duplicate", w.Intent("b", key))
	s := must(jsonOf(w.find("a").Job))
	conn := w.rdb.Get()
	defer conn.Close()
	removed, err := redis.Int(conn.Do("LREM", w.ns+":jobs:test.work", 1, s))
	w.Must(err)
	if removed != 1 {
		w.Fatalf("%d jobs like %s", removed, s)
	}
	w.Want("accepted", w.Intent("c", key, core.ID("c")))
	w.do("DEL", "jobs:test.work")
	w.Must(w.exec.Execute(w.Ctx, w.Batch(0, 11_000)...))
	w.Want("duplicate", w.Intent("d", key)) // too many to look at: as if it was unfinished
	w.do("DEL", "jobs:test.work")
	w.Want("accepted", w.Intent("e", key))
}

// locksAreReleased leaves no lock behind, also of jobs whose arguments the server has rewritten: the library's own lock is
// named by the arguments and then stays for a day.
func locksAreReleased(w *testEnv) {
	w.serve(trial.Succeed)
	for n := range 20 {
		w.Must(w.exec.Execute(w.Ctx, w.Intent("", core.Unique(fmt.Sprint(n)), soon)))
	}
	w.Await(20)
	w.Eventually("all locks are released", func() bool {
		conn := w.rdb.Get()
		defer conn.Close()
		keys, err := redis.Strings(conn.Do("KEYS", w.ns+":airlock:unique:*"))
		w.Must(err)
		return len(keys) == 0
	})
}
