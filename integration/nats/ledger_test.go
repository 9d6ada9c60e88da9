package nats_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
	"github.com/nats-io/nats.go"
)

// A ledger counts what became of the intents of one flush.
type ledger struct {
	mu     sync.Mutex
	sent   map[string]bool // guarded by mu; accepted
	runs   map[string]int  // guarded by mu; more than one: an acknowledgement was lost
	stored map[uint64]bool // guarded by mu; messages that were run
	ranAll chan struct{}   // closed when every job has run
	want   int
}

func newLedger(want int) *ledger {
	return &ledger{sent: map[string]bool{}, runs: map[string]int{}, stored: map[uint64]bool{}, ranAll: make(chan struct{}), want: want}
}

func (l *ledger) accepted(intents []core.Intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range intents {
		l.sent[in.ID] = true
	}
}

func (l *ledger) run(ctx context.Context, _ string) error {
	job, _ := worker.JobFrom(ctx)
	meta, err := job.Native.(*nats.Msg).Metadata()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[job.ID]++
	l.stored[meta.Sequence.Stream] = true
	if l.runs[job.ID] == 1 && len(l.runs) == l.want {
		close(l.ranAll)
	}
	return nil
}

// balance prints the sums and demands that nothing was lost, made up or stored twice. Every stored message has been run.
func (l *ledger) balance(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	stored := len(l.stored)
	lost, phantom, again := 0, 0, 0
	for id := range l.sent {
		if l.runs[id] == 0 {
			lost++
		}
	}
	for id, n := range l.runs {
		if !l.sent[id] {
			phantom++
		}
		again += n - 1
	}
	t.Logf("%d dispatched, %d accepted, %d run, %d lost, %d phantom, %d stored twice, %d run again after a lost acknowledgement",
		l.want, len(l.sent), len(l.runs), lost, phantom, stored-l.want, again)
	if lost+phantom > 0 || stored != l.want || len(l.sent) != l.want {
		t.Error("the ledger does not balance")
	}
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
	for call := range calls {
		switch call {
		case calls / 3:
			_, follower := c.roles()
			hurting.Go(func() { c.kill(follower) })
		case 2 * calls / 3:
			hurting.Wait()
			leader, _ := c.roles()
			hurting.Go(func() { c.kill(leader) })
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
	for name, workers := range map[string]int{"workers stopped": 0, "workers running": 2} {
		t.Run(name, func(t *testing.T) {
			c := setupCluster(t)
			l := newLedger(n)
			for range workers {
				c.work(l.run)
			}
			c.flush(n, l)
			if workers == 0 {
				c.wantStored("JOBS.job.>", n)
				c.work(l.run)
			}
			next(c.testEnv, l.ranAll)
			c.wantStored("JOBS.>", 0)
			l.balance(t)
		})
	}
}
