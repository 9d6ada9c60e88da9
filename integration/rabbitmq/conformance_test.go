//go:build realservers

package rabbitmq_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	nodes := servers.RabbitMQCluster(t, 1, servers.RabbitMQOptions{})
	conformance.Run(t, harness("rabbitmq", nodes, rabbitexec.Topology{}))
}

func TestConformanceOfClassicQueues(t *testing.T) {
	t.Parallel()
	nodes := servers.RabbitMQCluster(t, 1, servers.RabbitMQOptions{})
	h := harness("rabbitmq-classic", nodes, rabbitexec.Topology{Classic: true, Priorities: true, Inbox: redisInbox(t)})
	h.Subject.Settings["inbox"] = "redis"
	conformance.Run(t, h)
}

// harness connects the systems to the nodes in turn. The queues have their leaders on the
// first node, where all else is done.
func harness(name string, nodes []*servers.RabbitMQServer, topology rabbitexec.Topology) conformance.Harness {
	addr := nodes[0].Addr()
	var turn atomic.Int64
	return conformance.Harness{
		Scale: 10, Settle: 300 * time.Millisecond, // Scale bounds only what a green run does not use up, but for Settle
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/rabbitmq", Backend: "rabbitmq",
			Settings: map[string]string{"library": "amqp091-go v1.16.0"},
		},
		Restart:        func(context.Context) error { return restart(nodes) },
		RecoversWithin: 2 * time.Second, // times Scale. The server misses the heartbeats of a lost worker after 6 seconds
		RetryWithin:    5 * time.Second,
		ParksFor:       2 * time.Second,
		Inspects:       true,
		Lacks:          map[string]string{"Lease": "RabbitMQ takes a job away from a worker that is alive after consumer_timeout only, half an hour"},
		Golden: []conformance.Golden{{
			Name: "v1", ID: "golden-1", Payload: []byte(`{"a": [1]}`), Headers: map[string]string{"Color": "red"},
			Put: func(ctx context.Context, namespace string) error {
				return servers.WireTo(addr).Put(ctx, namespace+".default", amqp.Publishing{
					Type: "conformance.golden", MessageId: "golden-1", Body: []byte(`{"a": [1]}`),
					Headers: amqp.Table{
						"Airlock-Envelope": `{"v":1,"max_attempts":25}`, "Airlock-Message": int64(1), "Airlock-Headers": amqp.Table{"Color": "red"},
					},
				})
			},
		}},
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			node := nodes[int(turn.Add(1))%len(nodes)]
			return system(t, addr, node.Addr(), s, topology)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				return servers.WireTo(addr).Put(ctx, namespace+".default", amqp.Publishing{Type: task, Body: payload})
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				return consume(ctx, addr, namespace+".default")
			},
		},
	}
}

// restart stops one node after the other in good order, as an upgrade does.
func restart(nodes []*servers.RabbitMQServer) error {
	for _, node := range nodes {
		if err := node.Restart(); err != nil {
			return err
		}
	}
	return nil
}

// system has an executor and a worker that use the node at near. The queues are declared
// and looked at through the node at addr.
func system(t conformance.T, addr, near string, s conformance.Setup, topology rabbitexec.Topology) conformance.System {
	lines := conformance.NewLines(t, s, near)
	topology.Prefix = s.Namespace + "."
	if s.NativeNames != nil {
		topology.QueueNames = map[string]string{}
		for queue, native := range s.NativeNames { // to which no prefix is added
			topology.QueueNames[queue] = topology.Prefix + native
		}
	}
	var queues []string // a dispatch declares none: "nobody" is a queue that the suite does not work
	seen := map[string]bool{}
	for _, q := range append([]string{"default", "nobody", "left", "right"}, s.Queues...) {
		if q != "" && !seen[q] {
			seen[q] = true
			queues = append(queues, q)
		}
	}
	if err := ensure(t.Context(), t, addr, topology, queues...); err != nil {
		t.Fatalf("EnsureQueues: %v", err)
	}
	exec, err := rabbitexec.New(servers.WireTo(lines.ExecutorAddr).Dial, &rabbitexec.Options{Topology: topology, ConfirmTimeout: 5 * time.Second, Logger: s.Logger})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = exec.Close() })
	view, err := rabbitexec.NewInspector(servers.WireTo(addr).Dial, &rabbitexec.InspectorOptions{Topology: topology})
	if err != nil {
		t.Fatalf("NewInspector: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 10
	}
	work := []string{"default"}
	if len(s.Queues) > 0 {
		work = nil
		for _, q := range s.Queues {
			if q == "" {
				q = "default"
			}
			work = append(work, q)
		}
	}
	wire := servers.WireTo(lines.WorkerAddr)
	var freeze func() (func() error, error)
	if s.Freezes { // the server takes a connection without a heartbeat for dead
		proxy, err := faultproxy.New(near)
		if err != nil {
			t.Fatalf("proxy: %v", err)
		}
		t.Cleanup(proxy.Close)
		wire.Addr = proxy.Addr()
		freeze = func() (func() error, error) {
			proxy.LoseRequests()
			return proxy.Heal, nil
		}
	}
	w, err := rabbitexec.NewWorker(wire.Dial, s.Registry, &rabbitexec.WorkerOptions{
		Topology: topology, Queues: work, Concurrency: slots, DrainTimeout: 5 * time.Second, ParkFor: time.Second, Logger: s.Logger,
	})
	if err != nil {
		t.Fatalf("NewWorker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	start := sync.OnceFunc(func() { go func() { result <- w.Run(ctx) }() })
	stop := sync.OnceValue(func() error { cancel(); start(); return <-result })
	t.Cleanup(func() { _ = stop() })
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots, Inspector: view,
		Stop: func(ctx context.Context) error {
			stopped := make(chan error, 1)
			go func() { stopped <- stop() }()
			select {
			case err := <-stopped:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Kill:        func() error { wire.Cut(); return nil },
		NativeNames: true, Freeze: freeze,
		Corrupt: func(ctx context.Context, task string) error {
			return servers.WireTo(addr).Put(ctx, topology.Prefix+"default", amqp.Publishing{Type: task, Body: []byte("{"), Headers: amqp.Table{"Airlock-Envelope": "{"}})
		},
		Later: func(ctx context.Context, task string) error {
			return servers.WireTo(addr).Put(ctx, topology.Prefix+"default", amqp.Publishing{Type: task, Body: []byte("{}"), Headers: amqp.Table{"Airlock-Envelope": `{"v":99,"max_attempts":1}`}})
		},
	}
	lines.SetProxies(&sys)
	if s.Paused {
		sys.Start = func(context.Context) error { start(); return nil }
	} else {
		start()
	}
	return sys
}

// consume takes one message as a program does that knows nothing of airlock.
func consume(ctx context.Context, addr, queue string) (task string, payload []byte, err error) {
	ch, end, err := servers.WireTo(addr).Channel()
	if err != nil {
		return "", nil, err
	}
	defer end()
	if err := ch.Qos(1, 0, false); err != nil {
		return "", nil, err
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return "", nil, err
	}
	select {
	case d := <-deliveries:
		return d.Type, d.Body, d.Ack(false)
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}
