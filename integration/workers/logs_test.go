package workers_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/hibiken/asynq"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	poolexec "github.com/goairlock/airlock/executors/pool"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// A queue starts a worker that ends with the test, and returns its executor.
type queue func(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor

var queues = map[string]queue{
	"pool": openPool, "asynq": openAsynq, "river": openRiver, "work": openWork, "nats": openNATS,
}

// TestEveryWorkerLogsTheSame runs the same jobs on every queue and compares the lines
// about them: message, level and keys.
func TestEveryWorkerLogsTheSame(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"done":            "DEBUG airlock: job done attempt id queue task took",
		"fails 1":         "WARN airlock: attempt failed attempt error id next queue task took",
		"fails 2":         "ERROR airlock: job dead attempt error id queue task took",
		"dies":            "ERROR airlock: job dead attempt error id queue task took",
		"snoozes":         "DEBUG airlock: job snoozed attempt id next queue task took",
		"bad arguments 1": "WARN airlock: attempt failed attempt error id next queue task took",
		"bad arguments 2": "ERROR airlock: job dead attempt error id queue task took",
		"unknown":         "WARN airlock: job parked attempt error id next queue task took",
	}
	for name, open := range queues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log lines
			jobs, want := newJobs(t), maps.Clone(want)
			if name == "pool" { // it refuses the task
				delete(jobs.intents, "unknown")
				delete(want, "unknown")
			}
			exec := open(t, jobs.registry, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			jobs.dispatch(t, exec)
			got := jobs.await(t, &log, len(want))
			for what, line := range want {
				if got[what] != line {
					t.Errorf("%s: %q, want %q", what, got[what], line)
				}
			}
			for _, secret := range []string{canary, "c2VjcmV0"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log shows %q", secret)
				}
			}
		})
	}
}

// canary is in every payload and header.
const canary = "canary-4711"

// jobs are the same on every queue.
type jobs struct {
	registry *worker.Registry
	intents  map[string]core.Intent
}

type args struct{ Secret string }

func newJobs(t *testing.T) *jobs {
	t.Helper()
	var once sync.Map
	ways := map[string]func(context.Context, args) error{
		"done":  func(context.Context, args) error { return nil },
		"fails": func(context.Context, args) error { return errors.New("on purpose") },
		"dies":  func(context.Context, args) error { return worker.Permanent(errors.New("on purpose")) },
		"snoozes": func(ctx context.Context, _ args) error {
			job, _ := worker.JobFrom(ctx)
			if _, again := once.LoadOrStore(job.ID, true); again {
				return nil
			}
			return worker.Snooze(time.Second)
		},
	}
	j := &jobs{intents: map[string]core.Intent{}}
	var parts []worker.Part
	for what, fn := range ways {
		task := core.DeclareTask[args]("logs."+what, core.MaxAttempts(2), core.Backoff(core.Fixed(time.Second)))
		in, err := task.Intent(args{canary}, core.Header("Secret", canary))
		must(t, err)
		j.intents[what] = in
		parts = append(parts, worker.Handle(task, fn))
	}
	parts = append(parts, worker.Handle(core.DeclareTask[args]("logs.bad"), ways["done"]))
	bad := core.DeclareTask[int]("logs.bad", core.MaxAttempts(2), core.Backoff(core.Fixed(time.Second)))
	unknown := core.DeclareTask[int]("logs.unknown", core.MaxAttempts(2), core.Backoff(core.Fixed(time.Second)))
	for what, task := range map[string]core.Task[int]{"bad arguments": bad, "unknown": unknown} {
		in, err := task.Intent(1)
		must(t, err)
		j.intents[what] = in
	}
	reg, err := worker.NewRegistry(parts...)
	must(t, err)
	j.registry = reg
	return j
}

func (j *jobs) dispatch(t *testing.T, exec core.Executor) {
	t.Helper()
	must(t, exec(t.Context(), slices.Collect(maps.Values(j.intents))...))
}

// await waits until the log has n lines about the jobs and returns them in short:
// level, message and keys, by job and attempt.
func (j *jobs) await(t *testing.T, log *lines, n int) map[string]string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := j.read(t, log)
		if len(got) == n || time.Now().After(end) {
			return got
		}
	}
}

func (j *jobs) read(t *testing.T, log *lines) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for what, in := range j.intents {
			if fields["id"] != in.ID {
				continue
			}
			if what == "fails" || what == "bad arguments" {
				what = fmt.Sprintf("%s %v", what, fields["attempt"])
			}
			if _, seen := got[what]; !seen { // the run after a snooze is a job that is done
				got[what] = short(fields)
			}
		}
	}
	return got
}

func short(fields map[string]any) string {
	text := fmt.Sprintf("%v %v", fields["level"], fields["msg"])
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key != "level" && key != "msg" && key != "time" {
			text += " " + key
		}
	}
	return text
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a worker until the test ends.
func run(t *testing.T, work func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func openPool(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	exec, err := poolexec.New(&poolexec.Options{Registry: reg, Logger: logger})
	must(t, err)
	t.Cleanup(func() { must(t, exec.Stop(context.Background())) })
	return exec.Execute
}

func openAsynq(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), MaxRetries: -1})
	t.Cleanup(func() { must(t, rdb.Close()) })
	exec, err := asynqexec.New(rdb, nil)
	must(t, err)
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{
		Logger: logger, Config: asynq.Config{DelayedTaskCheckInterval: 100 * time.Millisecond, TaskCheckInterval: 100 * time.Millisecond},
	})
	must(t, err)
	run(t, w.Run)
	return exec.Execute
}

func openRiver(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "river.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	must(t, err)
	db.SetMaxOpenConns(1) // River demands it of SQLite
	t.Cleanup(func() { must(t, db.Close()) })
	driver := riversqlite.New(db)
	quiet := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	must(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	must(t, err)
	config := &river.Config{Logger: quiet}
	must(t, riverexec.ConfigureClient(config))
	client, err := river.NewClient(driver, config)
	must(t, err)
	exec, err := riverexec.New(client, nil)
	must(t, err)
	w, err := riverexec.NewWorker(driver, reg, &riverexec.WorkerOptions{Logger: logger})
	must(t, err)
	run(t, w.Run)
	return exec.Execute
}

func openWork(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	m := miniredis.RunT(t)
	pool := &redigo.Pool{MaxIdle: 10, DialContext: func(ctx context.Context) (redigo.Conn, error) {
		return redigo.DialContext(ctx, "tcp", m.Addr())
	}}
	t.Cleanup(func() { must(t, pool.Close()) })
	exec, err := workexec.New(pool, &workexec.Options{Namespace: "logs"})
	must(t, err)
	w, err := workexec.NewWorker(pool, reg, &workexec.WorkerOptions{Namespace: "logs", Logger: logger})
	must(t, err)
	run(t, w.Run)
	return exec.Execute
}

func openNATS(t *testing.T, reg *worker.Registry, logger *slog.Logger) core.Executor {
	conn, err := nats.Connect(servers.NATS(t, servers.NATSOptions{}).URL())
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	must(t, natsexec.EnsureStream(t.Context(), js, "LOGS", nil))
	exec, err := natsexec.New(t.Context(), js, "LOGS", nil)
	must(t, err)
	w, err := natsexec.NewWorker(js, "LOGS", reg, &natsexec.WorkerOptions{Logger: logger})
	must(t, err)
	run(t, w.Run)
	return exec.Execute
}
