//go:build realservers

package faults_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/integration/servers"
)

func TestFaultsOnRedis(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.RedisOptions{})
	prove(t, server.Addr(), func(_ context.Context, t *testing.T, proxyAddr string) victim {
		opts, err := redis.ParseURL(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		v := &redisVictim{key: "faults:" + rand.Text(), direct: redis.NewClient(opts)}
		through := *opts
		through.Addr = proxyAddr
		through.MaxRetries = -1 // else the client hides the fault
		through.PoolSize = 1
		through.ReadTimeout, through.WriteTimeout = patience, patience
		v.opts = &through
		t.Cleanup(v.stop)
		return v
	})
}

// A redisVictim counts with INCR.
type redisVictim struct {
	key    string
	direct *redis.Client
	opts   *redis.Options
	client *redis.Client // nil before connect
}

func (v *redisVictim) connect(ctx context.Context) error {
	if v.client != nil {
		_ = v.client.Close()
	}
	opts := *v.opts
	v.client = redis.NewClient(&opts)
	return v.client.Ping(ctx).Err()
}

func (v *redisVictim) do(ctx context.Context) error { return v.client.Incr(ctx, v.key).Err() }

func (v *redisVictim) done(ctx context.Context) (int, error) { return v.direct.Get(ctx, v.key).Int() }

func (v *redisVictim) stop() {
	_ = v.direct.Del(context.Background(), v.key).Err()
	_ = v.direct.Close()
	if v.client != nil {
		_ = v.client.Close()
	}
}

func TestClusterAnnouncedThroughProxiesIsNotGoneRound(t *testing.T) {
	t.Parallel()
	var proxies []*faultproxy.Proxy
	nodes := servers.RedisCluster(t, servers.RedisClusterOptions{Announce: func(addr string) string {
		proxy, err := faultproxy.New(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(proxy.Close)
		proxies = append(proxies, proxy)
		return proxy.Addr()
	}})
	if len(proxies) != len(nodes) {
		t.Fatalf("%d addresses were asked for, want %d", len(proxies), len(nodes))
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{proxies[0].Addr()}, MaxRedirects: -1})
	defer client.Close()
	set := func() error {
		_, err := client.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
			for n := range 100 {
				pipe.Set(t.Context(), fmt.Sprintf("k%d", n), n, 0)
			}
			return nil
		})
		return err
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	for n, proxy := range proxies {
		if stats := proxy.Stats(); stats.RequestBytes == 0 {
			t.Errorf("the client went round the proxy of node %d: %+v", n, stats)
		}
	}

	proxies[1].Down()
	if err := set(); err == nil {
		t.Error("the client writes to a node behind a proxy that is down")
	}
}
