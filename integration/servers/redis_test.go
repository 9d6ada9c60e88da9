//go:build realservers

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/integration/servers"
)

func TestRedisAnswers(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	opts, err := redis.ParseURL(server.URL())
	must(t, err)
	if opts.Addr != server.Addr() {
		t.Errorf("the URL names %s, want %s", opts.Addr, server.Addr())
	}
	client := redis.NewClient(opts)
	defer client.Close()
	must(t, client.Set(t.Context(), "k", "v", 0).Err())
	if got, err := client.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRedisDurableKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Durable: true})
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	for want := int64(1); want <= 100; want++ {
		must(t, client.Incr(t.Context(), "n").Err())
	}
	must(t, server.Kill())
	wantRefused(t, server.Addr())
	must(t, server.Restart())
	if got, err := client.Get(t.Context(), "n").Int(); err != nil || got != 100 {
		t.Errorf("after kill and restart: %d, %v, want 100", got, err)
	}
}

// A kill in the middle of a script leaves a MULTI without its EXEC in the append-only file. Redis 7 cuts off the last
// command alone, and the restart after that executes the others.
func TestRedisDoesNotExecuteHalfATransaction(t *testing.T) {
	dir := inOwnFolder(t)
	server := servers.Redis(t, servers.RedisOptions{Durable: true})
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	must(t, client.Set(t.Context(), "before", "1", 0).Err())
	must(t, server.Kill())
	files, err := filepath.Glob(filepath.Join(dir, "*", "appendonlydir", "*.incr.aof"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("%d append-only files: %v", len(files), files)
	}
	file, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString("*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$4\r\nre")
	must(t, errors.Join(err, file.Close()))
	must(t, server.Restart())
	must(t, client.Eval(t.Context(), `redis.call("SET", KEYS[1], 1) return redis.call("SET", KEYS[2], 1)`, []string{"after", "it"}).Err())
	must(t, server.Kill())
	must(t, server.Restart())
	for key, want := range map[string]int64{"before": 1, "half": 0, "after": 1, "it": 1} {
		if n, err := client.Exists(t.Context(), key).Result(); err != nil || n != want {
			t.Errorf("key %s: %d, %v, want %d", key, n, err, want)
		}
	}
}

func TestRedisInMemoryForgets(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	must(t, client.Set(t.Context(), "k", "v", 0).Err())
	must(t, server.Kill())
	must(t, server.Restart())
	if n, err := client.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v, want none", n, err)
	}
}

func TestRedisLifeCycle(t *testing.T) {
	dir := inOwnFolder(t)
	wantLifeCycle(t, servers.Redis(t, servers.RedisOptions{Durable: true}))
	wantEmpty(t, dir)
}

func TestRedisFromTheEnvironment(t *testing.T) {
	private := servers.Redis(t, servers.RedisOptions{Private: true})
	t.Setenv("AIRLOCK_REDIS_URL", private.URL())
	external := servers.Redis(t, servers.RedisOptions{})
	if external.URL() != private.URL() || external.Addr() != private.Addr() {
		t.Errorf("got %s at %s, want %s at %s", external.URL(), external.Addr(), private.URL(), private.Addr())
	}
	wantExternal(t, external)
	for name, opts := range map[string]servers.RedisOptions{"private": {Private: true}, "durable": {Durable: true}} {
		if another := servers.Redis(t, opts); another.URL() == private.URL() {
			t.Errorf("a %s server is the one from the environment", name)
		}
	}
}

func TestRedisClusterTakesWritesToEverySlot(t *testing.T) {
	t.Parallel()
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{Durable: true})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nodes.Addrs()})
	defer client.Close()
	const keys = 300
	_, err := client.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
		for n := range keys {
			pipe.Set(t.Context(), fmt.Sprintf("k%d", n), n, 0)
		}
		return nil
	})
	must(t, err)
	for _, node := range nodes {
		if n := keysOn(t, node); n < keys/10 {
			t.Errorf("%s holds %d of %d keys", node.Addr(), n, keys)
		}
	}

	before := keysOn(t, nodes[1])
	must(t, nodes[1].Kill())
	must(t, nodes[1].Restart())
	if after := keysOn(t, nodes[1]); after != before {
		t.Errorf("after kill and restart a node holds %d keys, want %d", after, before)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := range keys {
		key := fmt.Sprintf("k%d", n)
		got, err := client.Get(ctx, key).Int()
		for err != nil && ctx.Err() == nil { // the others take a moment to see it again
			got, err = client.Get(ctx, key).Int()
		}
		if err != nil || got != n {
			t.Fatalf("%s: %d, %v", key, got, err)
		}
	}
}

func keysOn(t *testing.T, node *servers.RedisServer) int64 {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: node.Addr()})
	defer client.Close()
	n, err := client.DBSize(t.Context()).Result()
	must(t, err)
	return n
}
