package poolexec_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

// secret must not be logged.
const secret = "in the payload"

func TestEveryRunIsLoggedAsOnAQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		pool := newPool(t, &poolexec.Options{Workers: 1, Logger: logger, OnDone: func(core.Intent, worker.Verdict) {}})
		n := 0
		task := core.NewTask("test.log", func(ctx context.Context, _ string) error {
			job, _ := worker.JobFrom(ctx)
			n++
			switch {
			case job.ID == "interrupted":
				<-ctx.Done()
				return ctx.Err()
			case job.ID == "dead":
				return worker.Permanent(errTest)
			case n == 1:
				return worker.Snooze(time.Minute)
			case n == 2:
				return errTest
			case n == 3:
				goexit()
			}
			return nil
		}, core.Queue("mail"), core.Header("Token", secret), core.Backoff(core.Fixed(time.Second)))
		for _, id := range []string{"job", "dead", "interrupted"} {
			mustExecute(t, pool, newIntent(t, task, secret, core.ID(id)))
			time.Sleep(time.Hour)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := pool.Stop(ctx); err == nil {
			t.Error("Stop: want the interrupted job")
		}
		got := regexp.MustCompile(`time=\S+ `).ReplaceAllString(log.String(), "")
		want := strings.Join([]string{
			`level=DEBUG msg="airlock: job snoozed" task=test.log id=job queue=mail attempt=1 took=0s next=1m0s`,
			`level=WARN msg="airlock: attempt failed" task=test.log id=job queue=mail attempt=1 took=0s error="test failure" next=1s`,
			`level=WARN msg="airlock: attempt failed" task=test.log id=job queue=mail attempt=2 took=0s error="airlock: the handler ended its goroutine with runtime.Goexit" next=1s`,
			`level=DEBUG msg="airlock: job done" task=test.log id=job queue=mail attempt=3 took=0s`,
			`level=ERROR msg="airlock: job dead" task=test.log id=dead queue=mail attempt=1 took=0s error="test failure"`,
			`level=WARN msg="airlock: job put back" task=test.log id=interrupted queue=mail attempt=1 took=1h0m0s error="context canceled"`,
		}, "\n") + "\n"
		if got != want {
			t.Errorf("logged\n%swant\n%s", got, want)
		}
	})
}

func TestObserversSeeEveryRunOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs []string
		task := core.DeclareTask[string]("test.observed", core.MaxAttempts(2), core.Backoff(core.Fixed(time.Second)))
		reg, err := worker.NewRegistry(
			worker.Handle(task, func(ctx context.Context, how string) error {
				if job, _ := worker.JobFrom(ctx); how == "goexit" && job.Attempt == 1 {
					goexit()
				}
				return nil
			}),
			worker.Observer(func(_ context.Context, run worker.Run) {
				runs = append(runs, run.Verdict.Action.String())
				if run.Delivery.ID == "observer-exits" {
					goexit()
				}
			}),
		)
		if err != nil {
			t.Fatal(err)
		}
		pool := newPool(t, &poolexec.Options{Workers: 1, Registry: reg})
		for _, tc := range []struct{ id, how, want string }{
			{"plain", "", "done"},
			{"handler-exits", "goexit", "retry done"},
			{"observer-exits", "goexit", "retry done dead"}, // what its Perform would have returned is lost
		} {
			runs = nil
			mustExecute(t, pool, newIntent(t, task, tc.how, core.ID(tc.id)))
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := strings.Join(runs, " "); got != tc.want {
				t.Errorf("%s: observed %s, want %s", tc.id, got, tc.want)
			}
		}
		mustStop(t, pool)
	})
}
