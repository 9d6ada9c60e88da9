package nats_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
)

// A ledger counts what became of the intents of one flush.
type ledger struct {
	mu     sync.Mutex
	sent   map[string]bool // guarded by mu; accepted
	first  map[string]int  // guarded by mu; runs as attempt 1: more than one means that the ID was stored twice
	again  map[string]int  // guarded by mu; further attempts: an acknowledgement was lost
	ranAll chan struct{}   // closed when every accepted job has run
	want   int
}

func newLedger(want int) *ledger {
	return &ledger{sent: map[string]bool{}, first: map[string]int{}, again: map[string]int{}, ranAll: make(chan struct{}), want: want}
}

func (l *ledger) accepted(intents []core.Intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range intents {
		l.sent[in.ID] = true
	}
}

func (l *ledger) run(ctx context.Context, _ string) error {
	job, _ := core.JobFrom(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if job.Attempt > 1 {
		l.again[job.ID]++
	} else {
		l.first[job.ID]++
	}
	if l.first[job.ID]+l.again[job.ID] == 1 && len(l.first)+len(l.again) >= l.want {
		if l.ran() == l.want {
			close(l.ranAll)
		}
	}
	return nil
}

// ran needs mu.
func (l *ledger) ran() int {
	n := len(l.first)
	for id := range l.again {
		if l.first[id] == 0 {
			n++
		}
	}
	return n
}

// balance prints the sums and demands that nothing was lost, made up or stored twice.
func (l *ledger) balance(t *testing.T, what string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, phantom, twice, again := 0, 0, 0, 0
	for id := range l.sent {
		if l.first[id]+l.again[id] == 0 {
			lost++
		}
	}
	for id, n := range l.first {
		if !l.sent[id] {
			phantom++
		}
		twice += n - 1
	}
	for _, n := range l.again {
		again += n
	}
	t.Logf("%s: %d dispatched, %d accepted, %d run, %d lost, %d phantom, %d stored twice, %d run again after a lost acknowledgement",
		what, l.want, len(l.sent), l.ran(), lost, phantom, twice, again)
	if lost+phantom+twice > 0 || len(l.sent) != l.want {
		t.Errorf("%s: the ledger does not balance", what)
	}
}

// A cluster is a world on three servers that can be hurt.
type cluster struct {
	*world
	nodes servers.NATSNodes
}

func setupCluster(t *testing.T) *cluster {
	t.Helper()
	nodes := servers.NATSCluster(t, servers.NATSOptions{OwnProcess: true})
	opts := &natsexec.Options{AckTimeout: 2 * time.Second, AckWait: 10 * time.Second, Concurrency: 32}
	w := setupOn(t, nodes.URL(), &natsexec.StreamOptions{Replicas: 3}, opts)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	w.ctx = ctx
	return &cluster{w, nodes}
}

// roles asks until the stream has a leader.
func (c *cluster) roles() (leader, follower *servers.NATSServer) {
	c.Helper()
	for c.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
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

// stubborn is what a program would use that must not lose anything.
func (c *cluster) stubborn() core.Executor {
	return compose.WithRetry(c.exec.Execute, compose.Retry{Attempts: 1000, Backoff: core.Fixed(250 * time.Millisecond)})
}

// flush dispatches n intents in calls of 500. After a third of the calls a follower is killed and started again, after two
// thirds the leader.
func (c *cluster) flush(n int, l *ledger) {
	c.Helper()
	exec := c.stubborn()
	const each = 500
	calls := n / each
	var hurting sync.WaitGroup
	hurt := func(s *servers.NATSServer) {
		hurting.Go(func() {
			if err := s.Kill(); err != nil {
				c.Error(err)
			}
			if err := s.Restart(); err != nil {
				c.Error(err)
			}
		})
	}
	for call := range calls {
		switch call {
		case calls / 3:
			_, follower := c.roles()
			hurt(follower)
		case 2 * calls / 3:
			hurting.Wait()
			leader, _ := c.roles()
			hurt(leader)
		}
		intents := c.some(each)
		c.must(exec(c.ctx, intents...))
		l.accepted(intents)
	}
	hurting.Wait()
}

func TestNothingIsLostWhenServersDieDuringAFlush(t *testing.T) {
	t.Parallel()
	const n = 10_000
	t.Run("workers stopped", func(t *testing.T) {
		c := setupCluster(t)
		l := newLedger(n)
		c.flush(n, l)
		c.wantEventually("JOBS.job.>", n)
		c.work(l.run)
		next(c.world, l.ranAll)
		c.wantEventually("JOBS.>", 0)
		l.balance(t, "workers stopped")
	})
	t.Run("workers running", func(t *testing.T) {
		c := setupCluster(t)
		l := newLedger(n)
		c.work(l.run)
		c.work(l.run)
		c.flush(n, l)
		next(c.world, l.ranAll)
		c.wantEventually("JOBS.>", 0)
		l.balance(t, "workers running")
	})
}

// wantEventually is wantStored for a stream that may have no leader for a while.
func (c *cluster) wantEventually(subject string, want int) {
	c.Helper()
	got := -1
	for c.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		if stream, err := c.js.Stream(ctx, streamName); err == nil {
			if info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject)); err == nil {
				got = 0
				for _, count := range info.State.Subjects {
					got += int(count)
				}
			}
		}
		cancel()
		if got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.Fatalf("%d messages on %s, want %d", got, subject, want)
}

func TestAUniqueKeyIsRefusedOnThreeReplicas(t *testing.T) {
	t.Parallel()
	nodes := servers.NATSCluster(t, servers.NATSOptions{OwnProcess: true})
	w := setupOn(t, nodes.URL(), &natsexec.StreamOptions{Replicas: 3}, nil)
	err := w.exec.Execute(w.ctx, w.intent("a", core.Unique("k")))
	var refused *core.OptionError
	if !errors.As(err, &refused) || refused.Option != core.OptionUnique {
		t.Errorf("error %v", err)
	}
	w.wantStored("JOBS.>", 0)
}

func TestAtomicBatchesOnThreeReplicas(t *testing.T) {
	t.Parallel()
	nodes := servers.NATSCluster(t, servers.NATSOptions{OwnProcess: true})
	w := setupOn(t, nodes.URL(), &natsexec.StreamOptions{Replicas: 3}, &natsexec.Options{Atomic: true})
	atomicBatches(w)
}

func TestAnIDInProcessIsOneJobOnThreeReplicas(t *testing.T) {
	t.Parallel()
	nodes := servers.NATSCluster(t, servers.NATSOptions{OwnProcess: true})
	w := setupOn(t, nodes.URL(), &natsexec.StreamOptions{Replicas: 3}, nil)
	for range 20 {
		in, chosen := w.intent("a"), w.intent("b", core.ID(w.intent("b").ID))
		w.wantStates(w.states(in, in, chosen, chosen), core.Accepted, core.Accepted, core.Accepted, core.Duplicate)
	}
	w.wantStored("JOBS.>", 40)
}
