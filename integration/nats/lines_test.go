package nats_test

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/conformance"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
)

// overLines lets the suite break what is between its systems and the server, and restart that. Streams are kept in files, so
// that they outlive it.
func overLines(h conformance.Harness, server *servers.NATSServer, opts natsexec.Options) conformance.Harness {
	opts.AckTimeout, opts.AckWait, opts.DrainTimeout, opts.Logger = 3*time.Second, 5*time.Second, 6*time.Second, quiet
	h.Lease = opts.AckWait
	h.Restart = func(context.Context) error { return server.Restart() }
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		direct := far(t, server.Addr())
		if err := natsexec.EnsureStream(t.Context(), direct, s.Namespace, nil); err != nil {
			t.Fatalf("stream: %v", err)
		}
		lines := servers.NewLines(t, s, server.Addr())
		own := opts
		own.Queues, own.Concurrency = s.Queues, max(s.Slots, 1)
		if s.Slots == 0 {
			own.Concurrency = 8
		}
		exec, err := natsexec.New(t.Context(), far(t, lines.ExecutorAddr), s.Namespace, &own)
		if err != nil {
			t.Fatalf("New: %v", err)
		}
		w := newRunner(t, "nats://"+lines.WorkerAddr, s.Namespace, s.Registry, &own)
		if !s.Paused {
			_ = w.start(t.Context())
		}
		sys := conformance.System{
			Exec: exec.Execute, Caps: exec.Capabilities(), Start: w.start, Stop: w.stop, Kill: w.kill, Slots: own.Concurrency,
			Stored: func(ctx context.Context) ([]conformance.Record, error) { return records(ctx, direct, s.Namespace) },
			Corrupt: func(ctx context.Context, task string) error {
				_, err := direct.PublishMsg(ctx, &nats.Msg{
					Subject: s.Namespace + ".job.default." + task, Header: nats.Header{"Airlock-Envelope": {"{"}},
				})
				return err
			},
		}
		lines.Give(&sys)
		return sys
	}
	return h
}

// far connects for as long as a check lasts, and does not go round a proxy.
func far(t conformance.T, addr string) jetstream.JetStream {
	conn, err := nats.Connect("nats://"+addr, nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1), nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	return js
}
