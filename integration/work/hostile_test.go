package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// garbage is what no producer of jobs stores.
var garbage = []string{
	"{", "x\x00\xff", "5", `"text"`, "[]", "[1,2]", "null", "true", "{}", `{"name":5}`, `{"name":""}`, `{"name":null,"id":"x"}`,
	`{"id":"x"}`, `{"name":{},"args":{}}`, strings.Repeat("[", 2000), `{"name":"test.work","id":5}`, `{"name":"test.work","args":5}`,
	`{"name":"test.work","args":[1]}`, `{"name":"test.work","t":"soon","args":{}}`, `{"name":"test.work","fails":"many","args":{}}`,
}

// garbageIsBuried has more bad messages than slots in every list and set. None of them holds up a job, and all are among the
// dead in a form that the library's tools can show.
func garbageIsBuried(w *testEnv) {
	now := time.Now().Unix()
	for n := range 3 {
		for i, text := range garbage {
			for _, set := range []string{"scheduled", "retry"} {
				w.do("ZADD", set, now-1000, fmt.Sprintf("%s%*s", text, n*len(garbage)+i+1, "")) // members of a set differ
			}
			w.do("LPUSH", "jobs:test.work", text)
		}
	}
	w.do("LPUSH", "jobs:test.work", `{"name":"test.other","id":"wrong list","t":1,"args":{}}`)
	w.Want("accepted", w.Intent("now"))
	w.Want("accepted", w.Intent("soon", core.Delay(time.Second)))
	var log lines
	w.serveWith(w.Registry(func(ctx context.Context, _ string) error {
		if job, _ := worker.JobFrom(ctx); job.Attempt == 1 {
			return trial.ErrDeclined
		}
		return nil
	}), workexec.WorkerOptions{Concurrency: 2, Logger: log.logger()})
	w.do("ZADD", "retry", now-1000, `{"name":"test.work","id":"retried","t":1,"args":{"airlock_payload":"\"retried\""},"fails":1}`)
	ran := map[string]bool{}
	w.Eventually("now, soon and retried have run", func() bool {
		for _, r := range w.Await(0) {
			ran[r.Arg] = true
		}
		return ran["now"] && ran["soon"] && ran["retried"]
	})
	w.Eventually("nothing bad is left in its way", func() bool {
		left := 0
		for _, key := range []string{"scheduled", "retry"} {
			for _, m := range w.do("ZRANGEBYSCORE", key, "-inf", now-1000).([]any) {
				left += len(m.([]byte))
			}
		}
		return left == 0 && w.do("LLEN", "jobs:test.work") == int64(0)
	})
	for _, m := range w.do("ZRANGE", "dead", 0, -1).([]any) {
		if text := m.([]byte); !json.Valid(text) {
			w.Errorf("among the dead: %q", text)
		}
	}
	if n, want := log.count("level=ERROR", "job dead"), 3*3*len(garbage)+1; n != want {
		w.Errorf("%d dead messages are logged, want %d", n, want)
	}
	if n := log.count("level=WARN", "refuses"); n != 0 {
		w.Errorf("Redis refuses %d calls", n)
	}
}

// listsOfAnotherTypeHoldNothingUp has a key that is no list where the jobs of a name should be.
func listsOfAnotherTypeHoldNothingUp(w *testEnv) {
	w.do("SET", "jobs:test.strange", "no list")
	strange := core.DeclareTask[string]("test.strange")
	w.do("ZADD", "scheduled", 1, `{"name":"test.strange","id":"strange","t":1,"args":{}}`)
	w.Want("accepted", w.Intent("soon", core.Delay(time.Second)))
	reg, err := worker.NewRegistry(
		worker.Handle(trial.Task, func(ctx context.Context, arg string) error { w.Note(ctx, arg); return nil }),
		worker.Handle(strange, func(context.Context, string) error { return nil }))
	w.Must(err)
	var log lines
	w.serveWith(reg, workexec.WorkerOptions{Logger: log.logger()})
	w.Await(1)
	w.Eventually("the job without a list is buried", func() bool { return w.do("ZCARD", "dead") == int64(1) })
	if n := log.count("level=WARN", "refuses"); n != 1 {
		w.Errorf("%d lines about the list", n)
	}
}

