package work_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

const slots = 4 // of the workers that serve starts

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// A world is a namespace without other users, and an executor on it.
type world struct {
	*trial.Trial
	rdb  *redis.Pool
	ns   string
	opts workexec.Options
	exec *workexec.Executor
	real bool // a redis-server, with the real cjson

	workers []*workexec.Worker // to be stopped at the end of a bubble
}

func setup(t *testing.T, rdb *redis.Pool, ns string, opts workexec.Options) *world {
	t.Helper()
	w := &world{Trial: trial.New(t, 2*trial.Patience), rdb: rdb, ns: ns}
	w.Serve = func(fn func(ctx context.Context, arg string) error) { w.serve(fn) }
	w.AwaitDone = func(id string) { w.awaitPlace(id, "gone") }
	w.AwaitDead = func(id string) { w.awaitPlace(id, "dead") }
	w.use(opts)
	return w
}

// use makes the world's executor anew.
func (w *world) use(opts workexec.Options) {
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
func (w *world) do(command, key string, args ...any) any {
	w.Helper()
	reply, err := w.tryDo(command, key, args...)
	w.Must(err)
	return reply
}

func (w *world) tryDo(command, key string, args ...any) (any, error) {
	conn := w.rdb.Get()
	defer conn.Close()
	return conn.Do(command, append([]any{w.ns + ":" + key}, args...)...)
}

// pool is a pool of the library's for a queue, with that many workers.
func (w *world) pool(queue string, workers uint) *work.WorkerPool {
	return work.NewWorkerPool(struct{}{}, workers, workexec.Namespace(w.ns, queue), w.rdb)
}

// serve starts workers on which fn does the work of the default queue.
func (w *world) serve(fn func(ctx context.Context, arg string) error) *workexec.Worker {
	w.Helper()
	return w.serveOn(w.pool("", slots), w.Registry(fn))
}

func (w *world) serveOn(pool *work.WorkerPool, reg *core.Registry) *workexec.Worker {
	w.Helper()
	worker, err := workexec.Register(pool, reg, &workexec.WorkerOptions{Lanes: w.opts.Lanes, Logger: quiet})
	w.Must(err)
	worker.Start()
	w.workers = append(w.workers, worker)
	w.Cleanup(func() { _ = worker.Stop(context.Background()) })
	return worker
}

// serveNative starts workers that know nothing of airlock.
func (w *world) serveNative(name string, fn func(*work.Job) error) {
	w.Helper()
	pool := w.pool("", 2).Job(name, fn)
	pool.Start()
	w.Cleanup(pool.Stop)
}
