//go:build realservers

package asynq_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/integration/servers"
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

func clustered(t *testing.T, addrs []string) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}
