package work_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

func errorsThatAreNotUTF8(w *testEnv) {
	w.serve(func(context.Context, string) error { return errors.New("caf\xe9") })
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitPlace("x", "dead")
	if s := w.find("x"); s.LastErr != "caf\uFFFD" || s.Fails != 1 {
		w.Errorf("stored %+v", s)
	}
}

func poisonIsDead(w *testEnv) {
	w.serve(trial.Succeed)
	for id, args := range map[string]string{
		"payload": `{"airlock_payload":"{not JSON"}`, "base64": `{"airlock_base64":"!"}`,
		"envelope": `{"airlock":"{not JSON","airlock_payload":"\"a\""}`, "no text": `{"airlock":5,"airlock_payload":"\"a\""}`,
	} {
		w.do("SADD", "known_jobs", "test.work")
		w.do("LPUSH", "jobs:test.work", `{"name":"test.work","id":"`+id+`","t":1,"args":`+args+`}`)
		w.awaitPlace(id, "dead")
		if s := w.find(id); strings.Contains(s.LastErr, "not JSON") || s.LastErr == "" {
			w.Errorf("%s: %+v", id, s)
		}
	}
	w.Want("accepted", w.Intent("good"))
	if runs := w.Await(1); len(runs) != 1 || runs[0].Arg != "good" {
		w.Errorf("runs %+v", runs)
	}
}

func nativeHandlerWorksOurJob(w *testEnv) {
	got := make(chan string, 2)
	w.serveNative("test.work", func(job *work.Job) error {
		payload, err := workexec.Payload(job)
		got <- fmt.Sprint(job.Name, " ", string(payload), " ", err, " ", job.ID, " ", job.ArgString("airlock_payload"), " ", job.ArgError())
		return nil
	})
	w.Want("accepted", w.Intent("a", core.ID("x"), core.Header("Trace", "t1")))
	if job := trial.Receive(w.Trial, got); job != `test.work "a" <nil> x "a" <nil>` {
		w.Errorf("the native handler got %s", job)
	}
	w.awaitPlace("x", "gone")
}

func nativeProducerFeedsOurHandler(w *testEnv) {
	type order struct {
		ID int64 `json:"id"`
	}
	orders := core.DeclareTask[order]("test.order")
	got := make(chan order, 10)
	reg, err := worker.NewRegistry(worker.Handle(orders, func(ctx context.Context, o order) error {
		job, _ := worker.JobFrom(ctx)
		if job.MaxAttempts != 4 || job.Queue != "mail" || job.ID == "" {
			w.Errorf("job %+v", job)
		}
		got <- o
		return nil
	}))
	w.Must(err)
	w.serveWith(reg, workexec.WorkerOptions{Queues: []string{"mail"}})
	native := work.NewEnqueuer(workexec.Namespace(w.ns, "mail"), w.rdb)
	_, err = native.Enqueue("test.order", work.Q{"id": 9007199254740993})
	w.Must(err)
	if o := trial.Receive(w.Trial, got); o.ID != 9007199254740993 {
		w.Errorf("order %d: the library's float64 has come through", o.ID)
	}
	job, err := native.EnqueueUnique("test.order", work.Q{"id": 7})
	w.Must(err)
	if o := trial.Receive(w.Trial, got); job == nil || o.ID != 7 {
		w.Errorf("order %d", o.ID)
	}
}

// queuesHaveNamesOfTheirOwn is about a queue that existed before, under a namespace of its own.
func queuesHaveNamesOfTheirOwn(w *testEnv) {
	names := map[string]string{"mail": w.ns + "-Mail.App", "default": w.ns + "-main"}
	exec, err := workexec.New(w.rdb, &workexec.Options{Namespace: w.ns, QueueNames: names})
	w.Must(err)
	w.Must(exec.Execute(w.Ctx, w.Intent("a", core.Queue("mail")), w.Intent("b"), w.Intent("c", core.Queue("other"))))
	for queue, namespace := range map[string]string{"mail": w.ns + "-Mail.App", "default": w.ns + "-main", "other": workexec.Namespace(w.ns, "other")} {
		if jobs := w.jobs(namespace); len(jobs) != 1 {
			w.Errorf("queue %s: %d jobs in %s", queue, len(jobs), namespace)
		}
	}
	_, err = work.NewEnqueuer(w.ns+"-Mail.App", w.rdb).Enqueue("test.work", work.Q{"airlock_payload": `"d"`})
	w.Must(err)
	w.serveWith(w.Registry(trial.Succeed), workexec.WorkerOptions{QueueNames: names, Queues: []string{"default", "other"}})
	w.Await(2)
	worker, err := workexec.Register(work.NewWorkerPool(struct{}{}, 2, w.ns+"-Mail.App", w.rdb), w.Registry(trial.Succeed),
		&workexec.WorkerOptions{QueueNames: names, Logger: quiet})
	w.Must(err)
	w.start(worker)
	want := map[string]string{"a": "mail", "b": "default", "c": "other", "d": "mail"}
	for _, r := range w.Await(4) {
		if r.Job.Queue != want[r.Arg] {
			w.Errorf("job %s is in queue %s, want %s", r.Arg, r.Job.Queue, want[r.Arg])
		}
	}
}

