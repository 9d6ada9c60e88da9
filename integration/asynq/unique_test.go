package asynq_test

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

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
	w.awaitState("default", "first", "active")
	w.Want("duplicate", w.Intent("second", key))
	close(open)
	w.awaitState("default", "first", "completed")
	w.Want("accepted", w.Intent("dies", key, core.ID("dies"))) // free after success
	w.awaitState("default", "dies", "archived")
	w.Want("accepted", w.Intent("retries", key, core.ID("retries"), core.Backoff(core.Fixed(time.Hour)))) // and after failure
	w.awaitState("default", "retries", "retry")
	w.Want("duplicate", w.Intent("second", key))
	w.Must(w.inspector().DeleteTask("default", "retries"))
	w.Want("accepted", w.Intent("later", key, core.Delay(time.Hour))) // and after it was deleted by hand
	w.Want("duplicate, duplicate", w.Intent("second", key), w.Intent("third", key))
}

func uniqueReleasedByNativeWorker(w *testEnv) {
	key := core.Unique("k")
	w.use(nil)
	w.Want("accepted, duplicate", w.Intent("a", key, core.ID("a")), w.Intent("b", key))
	w.serveNative(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		if string(t.Payload()) == `"c"` {
			return fmt.Errorf("never: %w", asynq.SkipRetry)
		}
		return nil
	}), asynq.Config{})
	w.awaitState("default", "a", "completed")
	w.Want("accepted", w.Intent("c", key, core.ID("c")))
	w.awaitState("default", "c", "archived")
	w.Want("accepted", w.Intent("d", key))
}

func locksAreSwept(w *testEnv) {
	w.serve(trial.Succeed)
	const jobs = 400
	for n := range jobs {
		w.Must(w.exec.Execute(w.Ctx, w.Intent("", core.Unique(fmt.Sprint(n)))))
		w.Await(n + 1)
	}
	locks := w.rdb.HLen(w.Ctx, "asynq:{default}:airlock:unique").Val()
	if locks == 0 || locks > jobs/2 {
		w.Errorf("%d locks are left of %d finished jobs", locks, jobs)
	}
}
