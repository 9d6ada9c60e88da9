package otel_test

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	redigo "github.com/gomodule/redigo/redis"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	poolexec "github.com/goairlock/airlock/executors/pool"
	riverexec "github.com/goairlock/airlock/executors/river"
	syncexec "github.com/goairlock/airlock/executors/sync"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

// queue opens an executor, and starts a worker of the registry that ends with the test.
type queue struct {
	open      func(e *testEnv, reg *worker.Registry) core.Executor
	inProcess bool // it refuses tasks that it does not know
	inline    bool // it runs a job while the caller waits, and cannot snooze
	parks     bool // its worker fetches jobs of tasks that it does not know; the others leave them

	// openWith takes the place of open. The queue refuses MaxAttempts and Backoff. They are
	// options of its worker, for all jobs.
	openWith func(e *testEnv, reg *worker.Registry, attempts int, backoff core.BackoffPolicy) core.Executor
}

// start opens the queue. It returns the options with which a job has that many attempts, a
// second apart, or none if they are the worker's.
func (q queue) start(e *testEnv, reg *worker.Registry, attempts int) (core.Executor, []core.Option) {
	e.Helper()
	backoff := core.Fixed(time.Second)
	opts := []core.Option{core.MaxAttempts(attempts), core.Backoff(backoff)}
	if q.openWith == nil {
		return q.open(e, reg), opts
	}
	exec := q.openWith(e, reg, attempts, backoff)
	for _, opt := range opts {
		if err := exec.Check(e.Context(), e.intent(parent, opt)); !errors.Is(err, core.ErrUnsupported) {
			e.Errorf("the queue could have the options of the others: %v", err)
		}
	}
	return exec, nil
}

// queues are those that need no server but what is in this process.
var queues = map[string]queue{
	"sync":  {open: openSync, inProcess: true, inline: true},
	"pool":  {open: openPool, inProcess: true},
	"asynq": {open: openAsynq, parks: true},
	"river": {open: openRiver},
	"work":  {open: openWork},
	"nats":  {open: openNATS, parks: true},
}

// onServers starts servers that run until the test ends, and returns the queues on them.
// It is nil without the build tag realservers.
var onServers func(t *testing.T) map[string]queue

// allQueues are those of queues and of onServers.
func allQueues(t *testing.T) map[string]queue {
	t.Helper()
	all := maps.Clone(queues)
	if onServers != nil {
		maps.Copy(all, onServers(t))
	}
	return all
}

func openSync(e *testEnv, reg *worker.Registry) core.Executor {
	exec, err := syncexec.New(&syncexec.Options{Registry: reg})
	e.must(err)
	return exec.Execute
}

func openPool(e *testEnv, reg *worker.Registry) core.Executor {
	exec, err := poolexec.New(&poolexec.Options{Registry: reg, Logger: quiet})
	e.must(err)
	e.Cleanup(func() { _ = exec.Stop(context.Background()) })
	return exec.Execute
}

func openAsynq(e *testEnv, reg *worker.Registry) core.Executor {
	rdb := redis.NewClient(&redis.Options{Addr: miniRedis(e.T).Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	e.Cleanup(func() { _ = rdb.Close() })
	exec, err := asynqexec.New(rdb, nil)
	e.must(err)
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{
		Logger: quiet, DrainTimeout: -1,
		Config: asynq.Config{TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 20 * time.Millisecond},
	})
	e.must(err)
	e.start(w)
	return exec.Execute
}

func openWork(e *testEnv, reg *worker.Registry) core.Executor {
	m := miniRedis(e.T)
	m.ClockTTL(true)
	pool := &redigo.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redigo.Conn, error) {
		return redigo.DialContext(ctx, "tcp", m.Addr())
	}}
	e.Cleanup(func() { _ = pool.Close() })
	exec, err := workexec.New(pool, &workexec.Options{Namespace: "app"})
	e.must(err)
	w, err := workexec.NewWorker(pool, reg, &workexec.WorkerOptions{Namespace: "app", Logger: quiet, DrainTimeout: -1})
	e.must(err)
	e.start(w)
	return exec.Execute
}

func openRiver(e *testEnv, reg *worker.Registry) core.Executor {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(e.TempDir(), "river.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	e.must(err)
	db.SetMaxOpenConns(1) // River demands it of SQLite
	e.Cleanup(func() { _ = db.Close() })
	driver := riversqlite.New(db)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	e.must(err)
	_, err = m.Migrate(e.Context(), rivermigrate.DirectionUp, nil)
	e.must(err)
	config := &river.Config{Logger: quiet}
	e.must(riverexec.ConfigureClient(config))
	client, err := river.NewClient(driver, config)
	e.must(err)
	exec, err := riverexec.New(client, nil)
	e.must(err)
	w, err := riverexec.NewWorker(driver, reg, &riverexec.WorkerOptions{
		Logger: quiet, DrainTimeout: -1,
		Config: river.Config{TestOnly: true, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond},
	})
	e.must(err)
	e.start(w)
	return exec.Execute
}

func miniRedis(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// start runs a worker until the test's end.
func (e *testEnv) start(w interface{ Run(context.Context) error }) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	e.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			e.Errorf("the worker: %v", err)
		}
	})
}
