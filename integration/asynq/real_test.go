//go:build realservers

package asynq_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
)

func TestOnRedis(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	checkEverywhere(t, func(t *testing.T, namespace string) connect {
		return namespaced(plain(t, server.Addr()), namespace)
	})
}

func TestOnRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{})
	checkEverywhere(t, func(t *testing.T, namespace string) connect {
		return namespaced(clustered(t, nodes.Addrs()), namespace)
	})
}

func clustered(t trial.Cleaner, addrs []string) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addrs, ContextTimeoutEnabled: true,
			DialTimeout: trial.Patience, ReadTimeout: trial.Patience, WriteTimeout: trial.Patience, // the machine may be busy
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

func TestConformanceOnRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Persistent: true})
	h := harness("asynq", func(t trial.Cleaner) connect { return plain(t, server.Addr()) }, asynqexec.Options{})
	h.Restart = func(context.Context) error { return server.Restart() }
	h.RecoversWithin = 95 * time.Second // a lease of 30 s, looked at each minute
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		lines := conformance.NewLines(t, s, server.Addr())
		client := plain
		if s.Faults {
			client = hasty
		}
		at := func(addr string) connect { return namespaced(client(t, addr), s.Namespace+":") }
		sys := system(t, ways{at(lines.ExecutorAddr), at(lines.WorkerAddr), at(server.Addr())}, s, asynqexec.Options{})
		lines.SetProxies(&sys)
		return sys
	}
	conformance.Run(t, h)
}

func TestConformanceOnRedisClusterWithLanes(t *testing.T) {
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{})
	h := harness("asynq-cluster", func(t trial.Cleaner) connect { return clustered(t, nodes.Addrs()) }, asynqexec.Options{Lanes: true})
	conformance.Run(t, h)
}
