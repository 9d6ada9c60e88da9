package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

func jsonOf(job work.Job) ([]byte, error) { return json.Marshal(job) }

func uniqueUntilFinished(w *world) {
	key := core.Unique("k")
	open := make(chan struct{})
	w.want("accepted", w.intent("waits", key, core.ID("first")))
	w.want("duplicate", w.intent("second", key))
	w.want("accepted", w.intent("other", core.Unique("other")))
	w.want("accepted", w.intent("other queue", key, core.Queue("mail")))
	other, err := core.DeclareTask[string]("test.other").Intent("", key)
	w.must(err)
	w.want("accepted", other)
	w.serve(func(_ context.Context, arg string) error {
		switch arg {
		case "waits":
			<-open
		case "dies":
			return core.Permanent(errDeclined)
		case "retries":
			return errDeclined
		}
		return nil
	})
	w.awaitPlace("first", "running")
	w.want("duplicate", w.intent("second", key))
	close(open)
	w.awaitPlace("first", "gone")
	w.want("accepted", w.intent("dies", key, core.ID("dies"))) // free after success
	w.awaitPlace("dies", "dead")
	w.want("accepted", w.intent("retries", key, core.ID("retries"), core.Backoff(core.Fixed(time.Hour)))) // and after failure
	w.awaitPlace("retries", "retry")
	w.want("duplicate", w.intent("second", key))
	if left, err := redis.Int64(w.do("PTTL", "airlock:unique:test.work k"), nil); err != nil || left < (7*24*time.Hour+50*time.Minute).Milliseconds() {
		w.Errorf("the lock of a job that waits an hour ends in %d ms, %v", left, err)
	}
	s := w.find("retries")
	w.must(work.NewClient(w.ns, w.rdb).DeleteRetryJob(s.score, s.ID))
	w.want("accepted", w.intent("later", key, core.ID("later"), core.Delay(time.Hour))) // and after it was deleted by hand
	w.want("duplicate, duplicate", w.intent("second", key), w.intent("third", key))
	s = w.find("later")
	w.must(work.NewClient(w.ns, w.rdb).DeleteScheduledJob(s.score, s.ID))
	w.want("accepted", w.intent("last", key))
}

// uniqueIsLeakedByNobody is about workers that do not know our locks.
func uniqueIsLeakedByNobody(w *world) {
	key := core.Unique("k")
	open := make(chan struct{})
	var fail atomic.Bool
	begun := make(chan string, 10) // IDs
	w.serveNative("test.work", func(job *work.Job) error {
		begun <- job.ID
		<-open
		if fail.Load() {
			return errDeclined
		}
		return nil
	})
	w.want("accepted, duplicate", w.intent("a", key, core.ID("a")), w.intent("b", key))
	w.awaitPlace("a", "running")
	w.want("duplicate", w.intent("b", key))
	close(open)
	w.awaitPlace("a", "gone")
	fail.Store(true)
	w.want("accepted", w.intent("c", key, core.ID("c")))
	w.awaitPlace("c", "retry")
	w.want("duplicate", w.intent("d", key))
	w.do("DEL", "retry")
	fail.Store(false)
	w.want("accepted", w.intent("e", key, core.ID("e/<\\\"~"), soon))
	w.want("duplicate", w.intent("f", key))
	for id := ""; id != "e/<\\\"~"; { // on its way there it is nowhere, for who looks place by place
		select {
		case id = <-begun:
		case <-w.ctx.Done():
			w.Fatal("the scheduled job does not run")
		}
	}
	w.awaitPlace("e/<\\\"~", "gone")
	w.want("accepted", w.intent("g", key))
}

// uniqueAmongMany is about a look that must not take long.
func uniqueAmongMany(w *world) {
	key := core.Unique("k")
	w.must(w.exec.Execute(w.ctx, w.batch(0, 900)...))
	w.want("accepted", w.intent("a", key, core.ID("a")))
	w.must(w.exec.Execute(w.ctx, w.batch(0, 900)...))
	w.want("duplicate", w.intent("b", key))
	s := must(jsonOf(w.find("a").Job))
	conn := w.rdb.Get()
	defer conn.Close()
	removed, err := redis.Int(conn.Do("LREM", w.ns+":jobs:test.work", 1, s))
	w.must(err)
	if removed != 1 {
		w.Fatalf("%d jobs like %s", removed, s)
	}
	w.want("accepted", w.intent("c", key, core.ID("c")))
	w.do("DEL", "jobs:test.work")
	w.must(w.exec.Execute(w.ctx, w.batch(0, 11_000)...))
	w.want("duplicate", w.intent("d", key)) // too many to look at: as if it was unfinished
	w.do("DEL", "jobs:test.work")
	w.want("accepted", w.intent("e", key))
}

// uniqueAndID is about two marks of one job.
func uniqueAndID(w *world) {
	w.want("accepted", w.intent("a", core.ID("x"), core.Unique("k1")))
	w.want("duplicate", w.intent("b", core.ID("x"), core.Unique("k2")))
	w.want("duplicate", w.intent("c", core.ID("y"), core.Unique("k1")))
	w.want("accepted", w.intent("d", core.Unique("k2"))) // no lock has leaked
	w.want("accepted", w.intent("e", core.ID("y")))      // and no ID
	same := w.intent("f", core.Unique("k3"))
	w.want("accepted", same)
	w.want("duplicate", same)
	w.want("duplicate", w.intent("g", core.ID("x")))
}

// locksAreReleased leaves no lock behind, also of jobs whose arguments the server has rewritten: the library's own lock is
// named by the arguments and then stays for a day.
func locksAreReleased(w *world) {
	w.serve(succeed)
	for n := range 20 {
		w.must(w.exec.Execute(w.ctx, w.intent("", core.Unique(fmt.Sprint(n)), soon)))
	}
	w.await(20)
	w.eventually("all locks are released", func() bool {
		conn := w.rdb.Get()
		defer conn.Close()
		keys, err := redis.Strings(conn.Do("KEYS", w.ns+":airlock:unique:*"))
		w.must(err)
		return len(keys) == 0
	})
}

func uniqueRace(w *world) {
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			intents := []core.Intent{w.intent("", core.Unique("k"))}
			if n%2 == 0 {
				intents = append(intents, w.intent("", core.Unique("k")))
			}
			got, err := w.states(intents...)
			if strings.Trim(strings.NewReplacer("accepted", "", "duplicate", "", ",", "").Replace(got), " ") != "" {
				w.Errorf("%s: %v", got, err)
			}
			accepted.Add(int64(strings.Count(got, "accepted")))
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		w.Errorf("%d accepted", accepted.Load())
	}
}
