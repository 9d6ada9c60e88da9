package work_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

const slots = 4 // of the workers that serve starts

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// A testEnv is a namespace without other users, and an executor on it.
type testEnv struct {
	*trial.Trial
	rdb  *redis.Pool
	ns   string
	opts workexec.Options
	exec *workexec.Executor
	real bool // a redis-server, with the real cjson

	running []*running // to be stopped at the end of a bubble
}

func setup(t *testing.T, rdb *redis.Pool, ns string, opts workexec.Options) *testEnv {
	t.Helper()
	w := &testEnv{Trial: trial.New(t, 2*trial.Patience), rdb: rdb, ns: ns}
	w.Serve = func(fn func(ctx context.Context, arg string) error) { w.serve(fn) }
	w.AwaitDone = func(id string) { w.awaitPlace(id, "gone") }
	w.AwaitDead = func(id string) { w.awaitPlace(id, "dead") }
	w.use(opts)
	return w
}

// use makes the executor anew.
func (w *testEnv) use(opts workexec.Options) {
	w.Helper()
	opts.Namespace = w.ns
	exec, err := workexec.New(w.rdb, &opts)
	w.Must(err)
	w.exec, w.opts, w.Execute = exec, opts, exec.Execute
}

// embedded is a miniredis of the test's own, on which keys expire.
func embedded(t *testing.T) *redis.Pool {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	return plain(t, m.Addr())
}

func plain(t trial.Cleaner, addr string) *redis.Pool {
	rdb := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialReadTimeout(trial.Patience), redis.DialWriteTimeout(trial.Patience))
	}}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// do runs one command of Redis. The first argument is a key without its namespace.
func (w *testEnv) do(command, key string, args ...any) any {
	w.Helper()
	reply, err := w.tryDo(command, key, args...)
	w.Must(err)
	return reply
}

func (w *testEnv) tryDo(command, key string, args ...any) (any, error) {
	conn := w.rdb.Get()
	defer conn.Close()
	return conn.Do(command, append([]any{w.ns + ":" + key}, args...)...)
}

// pool is a pool of the library's for a queue, with that many workers.
func (w *testEnv) pool(queue string, workers uint) *work.WorkerPool {
	return work.NewWorkerPool(struct{}{}, workers, workexec.Namespace(w.ns, queue), w.rdb)
}

// A running worker.
type running struct {
	*workexec.Worker
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run, once done is closed
}

// start runs a worker until the test's end.
func start(t trial.Cleaner, worker *workexec.Worker) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Worker: worker, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = worker.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends Run and returns its error.
func (r *running) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// serve starts a worker on which fn does the work of the default queue.
func (w *testEnv) serve(fn func(ctx context.Context, arg string) error) *running {
	w.Helper()
	return w.serveWith(w.Registry(fn), workexec.WorkerOptions{Concurrency: slots})
}

func (w *testEnv) serveWith(reg *worker.Registry, opts workexec.WorkerOptions) *running {
	w.Helper()
	opts.Namespace, opts.Lanes = w.ns, w.opts.Lanes
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	worker, err := workexec.NewWorker(w.rdb, reg, &opts)
	w.Must(err)
	return w.start(worker)
}

// register starts a pool of the library's with the handlers of a registry.
func (w *testEnv) register(pool *work.WorkerPool, reg *worker.Registry) *running {
	w.Helper()
	worker, err := workexec.Register(pool, reg, &workexec.WorkerOptions{Lanes: w.opts.Lanes, Logger: quiet})
	w.Must(err)
	return w.start(worker)
}

func (w *testEnv) start(worker *workexec.Worker) *running {
	r := start(w, worker)
	w.running = append(w.running, r)
	return r
}

// serveNative starts workers that know nothing of airlock.
func (w *testEnv) serveNative(name string, fn func(*work.Job) error) {
	w.Helper()
	pool := w.pool("", 2).Job(name, fn)
	pool.Start()
	w.Cleanup(pool.Stop)
}
