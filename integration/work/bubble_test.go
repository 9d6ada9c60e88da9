package work_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// inBubbles lists what takes long where time is real.
var inBubbles = []struct {
	behaviour string
	check     func(*testEnv)
}{
	{"a job that nobody has got is put back meanwhile", strandedJobsArePutBackMeanwhile},
	{"a job of a pool that died unknown is put back", jobsOfUnknownPoolsArePutBack},
	{"a long delay, backoff and snooze", longWaits},
	{"the library's own schedule", librarysSchedule},
	{"a lock lives for a week longer than its job waits", locksLiveLong},
	{"a job that dies while Redis is away is brought back", deadLongAgo},
}

func TestInABubble(t *testing.T) {
	t.Parallel()
	for _, c := range inBubbles {
		t.Run(c.behaviour, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := miniredis.NewMiniRedis()
				m.ClockTTL(true)
				rdb := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
					return redis.DialContext(ctx, "tcp", "", redis.DialContextFunc(func(context.Context, string, string) (net.Conn, error) { return m.Dial() }))
				}}
				w := setup(t, rdb, "bubble", workexec.Options{})
				w.Ctx = t.Context() // the days of a bubble are short
				c.check(w)
				for _, r := range w.running {
					w.Must(r.stop())
				}
				w.Must(rdb.Close())
				m.Close()
			})
		})
	}
}

// strandedJobsArePutBackMeanwhile is about a fetch whose answer never came.
func strandedJobsArePutBackMeanwhile(w *testEnv) {
	open := make(chan struct{})
	defer close(open)
	w.serve(func(_ context.Context, arg string) error {
		if arg == "long" {
			<-open
		}
		return nil
	})
	w.Want("accepted", w.Intent("long", core.ID("long")))
	w.Await(1)
	ids, err := redis.Strings(w.do("SMEMBERS", "worker_pools"), nil)
	w.Must(err)
	w.do("LPUSH", "jobs:test.work:"+ids[0]+"-airlock:inprogress", `{"name":"test.work","id":"x","t":1,"args":{"airlock_payload":"\"a\""}}`)
	if r := w.Await(2)[1]; r.Job.ID != "x" {
		w.Errorf("%+v", r)
	}
	w.awaitPlace("x", "gone")
	if w.find("long").place != "running" {
		w.Error("a job that runs was put back")
	}
}

// jobsOfUnknownPoolsArePutBack has a pool that was killed between its first fetch and its first heartbeat, and one whose
// heartbeat is only late.
func jobsOfUnknownPoolsArePutBack(w *testEnv) {
	w.serve(trial.Succeed)
	for _, id := range []string{"killed", "late"} {
		w.do("LPUSH", "jobs:test.work:"+id+":inprogress", `{"name":"test.work","id":"of-`+id+`","t":1,"args":{"airlock_payload":"\"a\""}}`)
		w.do("HSET", "jobs:test.work:lock_info", id, 1)
		w.do("INCR", "jobs:test.work:lock")
	}
	w.do("HSET", "jobs:test.work:lock_info", "stopped", 0)
	time.Sleep(20 * time.Second)
	if n := len(w.Await(0)); n != 0 {
		w.Errorf("%d jobs ran, of pools that may yet be alive", n)
	}
	w.do("SADD", "worker_pools", "late")
	for range 24 {
		w.do("HSET", "worker_pools:late", "heartbeat_at", time.Now().Unix())
		time.Sleep(5 * time.Second)
	}
	if runs := w.Await(0); len(runs) != 1 || runs[0].Job.ID != "of-killed" {
		w.Errorf("%+v, want one run of the job of the pool that was killed", runs)
	}
	if place := w.find("of-late").place; place != "running" {
		w.Errorf("the other pool's job is %s", place)
	}
	if n, err := redis.Int(w.do("GET", "jobs:test.work:lock"), nil); n != 1 || err != nil {
		w.Errorf("%d jobs are counted as running, %v", n, err)
	}
	counts, err := redis.IntMap(w.do("HGETALL", "jobs:test.work:lock_info"), nil)
	w.Must(err)
	if _, kept := counts["stopped"]; kept || counts["late"] != 1 {
		w.Errorf("the pools' counts are %v", counts)
	}
}

func longWaits(w *testEnv) {
	w.serve(func(ctx context.Context, _ string) error {
		switch job, _ := worker.JobFrom(ctx); {
		case job.Attempt == 1:
			return trial.ErrDeclined
		case len(w.Await(1)) == 2:
			return worker.Snooze(20 * time.Minute)
		}
		return nil
	})
	in := w.Intent("", core.Delay(30*time.Minute), core.Backoff(core.Fixed(10*time.Minute)), core.MaxAttempts(2), core.ID("x"))
	w.Want("accepted", in)
	runs := w.Await(3)
	at := in.Options.At
	for i, wait := range []time.Duration{0, 10 * time.Minute, 20 * time.Minute} {
		at = at.Add(wait)
		if late := runs[i].Began.Sub(at); late < 0 || late > 5*time.Second { // a worker looks every second, and rounds up
			w.Errorf("run %d is %v late", i+1, late)
		}
		at = runs[i].Began
	}
	w.awaitPlace("x", "gone")
}

func librarysSchedule(w *testEnv) {
	w.serve(func(context.Context, string) error { return trial.ErrDeclined })
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(4)))
	runs := w.Await(4)
	for n := int64(1); n < 4; n++ {
		least := time.Duration(n*n*n*n+15) * time.Second
		if gap := runs[n].Began.Sub(runs[n-1].Began); gap < least || gap > least+30*time.Duration(n+1)*time.Second+20*time.Second {
			w.Errorf("attempt %d after %v", n+1, gap)
		}
	}
	w.awaitPlace("x", "dead")
}

func locksLiveLong(w *testEnv) {
	const day = 24 * time.Hour
	key := core.Unique("k")
	w.Want("accepted", w.Intent("", core.ID("x"), key, core.Delay(30*day)))
	time.Sleep(36 * day)
	w.Want("duplicate", w.Intent("", key))
	time.Sleep(2 * day) // nobody has worked it for more than a week
	w.Want("accepted", w.Intent("", key))
}

func deadLongAgo(w *testEnv) {
	w.serve(trial.Succeed)
	time.Sleep(time.Minute)
	// Another pool's clock is an hour behind, so that this one is not among the last.
	w.do("ZADD", "dead", time.Now().Add(-time.Hour).Unix(),
		`{"name":"test.work","id":"x","t":1,"args":{"airlock_payload":"\"a\""},"err":"unknown job when requeueing","failed_at":1}`)
	if r := w.Await(1)[0]; r.Job.ID != "x" {
		w.Errorf("%+v", r)
	}
}
