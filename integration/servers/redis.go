package servers

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisOptions tune [Redis]. The zero value is a server that keeps its data in memory only.
type RedisOptions struct {
	// Durable writes every command to the append-only file and syncs it before the reply (appendonly yes, appendfsync always):
	// what was acknowledged survives Kill. Before each start the file is repaired with redis-check-aof, since Redis itself
	// would execute the half of a script that was cut off by a kill. It implies Private.
	Durable bool
	// Persistent writes every command to the append-only file and syncs it each second (appendfsync everysec): what was
	// acknowledged survives Restart, but not every Kill. It implies Private.
	Persistent bool
	// Private ignores AIRLOCK_REDIS_URL, for tests that kill the server or change its settings.
	Private bool
}

// A RedisServer is a running redis-server.
type RedisServer struct {
	*instance
	addr, url string
}

// Redis starts a redis-server, or takes that of AIRLOCK_REDIS_URL (redis://[user:password@]host:port/db). It has no password,
// and no persistence unless Durable.
func Redis(tb testing.TB, opts RedisOptions) *RedisServer {
	tb.Helper()
	if url := os.Getenv("AIRLOCK_REDIS_URL"); url != "" && !opts.Private && !opts.Durable && !opts.Persistent {
		parsed, err := redis.ParseURL(url)
		if err != nil {
			tb.Fatalf("servers: AIRLOCK_REDIS_URL: %v", err)
		}
		return &RedisServer{instance: &instance{name: "redis"}, addr: parsed.Addr, url: url}
	}
	return startRedis(tb, fsync(opts.Durable, opts.Persistent), 1, func([]int) []string { return nil })
}

// fsync is when the append-only file is synced; empty: there is none.
func fsync(durable, persistent bool) string {
	switch {
	case durable:
		return "always"
	case persistent:
		return "everysec"
	}
	return ""
}

// startRedis starts a server with that many ports, the first of which clients use; more gives further settings.
func startRedis(tb testing.TB, sync string, ports int, more func(ports []int) []string) *RedisServer {
	tb.Helper()
	path := program(tb, "redis-server")
	i := prepare(tb, "redis", ports)
	numbers := make([]int, ports)
	for n, port := range i.ports {
		numbers[n] = port.Number()
	}
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(numbers[0]), "--dir", i.dir,
		"--save", "", "--appendonly", "no",
	}
	if sync != "" {
		args = append(args, "--appendonly", "yes", "--appendfsync", sync)
	}
	args = append(args, more(numbers)...)
	addr := i.ports[0].Addr()
	engine := &process{
		command: func() *exec.Cmd { return exec.Command(path, args...) },
		ready:   func(ctx context.Context) error { return pingRedis(ctx, addr) },
		quit:    terminate,
	}
	if sync != "" {
		checker := program(tb, "redis-check-aof")
		engine.prepare = func(ctx context.Context) error { return repairAppendOnlyFile(ctx, checker, i.dir) }
	}
	i.run(tb, engine)
	return &RedisServer{instance: i, addr: addr, url: "redis://" + addr + "/0"}
}

// Addr is the server's host and port.
func (s *RedisServer) Addr() string { return s.addr }

// URL is the server's address as redis.ParseURL takes it.
func (s *RedisServer) URL() string { return s.url }

// pingRedis answers with an error while the server loads its data.
func pingRedis(ctx context.Context, addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, PoolSize: 1})
	defer client.Close()
	return client.Ping(ctx).Err()
}