// concurrencyIsOfAllQueues has more jobs in two queues than may run at a time.
func concurrencyIsOfAllQueues(w *testEnv) {
	var running, most atomic.Int64
	w.serveWith(w.Registry(func(context.Context, string) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		<-time.After(10 * time.Millisecond)
		return nil
	}), workexec.WorkerOptions{Concurrency: 3, Queues: []string{"default", "mail"}})
	w.Must(w.exec.Execute(w.Ctx, append(w.Batch(0, 50), w.Batch(0, 50, core.Queue("mail"))...)...))
	w.Await(100)
	if n := most.Load(); n != 3 {
		w.Errorf("%d jobs ran at a time, want 3", n)
	}
}

// lateAnswersCount has handlers that answer after their time is up.
func lateAnswersCount(w *testEnv) {
	w.serve(func(ctx context.Context, arg string) error {
		<-ctx.Done()
		job, _ := worker.JobFrom(ctx)
		switch {
		case arg == "dead":
			return worker.Permanent(trial.ErrDeclined)
		case arg == "snoozed" && len(w.Await(0)) < 4:
			return worker.Snooze(time.Second)
		case job.Attempt != 1:
			w.Errorf("%s: attempt %d", arg, job.Attempt)
		}
		return nil
	})
	for _, id := range []string{"done", "dead", "snoozed"} {
		w.Want("accepted", w.Intent(id, core.ID(id), core.Timeout(50*time.Millisecond), core.MaxAttempts(3)))
	}
	w.awaitPlace("done", "gone")
	w.awaitPlace("dead", "dead")
	w.Await(4)
	w.awaitPlace("snoozed", "gone")
	if n := len(w.Await(4)); n != 4 {
		w.Errorf("%d runs, want 4", n)
	}
}

// nativeJobsKeepTheLibrarysLimit is about a job of a native producer whose handler is ours.
func nativeJobsKeepTheLibrarysLimit(w *testEnv) {
	w.serve(func(context.Context, string) error { return trial.ErrDeclined })
	for fails := range 4 {
		id := fmt.Sprint("native-", fails)
		w.do("LPUSH", "jobs:test.work", fmt.Sprintf(`{"name":"test.work","id":%q,"t":1,"args":{"airlock_payload":"\"a\""},"fails":%d}`, id, fails))
		w.do("SADD", "known_jobs", "test.work")
		if fails == 3 {
			w.awaitPlace(id, "dead")
			break
		}
		w.awaitPlace(id, "retry")
		s := w.find(id)
		least := int64(15 + (fails+1)*(fails+1)*(fails+1)*(fails+1)) // of the library's own schedule
		if wait := s.score - s.FailedAt; wait < least || wait > least+30*int64(fails+2)+1 || s.Fails != int64(fails+1) {
			w.Errorf("failed %d times, waits %d s", s.Fails, wait)
		}
	}
}

func nativeHandlersBesideOurs(w *testEnv) {
	native := make(chan string, 10)
	pool := w.pool("", 2)
	pool.Job("test.native", func(job *work.Job) error {
		native <- job.ID
		return trial.ErrDeclined
	})
	w.register(pool, w.Registry(trial.Succeed))
	job, err := work.NewEnqueuer(w.ns, w.rdb).Enqueue("test.native", nil)
	w.Must(err)
	w.Want("accepted", w.Intent("ours"))
	if got := trial.Receive(w.Trial, native); got != job.ID {
		w.Errorf("the native handler got %s", got)
	}
	if runs := w.Await(1); len(runs) != 1 || runs[0].Arg != "ours" {
		w.Errorf("runs %+v", runs)
	}
	w.awaitPlace(job.ID, "retry") // as the library says: 16 s and more
	if s := w.find(job.ID); s.score-s.FailedAt < 16 || s.Fails != 1 {
		w.Errorf("%+v", s)
	}
	for name, want := range map[string]string{"test.work": "0", "test.native": "0"} {
		if got := w.do("GET", "jobs:"+name+":max_concurrency"); string(got.([]byte)) != want {
			w.Errorf("%s is worked with max_concurrency %s, whose lock drifts", name, got)
		}
	}
}

func middlewareThatRefusesIsAFailure(w *testEnv) {
	type nothing struct{}
	pool := work.NewWorkerPool(nothing{}, 1, w.ns, w.rdb)
	pool.Middleware(func(job *work.Job, next work.NextMiddlewareFunc) error {
		if job.Fails < 2 {
			return trial.ErrDeclined
		}
		return next()
	})
	w.register(pool, w.Registry(trial.Succeed))
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitPlace("x", "retry")
	s := w.find("x")
	w.do("DEL", "retry")
	w.do("LPUSH", "jobs:test.work", strings.Replace(string(must(jsonOf(s.Job))), `"fails":1`, `"fails":2`, 1))
	w.awaitPlace("x", "dead") // as many failures as attempts: the handler is not called
	if s := w.find("x"); !strings.Contains(s.LastErr, "attempts used up") {
		w.Errorf("%+v", s)
	}
}
