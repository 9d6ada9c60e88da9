package inspect_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	goredis "github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	poolexec "github.com/goairlock/airlock/executors/pool"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func openSQLite(t *testing.T) system { driver := sqliteDriver(t); return onRiver(t, driver, driver) }

func miniRedis(t *testing.T) string {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	return m.Addr()
}

// running starts a worker and returns what stops it.
func started(t reporter, w interface{ Run(context.Context) error }) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func onAsynq(t *testing.T, addr string, lanes bool) system {
	rdb := goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: patience})
	t.Cleanup(func() { _ = rdb.Close() })
	exec, err := asynqexec.New(rdb, &asynqexec.Options{Lanes: lanes})
	must(t, err)
	view, err := asynqexec.NewInspector(rdb, nil)
	must(t, err)
	return system{
		exec: exec.Execute, inspect: view,
		run: func(t reporter, reg *worker.Registry, queue string) func() {
			o := &asynqexec.WorkerOptions{Queues: []string{queue}, Concurrency: 1, Lanes: lanes, Logger: quiet, DrainTimeout: patience}
			o.Config.TaskCheckInterval, o.Config.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
			w, err := asynqexec.NewWorker(rdb, reg, o)
			if err != nil {
				t.Fatalf("%v", err)
			}
			return started(t, w)
		},
	}
}

func onWork(t *testing.T, addr string) system {
	pool := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialReadTimeout(patience))
	}}
	t.Cleanup(func() { _ = pool.Close() })
	exec, err := workexec.New(pool, nil)
	must(t, err)
	view, err := workexec.NewInspector(pool, nil)
	must(t, err)
	return system{
		exec: exec.Execute, inspect: view,
		run: func(t reporter, reg *worker.Registry, queue string) func() {
			w, err := workexec.NewWorker(pool, reg, &workexec.WorkerOptions{Queues: []string{queue}, Concurrency: 1, Logger: quiet, DrainTimeout: patience})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return started(t, w)
		},
	}
}

func sqliteDriver(t *testing.T) *riversqlite.Driver {
	return sqliteDriverOf(t, filepath.Join(t.TempDir(), "river.db"))
}

func sqliteDriverOf(t *testing.T, path string) *riversqlite.Driver {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	must(t, err)
	db.SetMaxOpenConns(1) // River demands it of SQLite
	t.Cleanup(func() { _ = db.Close() })
	driver := riversqlite.New(db)
	migrate(t, driver)
	return driver
}

func migrate[TTx any](t testing.TB, driver riverdriver.Driver[TTx]) {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	must(t, err)
	_, err = m.Migrate(context.Background(), rivermigrate.DirectionUp, nil)
	must(t, err)
}

func onRiver[TTx any](t *testing.T, driver, workers riverdriver.Driver[TTx]) system {
	config := &river.Config{Logger: quiet}
	must(t, riverexec.ConfigureClient(config))
	client, err := river.NewClient(driver, config)
	must(t, err)
	exec, err := riverexec.New(client, nil)
	must(t, err)
	view, err := riverexec.NewInspector(driver, nil)
	must(t, err)
	return system{
		exec: exec.Execute, inspect: view,
		run: func(t reporter, reg *worker.Registry, queue string) func() {
			o := &riverexec.WorkerOptions{Queues: []string{queue}, Concurrency: 1, Logger: quiet, DrainTimeout: patience}
			o.Config.TestOnly, o.Config.FetchCooldown, o.Config.FetchPollInterval = true, 5*time.Millisecond, 20*time.Millisecond
			w, err := riverexec.NewWorker(workers, reg, o)
			if err != nil {
				t.Fatalf("%v", err)
			}
			return started(t, w)
		},
	}
}

func onNATS(t *testing.T) system {
	return onNATSAt(t, servers.NATS(t, servers.NATSOptions{Private: true}).URL())
}

func onNATSAt(t *testing.T, url string) system {
	conn, err := nats.Connect(url)
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	const stream = "JOBS"
	must(t, natsexec.EnsureStream(t.Context(), js, stream, nil))
	exec, err := natsexec.New(t.Context(), js, stream, &natsexec.Options{Lanes: true, Logger: quiet, AckTimeout: patience})
	must(t, err)
	view, err := natsexec.NewInspector(js, stream, nil)
	must(t, err)
	return system{
		exec: exec.Execute, inspect: view,
		run: func(t reporter, reg *worker.Registry, queue string) func() {
			w, err := natsexec.NewWorker(js, stream, reg, &natsexec.WorkerOptions{Queues: []string{queue}, Concurrency: 1, Lanes: true, Logger: quiet, DrainTimeout: patience})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return started(t, w)
		},
	}
}

func onPool(*testing.T) system {
	return system{perCase: newPool, forgetsDead: true, inProcess: true}
}

func newPool(t reporter) system {
	s := system{forgetsDead: true, inProcess: true, onRun: new(atomic.Pointer[func(context.Context, string) error])}
	ended := make(chan struct{})
	handler := func(ctx context.Context, arg string) error {
		for {
			if fn := s.onRun.Load(); fn != nil {
				return (*fn)(ctx, arg)
			}
			select {
			case <-ended:
				return nil
			case <-time.After(time.Millisecond):
			}
		}
	}
	check := func(err error) {
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	reg, err := worker.NewRegistry(worker.Handle(tasks[0], handler), worker.Handle(tasks[1], handler))
	check(err)
	pool, err := poolexec.New(&poolexec.Options{Registry: reg, Workers: 1, Logger: quiet, Capacity: 30_000})
	check(err)
	t.Cleanup(func() {
		close(ended)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = pool.Stop(ctx) // jobs are left
	})
	s.exec = pool.Execute
	s.inspect, err = poolexec.NewInspector(pool)
	check(err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
