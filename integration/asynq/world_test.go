package asynq_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = 2 * time.Minute

// connect makes a new client of the Redis under test.
type connect func() redis.UniversalClient

// A world is a Redis without other users, an executor on it and the runs of its jobs.
type world struct {
	*testing.T
	ctx     context.Context
	connect connect
	rdb     redis.UniversalClient
	exec    *asynqexec.Executor
	cluster bool

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

func setup(t *testing.T, c connect, opts *asynqexec.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, connect: c, rdb: c(), changed: make(chan struct{})}
	_, w.cluster = w.rdb.(*redis.ClusterClient)
	w.use(opts)
	return w
}

// use makes the world's executor anew.
func (w *world) use(opts *asynqexec.Options) {
	w.Helper()
	exec, err := asynqexec.New(w.rdb, opts)
	w.must(err)
	w.exec = exec
}

// embedded is a miniredis of the test's own.
func embedded(t *testing.T) connect {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return plain(t, m.Addr())
}

// cleaner is what clients are closed by: a test, or a check of the conformance suite.
type cleaner interface{ Cleanup(func()) }

// plain connects with a client that does not retry by itself, and waits as long as a busy machine needs.
func plain(t cleaner, addr string) connect { return within(t, addr, patience) }

// hasty is plain with go-redis's own time limits, for servers that may not answer.
func hasty(t cleaner, addr string) connect { return within(t, addr, 0) }

func within(t cleaner, addr string, limit time.Duration) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true,
			DialTimeout: limit, ReadTimeout: limit, WriteTimeout: limit,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

// namespaced keeps the users of one Redis apart: asynq has no prefix of its own for its keys.
func namespaced(c connect, prefix string) connect {
	return func() redis.UniversalClient {
		rdb := c()
		rdb.AddHook(prefixed(prefix))
		return rdb
	}
}

type prefixed string

func (p prefixed) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (p prefixed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { p.rename(cmd); return next(ctx, cmd) }
}

func (p prefixed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			p.rename(cmd)
		}
		return next(ctx, cmds)
	}
}

// rename renames every key, also those that scripts get as arguments.
func (p prefixed) rename(cmd redis.Cmder) {
	args := cmd.Args()
	for i, arg := range args {
		if s, ok := arg.(string); ok && strings.HasPrefix(s, "asynq:") && i > 0 {
			args[i] = string(p) + s
		}
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// work is the task of most tests. Its argument says what the handler does, see handle.
var work = core.DeclareTask[string]("test.work")

func (w *world) intent(arg string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := work.Intent(arg, opts...)
	w.must(err)
	return in
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
	reg, err := core.NewRegistry(core.Handle(work, func(ctx context.Context, arg string) error {
		w.note(ctx, arg)
		return fn(ctx, arg)
	}))
	w.must(err)
	return reg
}

func succeed(context.Context, string) error { return nil }

// serve starts a server on which fn does the work.
func (w *world) serve(fn func(ctx context.Context, arg string) error) {
	w.Helper()
	w.serveWith(asynqexec.Handler(w.registry(fn)), asynq.Config{})
}

func (w *world) serveWith(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	w.must(asynqexec.Configure(&cfg))
	return w.serveNative(h, cfg)
}

// serveNative starts a server that knows nothing of airlock.
func (w *world) serveNative(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 4
	}
	cfg.LogLevel = asynq.FatalLevel
	cfg.TaskCheckInterval, cfg.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
	srv := asynq.NewServerFromRedisClient(w.connect(), cfg)
	w.must(srv.Start(h))
	w.Cleanup(srv.Shutdown)
	return srv
}

// inspector is asynq's own view of what is stored.
func (w *world) inspector() *asynq.Inspector { return asynq.NewInspectorFromRedisClient(w.connect()) }

func (w *world) info(queue, id string) *asynq.TaskInfo {
	w.Helper()
	info, err := w.inspector().GetTaskInfo(queue, id)
	w.must(err)
	return info
}

// pending are the arguments of the waiting jobs, the next one first.
func (w *world) pending(queue string) []string {
	w.Helper()
	var args []string
	for page := 1; ; page++ {
		tasks, err := w.inspector().ListPendingTasks(queue, asynq.Page(page), asynq.PageSize(500))
		w.must(err)
		if len(tasks) == 0 {
			return args
		}
		for _, t := range tasks {
			args = append(args, strings.Trim(string(t.Payload), `"`))
		}
	}
}
