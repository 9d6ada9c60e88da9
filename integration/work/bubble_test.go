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
)

// inBubbles lists what takes long where time is real.
var inBubbles = []struct {
	behaviour string
	check     func(*world)
}{
	{"a job that nobody has got is put back meanwhile", strandedJobsArePutBackMeanwhile},
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
				w := &world{T: t, ctx: t.Context(), rdb: rdb, ns: "bubble", changed: make(chan struct{})}
				w.use(workexec.Options{})
				c.check(w)
				for _, worker := range w.workers {
					w.must(worker.Stop(context.Background()))
				}
				w.must(rdb.Close())
				m.Close()
			})
		})
	}
}

// strandedJobsArePutBackMeanwhile waits for the minute that a job must have been idle.
func strandedJobsArePutBackMeanwhile(w *world) {
	open := make(chan struct{})
	defer close(open)
	w.serve(func(_ context.Context, arg string) error {
		if arg == "long" {
			<-open
		}
		return nil
	})
	w.want("accepted", w.intent("long", core.ID("long")))
	w.await(1)
	ids, err := redis.Strings(w.do("SMEMBERS", "worker_pools"), nil)
	w.must(err)
	w.do("LPUSH", "jobs:test.work:"+ids[0]+":inprogress", `{"name":"test.work","id":"x","t":1,"args":{"airlock_payload":"\"a\""}}`)
	if r := w.await(2)[1]; r.job.ID != "x" {
		w.Errorf("%+v", r)
	}
	w.awaitPlace("x", "gone")
	if w.find("long").place != "running" {
		w.Error("a job that runs was put back")
	}
}

func longWaits(w *world) {
	w.serve(func(ctx context.Context, _ string) error {
		switch job, _ := core.JobFrom(ctx); {
		case job.Attempt == 1:
			return errDeclined
		case len(w.await(1)) == 2:
			return core.Snooze(20 * time.Minute)
		}
		return nil
	})
	in := w.intent("", core.Delay(30*time.Minute), core.Backoff(core.Fixed(10*time.Minute)), core.MaxAttempts(2), core.ID("x"))
	w.want("accepted", in)
	runs := w.await(3)
	at := in.Options.At
	for i, wait := range []time.Duration{0, 10 * time.Minute, 20 * time.Minute} {
		at = at.Add(wait)
		if late := runs[i].began.Sub(at); late < 0 || late > 20*time.Second { // the library looks every 5 seconds, and rounds up
			w.Errorf("run %d is %v late", i+1, late)
		}
		at = runs[i].began
	}
	w.awaitPlace("x", "gone")
}

func librarysSchedule(w *world) {
	w.serve(func(context.Context, string) error { return errDeclined })
	w.want("accepted", w.intent("", core.ID("x")))
	runs := w.await(4)
	for n := int64(1); n < 4; n++ {
		least := time.Duration(n*n*n*n+15) * time.Second
		if gap := runs[n].began.Sub(runs[n-1].began); gap < least || gap > least+30*time.Duration(n+1)*time.Second+20*time.Second {
			w.Errorf("attempt %d after %v", n+1, gap)
		}
	}
	w.awaitPlace("x", "dead")
}

func locksLiveLong(w *world) {
	const day = 24 * time.Hour
	key := core.Unique("k")
	w.want("accepted", w.intent("", core.ID("x"), key, core.Delay(30*day)))
	time.Sleep(36 * day)
	w.want("duplicate", w.intent("", key))
	time.Sleep(2 * day) // nobody has worked it for more than a week
	w.want("accepted", w.intent("", key))
}

func deadLongAgo(w *world) {
	w.serve(succeed)
	time.Sleep(time.Minute)
	// Another pool's clock is an hour behind, so that this one is not among the last.
	w.do("ZADD", "dead", time.Now().Add(-time.Hour).Unix(),
		`{"name":"test.work","id":"x","t":1,"args":{"airlock_payload":"\"a\""},"err":"unknown job when requeueing","failed_at":1}`)
	if r := w.await(1)[0]; r.job.ID != "x" {
		w.Errorf("%+v", r)
	}
}
