package work_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = 2 * time.Minute

var (
	quiet       = slog.New(slog.NewTextHandler(io.Discard, nil))
	errDeclined = errors.New("declined")
)

// A world is a namespace without other users, an executor on it and the runs of its jobs.
type world struct {
	*testing.T
	ctx  context.Context
	rdb  *redis.Pool
	ns   string
	opts workexec.Options
	exec *workexec.Executor
	real bool // a redis-server, with the real cjson

	workers []*workexec.Worker // to be stopped at the end of a bubble

	mu      sync.Mutex
	runs    []run         // guarded by mu, in order of their starts
	changed chan struct{} // closed and replaced at each run; guarded by mu
}

// A run is one call of a handler.
type run struct {
	job   core.Job
	arg   string
	began time.Time
	limit time.Time // the context's deadline
}

func setup(t *testing.T, rdb *redis.Pool, ns string, opts workexec.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, rdb: rdb, ns: ns, changed: make(chan struct{})}
	w.use(opts)
	return w
}

// use makes the world's executor anew.
func (w *world) use(opts workexec.Options) {
	w.Helper()
	opts.Namespace = w.ns
	exec, err := workexec.New(w.rdb, &opts)
	w.must(err)
	w.exec, w.opts = exec, opts
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

// cleaner is what pools are closed by: a test, or a check of the conformance suite.
type cleaner interface{ Cleanup(func()) }

func plain(t cleaner, addr string) *redis.Pool {
	rdb := &redis.Pool{MaxIdle: 20, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialReadTimeout(patience), redis.DialWriteTimeout(patience))
	}}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// do runs one command of Redis. The first argument is a key without its namespace.
func (w *world) do(command, key string, args ...any) any {
	w.Helper()
	reply, err := w.tryDo(command, key, args...)
	w.must(err)
	return reply
}

func (w *world) tryDo(command, key string, args ...any) (any, error) {
	conn := w.rdb.Get()
	defer conn.Close()
	return conn.Do(command, append([]any{w.ns + ":" + key}, args...)...)
}

// work is the task of most tests. Its argument says what the handler does.
var task = core.DeclareTask[string]("test.work")

func (w *world) intent(arg string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := task.Intent(arg, opts...)
	w.must(err)
	return in
}

func (w *world) batch(from, to int, opts ...core.Option) []core.Intent {
	w.Helper()
	var intents []core.Intent
	for i := from; i < to; i++ {
		intents = append(intents, w.intent(fmt.Sprint(i), opts...))
	}
	return intents
}

// states dispatches and returns the outcomes' states, and the error.
func (w *world) states(intents ...core.Intent) (string, error) {
	w.Helper()
	return statesOf(w.ctx, w.exec.Execute, intents...)
}

func statesOf(ctx context.Context, exec core.Executor, intents ...core.Intent) (string, error) {
	err := exec(ctx, intents...)
	var words []string
	for _, o := range core.OutcomesOf(err, intents) {
		words = append(words, o.State.String())
	}
	return strings.Join(words, ", "), err
}

func (w *world) want(states string, intents ...core.Intent) {
	w.Helper()
	if got, err := w.states(intents...); got != states {
		w.Fatalf("%s, want %s: %v", got, states, err)
	}
}

// note writes a run down.
func (w *world) note(ctx context.Context, arg string) run {
	job, _ := core.JobFrom(ctx)
	limit, _ := ctx.Deadline()
	r := run{job: job, arg: arg, began: time.Now(), limit: limit}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs = append(w.runs, r)
	close(w.changed)
	w.changed = make(chan struct{})
	return r
}

// await returns all runs as soon as there are n.
func (w *world) await(n int) []run {
	w.Helper()
	for {
		w.mu.Lock()
		runs, changed := slices.Clone(w.runs), w.changed
		w.mu.Unlock()
		if len(runs) >= n {
			return runs
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			w.Fatalf("%d runs, want %d", len(runs), n)
		}
	}
}

// receive waits for what a handler sends.
func receive[T any](w *world, from <-chan T) (v T) {
	w.Helper()
	select {
	case v = <-from:
	case <-w.ctx.Done():
		w.Fatal("a handler was not called")
	}
	return v
}

// eventually waits until cond holds for what is stored.
func (w *world) eventually(what string, cond func() bool) {
	w.Helper()
	for !cond() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-w.ctx.Done():
			w.Fatalf("never: %s", what)
		}
	}
}

func (w *world) registry(fn func(ctx context.Context, arg string) error) *core.Registry {
	w.Helper()
	reg, err := core.NewRegistry(core.Handle(task, func(ctx context.Context, arg string) error {
		w.note(ctx, arg)
		return fn(ctx, arg)
	}))
	w.must(err)
	return reg
}

func succeed(context.Context, string) error { return nil }

// pool is a pool of the library's for a queue, with that many workers.
func (w *world) pool(queue string, workers uint) *work.WorkerPool {
	return work.NewWorkerPool(struct{}{}, workers, workexec.Namespace(w.ns, queue), w.rdb)
}

// serve starts workers on which fn does the work of the default queue.
func (w *world) serve(fn func(ctx context.Context, arg string) error) *workexec.Worker {
	w.Helper()
	return w.serveOn(w.pool("", 4), w.registry(fn))
}

func (w *world) serveOn(pool *work.WorkerPool, reg *core.Registry) *workexec.Worker {
	w.Helper()
	worker, err := workexec.Register(pool, reg, &workexec.WorkerOptions{Lanes: w.opts.Lanes, Logger: quiet})
	w.must(err)
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
