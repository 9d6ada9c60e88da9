package asynq_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

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
	w.awaitState("default", "first", "active")
	w.want("duplicate", w.intent("second", key))
	close(open)
	w.awaitState("default", "first", "completed")
	w.want("accepted", w.intent("dies", key, core.ID("dies"))) // free after success
	w.awaitState("default", "dies", "archived")
	w.want("accepted", w.intent("retries", key, core.ID("retries"), core.Backoff(core.Fixed(time.Hour)))) // and after failure
	w.awaitState("default", "retries", "retry")
	w.want("duplicate", w.intent("second", key))
	w.must(w.inspector().DeleteTask("default", "retries"))
	w.want("accepted", w.intent("later", key, core.Delay(time.Hour))) // and after it was deleted by hand
	w.want("duplicate, duplicate", w.intent("second", key), w.intent("third", key))
}

func uniqueReleasedByNativeWorker(w *world) {
	key := core.Unique("k")
	w.use(nil)
	w.want("accepted, duplicate", w.intent("a", key, core.ID("a")), w.intent("b", key))
	w.serveNative(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		if string(t.Payload()) == `"c"` {
			return fmt.Errorf("never: %w", asynq.SkipRetry)
		}
		return nil
	}), asynq.Config{})
	w.awaitState("default", "a", "completed")
	w.want("accepted", w.intent("c", key, core.ID("c")))
	w.awaitState("default", "c", "archived")
	w.want("accepted", w.intent("d", key))
}

// uniqueAndID is where asynq's own lock leaks: it is taken before the ID is looked for.
func uniqueAndID(w *world) {
	w.want("accepted", w.intent("a", core.ID("x"), core.Unique("k1")))
	w.want("duplicate", w.intent("b", core.ID("x"), core.Unique("k2")))
	w.want("duplicate", w.intent("c", core.ID("y"), core.Unique("k1")))
	w.want("accepted", w.intent("d", core.Unique("k2"))) // no lock has leaked
	w.want("accepted", w.intent("e", core.ID("y")))
	same := w.intent("f", core.Unique("k3"))
	w.want("accepted", same)
	w.want("duplicate", same)
	w.want("duplicate", w.intent("g", core.ID("x")))
}

func locksAreSwept(w *world) {
	w.serve(succeed)
	const jobs = 400
	for n := range jobs {
		w.must(w.exec.Execute(w.ctx, w.intent("", core.Unique(fmt.Sprint(n)))))
		w.await(n + 1)
	}
	locks := w.rdb.HLen(w.ctx, "asynq:{default}:airlock:unique").Val()
	if locks == 0 || locks > jobs/2 {
		w.Errorf("%d locks are left of %d finished jobs", locks, jobs)
	}
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