// TestLaterVersionsAreParked has jobs of a later release, one of them in its last attempt, and a worker that does not
// understand them. They wait, cost no attempt and no slot.
func TestLaterVersionsAreParked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		f := &freezer{m: m}
		w := setup(t, f.pool(), "later", workexec.Options{})
		w.Ctx = t.Context()
		for i := range 10 {
			w.do("LPUSH", "jobs:test.work", fmt.Sprintf(`{"name":"test.work","id":"later-%d","t":1,"args":{"airlock":"{\"v\":99,\"max_attempts\":3}","airlock_payload":"\"a\""},"fails":%d}`, i, 3*i))
		}
		w.do("SADD", "known_jobs", "test.work")
		var log lines
		r := w.serveWith(w.Registry(trial.Succeed), workexec.WorkerOptions{Concurrency: 2, ParkFor: 10 * time.Minute, Logger: log.logger()})
		w.Want("accepted", w.Intent("now"))
		w.Await(1)
		time.Sleep(25 * time.Minute)
		if n := log.count("level=WARN", "job parked"); n != 30 {
			t.Errorf("%d times a job was parked in 25 minutes, want 30", n)
		}
		for _, s := range w.jobs("later") {
			if s.place != "retry" || s.Fails != 3*int64(s.ID[len(s.ID)-1]-'0') {
				t.Errorf("%+v", s)
			}
		}
		if len(w.jobs("later")) != 10 {
			t.Error("a job is lost")
		}
		w.Must(r.stop())
		w.Must(w.rdb.Close())
		m.Close()
	})
}

// TestJobsOfUnknownTasksAreParked has two workers and neither knows the task, then one that does.
func TestJobsOfUnknownTasksAreParked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		f := &freezer{m: m}
		w := setup(t, f.pool(), "parked", workexec.Options{})
		w.Ctx = t.Context()
		stranger := core.DeclareTask[string]("test.stranger", core.MaxAttempts(1))
		in, err := stranger.Intent("", core.ID("x"))
		w.Must(err)
		delayed, err := stranger.Intent("", core.ID("y"), core.Delay(5*time.Minute))
		w.Must(err)
		w.Want("accepted, accepted, accepted", in, delayed, w.Intent("known"))
		var log lines
		var observed atomic.Int64
		observer := worker.Observer(func(_ context.Context, run worker.Run) {
			if run.Verdict.Action == worker.Parked && run.Delivery.Task == "test.stranger" && run.Delivery.Attempt == 1 {
				observed.Add(1)
			}
		})
		for range 2 {
			reg, err := worker.NewRegistry(worker.Handle(trial.Task, func(context.Context, string) error { return nil }), observer)
			w.Must(err)
			w.serveWith(reg, workexec.WorkerOptions{Logger: log.logger()})
		}
		time.Sleep(10 * time.Minute)
		// Of x about ten times, of y five times, by one worker at a time.
		n := log.count("level=WARN", "job parked", "task=test.stranger")
		if n < 12 || n > 16 || observed.Load() != int64(n) {
			t.Errorf("%d lines and %d calls of an observer in ten minutes, want 12 to 16 of each:\n%s", n, observed.Load(), log.all.String())
		}
		if x := w.find("x"); x.place != "waiting" || x.Fails != 0 {
			t.Errorf("%+v", x)
		}
		var ran atomic.Int64
		knows, err := worker.NewRegistry(worker.Handle(stranger, func(context.Context, string) error { ran.Add(1); return nil }))
		w.Must(err)
		w.serveWith(knows, workexec.WorkerOptions{})
		time.Sleep(time.Second)
		if ran.Load() != 2 {
			t.Errorf("%d jobs ran once a worker knew the task, want 2", ran.Load())
		}
		third, err := stranger.Intent("")
		w.Must(err)
		w.Want("accepted", third)
		time.Sleep(3 * time.Minute)
		if again := log.count("job parked"); again != n || ran.Load() != 3 {
			t.Errorf("%d more lines, %d runs", again-n, ran.Load())
		}
		for _, r := range w.running {
			w.Must(r.stop())
		}
		w.Must(w.rdb.Close())
		m.Close()
	})
}

// TestALaneThatNobodyTakesIsLoggedOnce has jobs in lanes for a worker without lanes.
func TestALaneThatNobodyTakesIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		f := &freezer{m: m}
		w := setup(t, f.pool(), "lane", workexec.Options{Lanes: true})
		w.Ctx = t.Context()
		w.Want("accepted, accepted", w.Intent("", core.Priority(10)), w.Intent(""))
		w.opts.Lanes = false
		var log lines
		r := w.serveWith(w.Registry(trial.Succeed), workexec.WorkerOptions{Logger: log.logger()})
		time.Sleep(3 * time.Minute)
		if n := log.count("level=WARN", "WorkerOptions.Lanes", "lane=test.work!high"); n != 1 || log.count("level=WARN") != 1 {
			t.Errorf("logged %d times:\n%s", n, log.all.String())
		}
		w.Must(r.stop())
		w.Must(w.rdb.Close())
		m.Close()
	})
}
