package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
)

// A cluster is a testEnv on three servers that can be hurt.
type cluster struct {
	*testEnv
	nodes servers.NATSNodes
}

func setupCluster(t *testing.T) *cluster {
	t.Helper()
	nodes := servers.NATSCluster(t, servers.NATSOptions{OwnProcess: true})
	opts := &options{AckTimeout: 2 * time.Second, AckWait: 10 * time.Second, Concurrency: 32}
	return &cluster{setupOn(t, nodes.URL(), &natsexec.StreamOptions{Replicas: 3}, opts), nodes}
}

// roles asks until the stream has a leader.
func (c *cluster) roles() (leader, follower *servers.NATSServer) {
	c.Helper()
	for ; c.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.ctx, once)
		stream, err := c.js.Stream(ctx, streamName)
		cancel()
		if err != nil || stream.CachedInfo().Cluster == nil {
			continue
		}
		info := stream.CachedInfo().Cluster
		if leader = c.nodes.Named(info.Leader); leader == nil {
			continue
		}
		for _, r := range info.Replicas {
			if follower = c.nodes.Named(r.Name); follower != nil && r.Current {
				return leader, follower
			}
		}
	}
	c.Fatal("the stream has no leader")
	return nil, nil
}

// kill ends a server as kill -9 does and starts it again. It may be called from any goroutine.
func (c *cluster) kill(server *servers.NATSServer) {
	if err := server.Kill(); err != nil {
		c.Error(err)
	}
	if err := server.Restart(); err != nil {
		c.Error(err)
	}
}

// A disturbance ends a scenario of calmly.
type disturbance struct{}

// undisturbed ends a scenario whose call was not answered, or by no leader.
func (w *testEnv) undisturbed(err error) {
	if w.restless && (errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrUnknownOutcome)) {
		panic(disturbance{})
	}
}

// calmly runs a scenario that checks each outcome. If the leader moved in the middle, as it may on a busy machine, it runs the
// scenario again on an empty stream.
func (c *cluster) calmly(scenario func(w *testEnv)) {
	c.Helper()
	quiet := *c.testEnv
	quiet.restless = true
	for !func() (calm bool) {
		defer func() {
			if thrown := recover(); thrown != nil {
				if _, ok := thrown.(disturbance); !ok {
					panic(thrown)
				}
			}
		}()
		c.insist(func(ctx context.Context) error {
			stream, err := c.js.Stream(ctx, streamName)
			if err != nil {
				return err
			}
			return stream.Purge(ctx)
		})
		scenario(&quiet)
		return true
	}() {
		if c.ctx.Err() != nil {
			c.Fatal("there never was a leader for long enough")
		}
	}
}

func TestAtomicBatchesOnThreeReplicas(t *testing.T) {
	t.Parallel()
	c := setupCluster(t)
	c.opts.Atomic = true
	c.open()
	c.calmly(atomicBatches)
	c.calmly(atomicBatchesWithAKey)
}

func TestAnIDInProcessIsOneJobOnThreeReplicas(t *testing.T) {
	t.Parallel()
	c := setupCluster(t)
	for range 20 {
		c.calmly(func(w *testEnv) {
			in, chosen := w.intent("a"), w.intent("b", core.ID(w.intent("b").ID))
			w.wantStates(w.states(in, in, chosen, chosen), core.Accepted, core.Accepted, core.Accepted, core.Duplicate)
			w.wantStored("JOBS.>", 2)
		})
	}
}
