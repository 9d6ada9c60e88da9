//go:build realservers

package asynq_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/servers"
)

func TestAServerThatDropsJobsIsReported(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	w := setup(t, plain(t, server.Addr()), nil)
	w.Must(w.exec.CheckServer(w.Ctx))
	set := func(name, value string) { w.Helper(); w.Must(w.rdb.ConfigSet(w.Ctx, name, value).Err()) }
	for policy, want := range map[string]error{"allkeys-lru": core.ErrInvalid, "allkeys-lfu": core.ErrInvalid, "volatile-lru": nil, "noeviction": nil} {
		set("maxmemory", "0")
		set("maxmemory-policy", policy)
		w.Must(w.exec.CheckServer(w.Ctx)) // nothing is dropped without a limit
		set("maxmemory", "100mb")
		if err := w.exec.CheckServer(w.Ctx); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), policy) {
			t.Errorf("%s: %v", policy, err)
		}
	}

	// What noeviction does instead: each job is refused, and nothing is lost.
	w.Want("accepted", w.Intent("before"))
	set("maxmemory-policy", "noeviction")
	set("maxmemory", "1")
	for _, intents := range [][]core.Intent{w.Batch(0, 1), w.Batch(0, 3), {w.Intent("", core.Unique("k"))}} {
		got, err := w.States(intents...)
		if strings.Count(got, "not sent") != len(intents) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("%s: %v", got, err)
		}
	}
	set("maxmemory", "0")
	if got := w.pending("default"); len(got) != 1 {
		t.Errorf("waiting: %v", got)
	}

	w.Must(server.Kill())
	if err := w.exec.CheckServer(w.Ctx); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("a server that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(w.Ctx)
	cancel()
	if err := w.exec.CheckServer(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

func TestANodeThatDropsJobsIsReported(t *testing.T) {
	t.Parallel()
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{})
	w := setup(t, clustered(t, nodes.Addrs()), nil)
	w.Must(w.exec.CheckServer(w.Ctx))
	node := redis.NewClient(&redis.Options{Addr: nodes[2].Addr()})
	t.Cleanup(func() { _ = node.Close() })
	w.Must(node.ConfigSet(w.Ctx, "maxmemory", "100mb").Err())
	w.Must(node.ConfigSet(w.Ctx, "maxmemory-policy", "allkeys-lru").Err())
	if err := w.exec.CheckServer(w.Ctx); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("one node of three evicts: %v", err)
	}
}

// A user who has no dangerous commands, and no keys and channels but asynq's, is enough for an executor and a worker.
func TestAUserWithoutDangerousCommands(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	w := setup(t, plain(t, server.Addr()), nil)
	w.Must(w.rdb.Do(w.Ctx, "ACL", "SETUSER", "app", "on", ">secret", "~asynq:*", "resetchannels",
		"&asynq:cancel", "+@all", "-@dangerous").Err())
	app := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "app", Password: "secret", MaxRetries: -1})
	t.Cleanup(func() { _ = app.Close() })
	exec, err := asynqexec.New(app, nil)
	w.Must(err)
	w.Must(exec.CheckServer(w.Ctx))
	w.Must(exec.Execute(w.Ctx, w.Intent("", core.ID("x"), core.Unique("k"))))
	var log logged
	canceled := make(chan struct{})
	w.runOn(app, w.Registry(func(ctx context.Context, arg string) error {
		if arg == "wait" {
			<-ctx.Done()
			close(canceled)
		}
		return nil
	}), &asynqexec.WorkerOptions{Logger: log.logger()})
	w.awaitState("default", "x", "completed")
	w.Must(exec.Execute(w.Ctx, w.Intent("wait", core.ID("y"))))
	w.awaitState("default", "y", "active")
	w.Eventually("the run is canceled", func() bool {
		w.Must(w.inspector().CancelProcessing("y"))
		select {
		case <-canceled:
			return true
		default:
			return false
		}
	})
	w.awaitState("default", "y", "completed")
	if n := w.rdb.PubSubNumSub(w.Ctx, "asynq:cancel").Val()["asynq:cancel"]; n != 1 {
		t.Errorf("%d subscriptions, want the worker's own", n)
	}
	if log.lines("WARN", "") > 0 || log.lines("ERROR", "") > 0 {
		t.Errorf("the log says %s", log.String())
	}
}
