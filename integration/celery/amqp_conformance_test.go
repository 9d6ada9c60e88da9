//go:build realservers

package celery_test

import (
	"cmp"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
)

// TestConformanceWithCeleryOnRabbitMQ tests the executor with Celery's own workers. See
// TestConformanceWithCelery.
func TestConformanceWithCeleryOnRabbitMQ(t *testing.T) {
	if !thorough() {
		t.Skip("it takes five minutes: set CONFORMANCE_EFFORT or CONFORMANCE_REPORT")
	}
	shop := newWorkshop(t)
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	h := amqpHarness("celery-python-amqp", "Celery 5.2.6, prefork, acks_late, a worker_consumer that keeps unknown tasks", server)
	h.Scale, h.Settle = 20, 150*time.Millisecond
	h.Lacks = lacksOfCelery(map[string]string{
		"Lease":         h.Lacks["Lease"],
		"System.Freeze": "a Celery worker that has lost a job sends its retry all the same: it publishes that before it acknowledges the job",
	})
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		return celeryOnRabbitMQ(t, shop, server, s)
	}
	conformance.Run(t, h)
}

// thorough reports whether a run may take minutes. See TestConformanceWithCelery.
func thorough() bool {
	return os.Getenv("CONFORMANCE_EFFORT") != "" || os.Getenv("CONFORMANCE_REPORT") != ""
}

// TestConformanceOnRabbitMQ tests the executor and the worker in Go. Not parallel: see
// TestConformance.
func TestConformanceOnRabbitMQ(t *testing.T) {
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	h := amqpHarness("celery-go-amqp", "celeryexec", server)
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		return goOnRabbitMQ(t, server.Addr(), s)
	}
	if !thorough() {
		h.Restart = nil // half a minute, and integration/rabbitmq restarts RabbitMQ in each run
	}
	conformance.Run(t, h)
}

func goOnRabbitMQ(t conformance.T, addr string, s conformance.Setup) conformance.System {
	lines := conformance.NewLines(t, s, addr)
	opts := amqpOptions(t, addr, s)
	exec, err := onRabbitMQ(t, servers.WireTo(lines.ExecutorAddr).Dial, opts)
	if err != nil {
		t.Fatalf("NewAMQP: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 8
	}
	line, freeze := servers.WireTo(lines.WorkerAddr), (func() (func() error, error))(nil)
	if s.Freezes { // the server takes a connection without a heartbeat for dead
		line.Addr, freeze = freezable(t, addr)
	}
	w, err := celeryexec.NewAMQPWorker(line.Dial, s.Registry, &celeryexec.WorkerOptions{
		QueueNames: opts.QueueNames, Queues: distinct(s.QueueNames("default")), Concurrency: slots, DrainTimeout: 10 * time.Second,
		Backoff: core.Fixed(100 * time.Millisecond), ParkFor: time.Second, Logger: quiet,
	})
	if err != nil {
		t.Fatalf("NewAMQPWorker: %v", err)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots,
		NativeNames: true, Freeze: freeze,
		Kill: func() error { line.Cut(); return nil },
		Corrupt: func(ctx context.Context, task string) error {
			return servers.WireTo(addr).Put(ctx, opts.QueueNames["default"], amqpMessage(task, []byte("{"), nil))
		},
	}
	conformance.RunWorker(t, s, &sys, w.Run)
	lines.SetProxies(&sys)
	return sys
}

// amqpHarness has no New.
func amqpHarness(name, worker string, server *servers.RabbitMQServer) conformance.Harness {
	return conformance.Harness{
		Scale: 10, Settle: 300 * time.Millisecond, // Scale bounds only what a green run does not use up, but for Settle
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/celery", Backend: "rabbitmq",
			Settings: map[string]string{"library": "amqp091-go v1.16.0", "worker": worker},
		},
		Restart:        func(context.Context) error { return server.Restart() },
		RefusesJSON:    true,
		RewritesJSON:   true,            // white space around the arguments is not in the message
		RecoversWithin: 2 * time.Second, // times Scale. The server misses the heartbeats of a lost worker after 6 seconds
		ParksFor:       2 * time.Second,
		Lacks: map[string]string{
			"Lease":        "RabbitMQ takes a job away from a worker that is alive after consumer_timeout only, half an hour",
			"System.Later": noEnvelope,
		},
		Golden: golden("golden-amqp", func(ctx context.Context, namespace string, recorded []byte) error {
			return putRecorded(ctx, server.Addr(), namespace+".default", recorded)
		}),
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				return servers.WireTo(server.Addr()).Put(ctx, namespace+".default", amqpMessage(task, payload, nil))
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				return consumeAMQP(ctx, server.Addr(), namespace+".default")
			},
		},
	}
}

