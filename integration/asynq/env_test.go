package asynq_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
	"github.com/goairlock/airlock/worker"
)

const slots = 4 // of a server

// connect makes a new client of the Redis under test.
type connect func() redis.UniversalClient

// A testEnv is a Redis without other users, and an executor on it.
type testEnv struct {
	*trial.Trial
	connect connect
	rdb     redis.UniversalClient
	exec    *asynqexec.Executor
	cluster bool
}

func setup(t *testing.T, c connect, opts *asynqexec.Options) *testEnv {
	t.Helper()
	w := &testEnv{Trial: trial.New(t, trial.Patience), connect: c, rdb: c()}
	_, w.cluster = w.rdb.(*redis.ClusterClient)
	w.Serve = w.serve
	w.AwaitDone = func(id string) { w.awaitState("default", id, "completed") }
	w.AwaitDead = func(id string) { w.awaitState("default", id, "archived") }
	w.use(opts)
	return w
}

// use makes the executor anew.
func (w *testEnv) use(opts *asynqexec.Options) {
	w.Helper()
	exec, err := asynqexec.New(w.rdb, opts)
	w.Must(err)
	w.exec, w.Execute = exec, exec.Execute
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

// plain connects with a client that does not retry and waits as long as a busy machine needs.
func plain(t trial.Cleaner, addr string) connect { return within(t, addr, trial.Patience) }

// hasty is plain with go-redis's own time limits, for servers that may not answer.
func hasty(t trial.Cleaner, addr string) connect { return within(t, addr, 0) }

func within(t trial.Cleaner, addr string, limit time.Duration) connect {
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

// serve starts a worker on which fn does the work.
func (w *testEnv) serve(fn func(ctx context.Context, arg string) error) {
	w.Helper()
	w.run(w.Registry(fn), nil)
}

// run starts a worker that looks for work often, and returns the function that stops it and returns what Run has returned. The
// worker stops at the end of the test too.
func (w *testEnv) run(reg *worker.Registry, opts *asynqexec.WorkerOptions) (stop func() error) {
	w.Helper()
	if opts == nil {
		opts = &asynqexec.WorkerOptions{}
	}
	o := *opts
	if o.Concurrency == 0 {
		o.Concurrency = slots
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Config.TaskCheckInterval == 0 {
		o.Config.TaskCheckInterval, o.Config.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
	}
	return w.runOn(w.connect(), reg, &o)
}

// runOn is run with this client and these options.
func (w *testEnv) runOn(rdb redis.UniversalClient, reg *worker.Registry, o *asynqexec.WorkerOptions) (stop func() error) {
	w.Helper()
	work, err := asynqexec.NewWorker(rdb, reg, o)
	w.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- work.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-result })
	w.Cleanup(func() { _ = stop() })
	return stop
}

// serveWith starts a server of asynq's own that ConfigureServer has prepared.
func (w *testEnv) serveWith(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	w.Must(asynqexec.ConfigureServer(&cfg, &asynqexec.WorkerOptions{Logger: slog.New(slog.DiscardHandler)}))
	return w.serveNative(h, cfg)
}

// serveNative starts a server that knows nothing of airlock.
func (w *testEnv) serveNative(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	if cfg.Concurrency == 0 {
		cfg.Concurrency = slots
	}
	cfg.LogLevel = asynq.FatalLevel // asynq's own logger writes to standard error
	cfg.TaskCheckInterval, cfg.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
	srv := asynq.NewServerFromRedisClient(w.connect(), cfg)
	w.Must(srv.Start(h))
	w.Cleanup(srv.Shutdown)
	return srv
}

// inspector is asynq's own view of what is stored.
func (w *testEnv) inspector() *asynq.Inspector { return asynq.NewInspectorFromRedisClient(w.connect()) }

func (w *testEnv) info(queue, id string) *asynq.TaskInfo {
	w.Helper()
	info, err := w.inspector().GetTaskInfo(queue, id)
	w.Must(err)
	return info
}

// pending are the arguments of the waiting jobs, the next one first.
func (w *testEnv) pending(queue string) []string {
	w.Helper()
	var args []string
	for page := 1; ; page++ {
		tasks, err := w.inspector().ListPendingTasks(queue, asynq.Page(page), asynq.PageSize(500))
		w.Must(err)
		if len(tasks) == 0 {
			return args
		}
		for _, t := range tasks {
			args = append(args, strings.Trim(string(t.Payload), `"`))
		}
	}
}
