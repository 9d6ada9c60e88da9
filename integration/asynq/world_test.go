package asynq_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

const slots = 4 // of a server

// connect makes a new client of the Redis under test.
type connect func() redis.UniversalClient

// A world is a Redis without other users, and an executor on it.
type world struct {
	*trial.Trial
	connect connect
	rdb     redis.UniversalClient
	exec    *asynqexec.Executor
	cluster bool
}

func setup(t *testing.T, c connect, opts *asynqexec.Options) *world {
	t.Helper()
	w := &world{Trial: trial.New(t, trial.Patience), connect: c, rdb: c()}
	_, w.cluster = w.rdb.(*redis.ClusterClient)
	w.Serve = w.serve
	w.AwaitDone = func(id string) { w.awaitState("default", id, "completed") }
	w.AwaitDead = func(id string) { w.awaitState("default", id, "archived") }
	w.use(opts)
	return w
}

// use makes the world's executor anew.
func (w *world) use(opts *asynqexec.Options) {
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

// plain connects with a client that does not retry by itself, and waits as long as a busy machine needs.
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

// serve starts a server on which fn does the work.
func (w *world) serve(fn func(ctx context.Context, arg string) error) {
	w.Helper()
	w.serveWith(asynqexec.Handler(w.Registry(fn)), asynq.Config{})
}

func (w *world) serveWith(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	w.Must(asynqexec.Configure(&cfg))
	return w.serveNative(h, cfg)
}

// serveNative starts a server that knows nothing of airlock.
func (w *world) serveNative(h asynq.Handler, cfg asynq.Config) *asynq.Server {
	w.Helper()
	if cfg.Concurrency == 0 {
		cfg.Concurrency = slots
	}
	cfg.LogLevel = asynq.FatalLevel
	cfg.TaskCheckInterval, cfg.DelayedTaskCheckInterval = 10*time.Millisecond, 20*time.Millisecond
	srv := asynq.NewServerFromRedisClient(w.connect(), cfg)
	w.Must(srv.Start(h))
	w.Cleanup(srv.Shutdown)
	return srv
}

// inspector is asynq's own view of what is stored.
func (w *world) inspector() *asynq.Inspector { return asynq.NewInspectorFromRedisClient(w.connect()) }

func (w *world) info(queue, id string) *asynq.TaskInfo {
	w.Helper()
	info, err := w.inspector().GetTaskInfo(queue, id)
	w.Must(err)
	return info
}

// pending are the arguments of the waiting jobs, the next one first.
func (w *world) pending(queue string) []string {
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