// amqpOptions declares the queues of a namespace, which are named after it, and returns
// the executor's options. Queues whose names the suite makes up at random have these,
// since an executor sends to those that only another system works.
func amqpOptions(t conformance.T, addr string, s conformance.Setup) celeryexec.Options {
	names := map[string]string{}
	var queues []string
	for _, q := range append([]string{"default", "nobody", "left", "right"}, s.QueueNames("default")...) {
		native := q
		if other, ok := s.NativeNames[q]; ok {
			native = other
		}
		if len(q) <= 40 && !strings.HasPrefix(q, "near") {
			native = s.Namespace + "." + native
			names[q] = native
		}
		queues = append(queues, native)
	}
	for _, native := range s.NativeNames { // without the namespace it is a queue of its own
		queues = append(queues, native)
	}
	for _, q := range queues {
		queues = append(queues, celeryexec.DeadQueue(q))
	}
	if err := declareQueues(addr, true, queues...); err != nil {
		t.Fatalf("queues: %v", err)
	}
	t.Cleanup(func() {
		ch, end, err := servers.WireTo(addr).Channel()
		if err != nil {
			return // a server that was stopped
		}
		defer end()
		for _, q := range queues {
			_, _ = ch.QueueDelete(q, false, false, false) // an error shows in the next one
		}
	})
	return celeryexec.Options{QueueNames: names, Priorities: true, AcksLate: true, Attempts: core.DefaultMaxAttempts}
}

// celeryOnRabbitMQ has no proxies: see celerySystem.
func celeryOnRabbitMQ(t conformance.T, shop *workshop, server *servers.RabbitMQServer, s conformance.Setup) conformance.System {
	opts := amqpOptions(t, server.Addr(), s)
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, opts)
	if err != nil {
		t.Fatalf("NewAMQP: %v", err)
	}
	slots := s.Slots
	if slots == 0 {
		slots = 2
	}
	portable, queues := map[string]string{}, []string{}
	worked := distinct(s.QueueNames("default"))
	if worked == nil {
		worked = []string{"default"}
	}
	for _, q := range worked {
		native := cmp.Or(opts.QueueNames[q], q)
		queues, portable[native] = append(queues, native), q
	}
	w, err := newCeleryWorker(t, shop, spec{
		Broker: server.URL() + "/", Queues: queues, Tasks: s.Registry.Tasks(), Concurrency: slots, Late: true, Attempts: opts.Attempts, Priorities: true,
	}, portable, s.Registry)
	if err != nil {
		t.Fatalf("worker: %v", err)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: slots, NativeNames: true,
		Stop: w.stop, Kill: w.kill,
		Corrupt: func(ctx context.Context, task string) error {
			return servers.WireTo(server.Addr()).Put(ctx, opts.QueueNames["default"], amqpMessage(task, []byte("{"), nil))
		},
	}
	if s.Paused {
		sys.Start = func(context.Context) error { return w.start() }
	} else if err := w.start(); err != nil {
		t.Fatalf("worker: %v", err)
	}
	return sys
}
