package asynq_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

// logged is what a worker has logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines returns how many lines of a level have this text.
func (l *logged) lines(level, text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "level="+level) && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestRunsAreLogged(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	var log logged
	w.run(w.Registry(func(_ context.Context, arg string) error { return answers[arg].err }), &asynqexec.WorkerOptions{Logger: log.logger()})
	for name := range answers {
		w.Want("accepted", w.Intent(name, core.ID(name), core.Header("Secret", "hidden"), core.Backoff(core.Fixed(time.Hour))))
	}
	unknown, err := core.DeclareTask[string]("test.stranger").Intent("hidden", core.ID("unknown"))
	w.Must(err)
	w.Want("accepted", unknown)
	for want, level := range map[string]string{
		`"airlock: job done" task=test.work id=done queue=default attempt=1 took=`:          "DEBUG",
		`"airlock: job snoozed" task=test.work id=snooze`:                                   "DEBUG",
		`"airlock: job dead" task=test.work id=permanent queue=default attempt=1 took=`:     "ERROR",
		`"airlock: attempt failed" task=test.work id=fails queue=default attempt=1 took=`:   "WARN",
		`"airlock: job parked" task=test.stranger id=unknown queue=default attempt=1 took=`: "WARN",
		`asynq: Starting processing`: "INFO",
	} {
		w.Eventually(fmt.Sprintf("%s %s", level, want), func() bool { return log.lines(level, want) == 1 })
	}
	if strings.Contains(log.String(), "hidden") {
		t.Errorf("a payload or a header is in the log: %s", log.String())
	}
}

// Each event of a job is one line in our form, whatever asynq itself logs about it.
func TestEachEventIsOneLine(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	var log logged
	began := make(chan struct{}, 2)
	stop := w.run(w.Registry(func(ctx context.Context, arg string) error {
		if arg != "long" {
			return answers[arg].err
		}
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}), &asynqexec.WorkerOptions{Logger: log.logger(), DrainTimeout: -1})
	ids := []string{"long", "native", "exhausted"}
	for name := range answers {
		ids = append(ids, name)
		w.Want("accepted", w.Intent(name, core.ID(name), core.Backoff(core.Fixed(time.Hour))))
	}
	w.Want("accepted, accepted", w.Intent("fails", core.ID("exhausted"), core.MaxAttempts(1)), w.Intent("long", core.ID("long")))
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.Ctx, asynq.NewTask("test.work", []byte(`"long"`)), asynq.TaskID("native"), asynq.MaxRetry(0))
	w.Must(err)
	for range 2 {
		trial.Receive(w.Trial, began)
	}
	w.Eventually("all others are logged", func() bool { return log.lines("", "airlock:") == len(ids)-2 })
	w.Must(stop())
	for _, id := range ids {
		if n := log.lines("", " id="+id+" ") + log.lines("", "task id="+id+"\""); n != 1 {
			t.Errorf("%d lines about %s", n, id)
		}
	}
	if n := log.lines("", "airlock:"); n != len(ids) || log.lines("INFO", "asynq: Exiting") != 1 {
		t.Errorf("%d lines of ours, want %d:\n%s", n, len(ids), log.String())
	}
}

// The death of a native task is in asynq's own line alone.
func TestNativeTasksKeepAsynqsLines(t *testing.T) {
	t.Parallel()
	w := setup(t, embedded(t), nil)
	var log logged
	cfg := asynq.Config{TaskCheckInterval: 10 * time.Millisecond}
	w.Must(asynqexec.ConfigureServer(&cfg, &asynqexec.WorkerOptions{Logger: log.logger(), Concurrency: slots}))
	srv := asynq.NewServerFromRedisClient(w.connect(), cfg)
	reg := w.Registry(func(context.Context, string) error { return worker.Permanent(trial.ErrDeclined) })
	w.Must(srv.Start(asynqexec.Middleware(reg)(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		return fmt.Errorf("%w: %w", trial.ErrDeclined, asynq.SkipRetry)
	}))))
	w.Cleanup(srv.Shutdown)
	native := asynq.NewClientFromRedisClient(w.connect())
	_, err := native.EnqueueContext(w.Ctx, asynq.NewTask("test.native", nil), asynq.TaskID("native"))
	w.Must(err)
	w.Want("accepted", w.Intent("", core.ID("ours")))
	w.awaitState("default", "native", "archived")
	w.awaitState("default", "ours", "archived")
	if n := log.lines("WARN", "Retry exhausted for task id=native"); n != 1 {
		t.Errorf("%d lines of asynq about its task", n)
	}
	if n := log.lines("", "id=ours"); n != 1 {
		t.Errorf("%d lines about our job:\n%s", n, log.String())
	}
}
