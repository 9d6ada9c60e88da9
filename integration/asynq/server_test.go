//go:build realservers

package asynq_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
)

func TestAServerThatDropsJobsIsTold(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	w := setup(t, plain(t, server.Addr()), nil)
	w.must(w.exec.CheckServer(w.ctx))
	set := func(name, value string) { w.Helper(); w.must(w.rdb.ConfigSet(w.ctx, name, value).Err()) }
	for policy, want := range map[string]error{"allkeys-lru": core.ErrInvalid, "allkeys-lfu": core.ErrInvalid, "volatile-lru": nil, "noeviction": nil} {
		set("maxmemory", "0")
		set("maxmemory-policy", policy)
		w.must(w.exec.CheckServer(w.ctx)) // nothing is dropped without a limit
		set("maxmemory", "100mb")
		if err := w.exec.CheckServer(w.ctx); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), policy) {
			t.Errorf("%s: %v", policy, err)
		}
	}

	// What noeviction does instead: each job is refused, and nothing is lost.
	w.want("accepted", w.intent("before"))
	set("maxmemory-policy", "noeviction")
	set("maxmemory", "1")
	for _, intents := range [][]core.Intent{w.batch(0, 1), w.batch(0, 3), {w.intent("", core.Unique("k"))}} {
		got, err := w.states(intents...)
		if strings.Count(got, "not sent") != len(intents) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("%s: %v", got, err)
		}
	}
	set("maxmemory", "0")
	if got := w.pending("default"); len(got) != 1 {
		t.Errorf("waiting: %v", got)
	}

	w.must(server.Kill())
	if err := w.exec.CheckServer(w.ctx); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("a server that is gone: %v", err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := w.exec.CheckServer(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

func TestANodeThatDropsJobsIsTold(t *testing.T) {
	t.Parallel()
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{})
	w := setup(t, clustered(t, nodes.Addrs()), nil)
	w.must(w.exec.CheckServer(w.ctx))
	node := redis.NewClient(&redis.Options{Addr: nodes[2].Addr()})
	t.Cleanup(func() { _ = node.Close() })
	w.must(node.ConfigSet(w.ctx, "maxmemory", "100mb").Err())
	w.must(node.ConfigSet(w.ctx, "maxmemory-policy", "allkeys-lru").Err())
	if err := w.exec.CheckServer(w.ctx); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("one node of three evicts: %v", err)
	}
}
