//go:build realservers

package rabbitmq_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// TestConformanceOnACluster has one cluster for all of its tests, as each start of a node
// takes ten seconds of a processor.
func TestConformanceOnACluster(t *testing.T) {
	t.Parallel()
	nodes := servers.RabbitMQCluster(t, 3, servers.RabbitMQOptions{})
	h := harness("rabbitmq-cluster", nodes, rabbitexec.Topology{})
	h.Subject.Settings["nodes"] = "3"
	h.Restart = func(context.Context) error {
		if err := nodes[0].Kill(); err != nil { // the leaders are on this node
			return err
		}
		if err := nodes[0].Restart(); err != nil || !thorough() {
			return err // a plain test run leaves out the rest, which takes a minute
		}
		return restart(nodes[1:])
	}
	conformance.Run(t, h)
	t.Run("the leader of a quorum queue is killed", func(t *testing.T) { leaderIsKilled(t, nodes) })
}

// thorough reports whether a run may take minutes, as in make faults, soak and matrix.
func thorough() bool {
	return os.Getenv("CONFORMANCE_EFFORT") != "" || os.Getenv("CONFORMANCE_REPORT") != ""
}

// The leader of a quorum queue is killed while jobs are sent and run. Every accepted job
// runs, and none that was not sent does.
func leaderIsKilled(t *testing.T, nodes []*servers.RabbitMQServer) {
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
