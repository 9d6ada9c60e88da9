//go:build realservers

package rabbitmq_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// In a cluster of three the leader of a quorum queue is killed while jobs are sent and
// run. Every accepted job runs, and none that was not sent does.
func TestLeaderOfAQuorumQueueIsKilled(t *testing.T) {
	t.Parallel()
	nodes := servers.RabbitMQCluster(t, 3, servers.RabbitMQOptions{})
	e := setup(t, nodes[0], rabbitexec.Topology{}) // the leaders are on this node
	var turn atomic.Int64
	anyNode := func(ctx context.Context) (*amqp.Connection, error) {
		return servers.WireTo(nodes[int(turn.Add(1))%len(nodes)].Addr()).Dial(ctx)
	}
	exec, err := rabbitexec.New(anyNode, &rabbitexec.Options{Topology: e.topology, Logger: quiet, ConfirmTimeout: 5 * time.Second})
	e.must(err)
	defer exec.Close()
	var mu sync.Mutex
	ran := map[string]int{} // guarded by mu
	e.work(anyNode, func(_ context.Context, job worker.Job) error {
		mu.Lock()
		defer mu.Unlock()
		ran[job.ID]++
		return nil
	})
	states := map[core.State][]string{}
	sendSome := func() {
		intents := make([]core.Intent, 10)
		for i := range intents {
			intents[i] = e.intent()
		}
		err := exec.Execute(e.Context(), intents...)
		var failed *core.DispatchError
		for i := range intents {
			state := core.Accepted
			if errors.As(err, &failed) {
				state = failed.Outcomes[i].State
			}
			states[state] = append(states[state], intents[i].ID)
		}
	}
	for range 20 {
		sendSome()
	}
	e.must(nodes[0].Kill())
	before := len(states[core.Accepted])
	for end := time.Now().Add(patience); len(states[core.Accepted]) < before+200; {
		if time.Now().After(end) {
			t.Fatalf("%d jobs were accepted after the leader's end", len(states[core.Accepted])-before)
		}
		sendSome()
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		lost := 0
		mu.Lock()
		for _, id := range states[core.Accepted] {
			if ran[id] == 0 {
				lost++
			}
		}
		mu.Unlock()
		if lost == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d accepted jobs did not run", lost, len(states[core.Accepted]))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, state := range []core.State{core.NotSent, core.Rejected} {
		for _, id := range states[state] {
			if ran[id] > 0 {
				t.Errorf("a job that was %v ran", state)
			}
		}
	}
	t.Logf("accepted %d, unknown %d, not sent %d, rejected %d", len(states[core.Accepted]), len(states[core.Unknown]), len(states[core.NotSent]), len(states[core.Rejected]))
	e.must(nodes[0].Restart()) // so that the queues can be deleted
}
