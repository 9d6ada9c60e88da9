package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// RedisClusterOptions tune [RedisCluster]. The zero value is a cluster that keeps its data in memory only.
type RedisClusterOptions struct {
	// Durable is that of [RedisOptions], for every node.
	Durable bool
	// Announce is called once for each node with the node's own address. It returns the address that the nodes announce to
	// clients. Without it, clients learn the nodes' own addresses and bypass any proxy. The host must be 127.0.0.1.
	Announce func(addr string) string
}

// RedisNodes are the nodes of a cluster.
type RedisNodes []*RedisServer

const (
	clusterNodes = 3
	clusterSlots = 16384
)

// RedisCluster starts a cluster of three masters without replicas and returns when each of them serves all slots, which
// takes two to five seconds: a new node takes no writes for two (redis 7, CLUSTER_WRITABLE_DELAY). A node
// that is missing takes the whole cluster down until it is back (cluster-require-full-coverage). The cluster is never taken
// from the environment, and needs redis-server 7.
func RedisCluster(tb testing.TB, opts RedisClusterOptions) RedisNodes {
	tb.Helper()
	var nodes RedisNodes
	for range clusterNodes {
		nodes = append(nodes, startRedis(tb, fsync(opts.Durable, false), 2, func(ports []int) []string {
			args := []string{
				"--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
				"--cluster-port", strconv.Itoa(ports[1]), "--cluster-announce-bus-port", strconv.Itoa(ports[1]),
			}
			if opts.Announce != nil {
				announced := opts.Announce(net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])))
				_, port, err := net.SplitHostPort(announced)
				if err != nil {
					tb.Fatalf("servers: Announce: %v", err)
				}
				args = append(args, "--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", port)
			}
			return args
		}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := nodes.join(ctx); err != nil {
		tb.Fatalf("servers: join the nodes of a redis cluster: %v", err)
	}
	return nodes
}

// Addrs are the nodes' own addresses, as redis.ClusterOptions takes them.
func (nodes RedisNodes) Addrs() []string {
	addrs := make([]string, len(nodes))
	for n, node := range nodes {
		addrs[n] = node.Addr()
	}
	return addrs
}

// join shares the slots out, introduces the nodes to the first and waits until each knows all.
func (nodes RedisNodes) join(ctx context.Context) error {
	clients := make([]*redis.Client, len(nodes))
	for n, node := range nodes {
		clients[n] = redis.NewClient(&redis.Options{Addr: node.Addr()})
		defer clients[n].Close()
	}
	for n, client := range clients {
		first, last := n*clusterSlots/len(nodes), (n+1)*clusterSlots/len(nodes)-1
		if err := client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			return err
		}
		// Different epochs from the start spare the nodes the settling of a collision.
		if err := client.Do(ctx, "cluster", "set-config-epoch", n+1).Err(); err != nil {
			return err
		}
	}
	for _, node := range nodes[1:] {
		ports := node.ports
		if err := clients[0].Do(ctx, "cluster", "meet", "127.0.0.1", ports[0].Number(), ports[1].Number()).Err(); err != nil {
			return err
		}
	}
	for n, client := range clients {
		err := poll(ctx, nil, func(ctx context.Context) error { return clusterReady(ctx, client) })
		if err != nil {
			return fmt.Errorf("node %d: %w", n, err)
		}
	}
	return nil
}

func clusterReady(ctx context.Context, client *redis.Client) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{"cluster_state:ok", "cluster_known_nodes:" + strconv.Itoa(clusterNodes) + "\r"} {
		if !strings.Contains(info, want) {
			return errors.New(info)
		}
	}
	return nil
}
