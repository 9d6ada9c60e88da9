package work_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

func errorsThatAreNotUTF8(w *world) {
	w.serve(func(context.Context, string) error { return errors.New("caf\xe9") })
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitPlace("x", "dead")
	if s := w.find("x"); s.LastErr != "caf\uFFFD" || s.Fails != 1<<30 {
		w.Errorf("stored %+v", s)
	}
}

func poisonIsDead(w *world) {
	w.serve(trial.Succeed)
	for id, args := range map[string]string{
		"payload": `{"airlock_payload":"{not JSON"}`, "base64": `{"airlock_base64":"!"}`, "plain": `{"a":5}`, "null": `5`,
		"envelope": `{"airlock":"{not JSON","airlock_payload":"\"a\""}`, "version": `{"airlock":"{\"v\":99}","airlock_payload":"\"a\""}`,
		"no text": `{"airlock":5,"airlock_payload":"\"a\""}`,
	} {
		if args == `5` {
			continue // the library cannot read such a job: see stranded messages
		}
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

func nativeHandlerWorksOurJob(w *world) {
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

func nativeProducerFeedsOurHandler(w *world) {
	type order struct {
		ID int64 `json:"id"`
	}
	orders := core.DeclareTask[order]("test.order")
	got := make(chan order, 10)
	reg, err := core.NewRegistry(core.Handle(orders, func(ctx context.Context, o order) error {
		job, _ := core.JobFrom(ctx)
		if job.MaxAttempts != 4 || job.Queue != "mail" || job.ID == "" {
			w.Errorf("job %+v", job)
		}
		got <- o
		return nil
	}))
	w.Must(err)
	w.serveOn(w.pool("mail", 1), reg)
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

// nativeJobsKeepTheLibrarysLimit is about a job of a native producer whose handler is ours.
func nativeJobsKeepTheLibrarysLimit(w *world) {
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

func nativeHandlersBesideOurs(w *world) {
	native := make(chan string, 10)
	pool := w.pool("", 2)
	pool.Job("test.native", func(job *work.Job) error {
		native <- job.ID
		return trial.ErrDeclined
	})
	w.serveOn(pool, w.Registry(trial.Succeed))
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

func middlewareThatRefusesIsAFailure(w *world) {
	type nothing struct{}
	pool := work.NewWorkerPool(nothing{}, 1, w.ns, w.rdb)
	pool.Middleware(func(job *work.Job, next work.NextMiddlewareFunc) error {
		if job.Fails < 2 {
			return trial.ErrDeclined
		}
		return next()
	})
	w.serveOn(pool, w.Registry(trial.Succeed))
	w.Want("accepted", w.Intent("", core.ID("x"), core.MaxAttempts(1)))
	w.awaitPlace("x", "retry")
	s := w.find("x")
	w.do("DEL", "retry")
	w.do("LPUSH", "jobs:test.work", strings.Replace(string(must(jsonOf(s.Job))), `"fails":1`, `"fails":2`, 1))
	w.awaitPlace("x", "dead") // more failures than attempts: the handler is not called
	if s := w.find("x"); !strings.Contains(s.LastErr, "more failures than attempts") {
		w.Errorf("%+v", s)
	}
}
