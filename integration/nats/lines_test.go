package nats_test

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
)

// overLines lets the suite break what is between its systems and the server, and restart that. Streams are kept in files, so
// that they outlive it.
func overLines(h conformance.Harness, server *servers.NATSServer, opts options) conformance.Harness {
	opts.AckTimeout, opts.AckWait, opts.DrainTimeout = 3*time.Second, 5*time.Second, 6*time.Second
	opts.ParkFor = time.Second
	h.Lease = opts.AckWait
	h.Restart = func(context.Context) error { return server.Restart() }
	h.New = func(t conformance.T, s conformance.Setup) conformance.System {
		direct := far(t, server.Addr())
		if err := natsexec.EnsureStream(t.Context(), direct, s.Namespace, &natsexec.StreamOptions{Window: s.IDWindow}); err != nil {
			t.Fatalf("stream: %v", err)
		}
		lines := conformance.NewLines(t, s, server.Addr())
		own := opts
		own.QueueNames, own.Logger = s.NativeNames, s.Logger
		own.Queues, own.Concurrency = s.QueueNames("default"), max(s.Slots, 1)
		if s.Slots == 0 {
			own.Concurrency = 8
		}
		exec, err := natsexec.New(t.Context(), far(t, lines.ExecutorAddr), s.Namespace, own.dispatch())
		if err != nil {
			t.Fatalf("New: %v", err)
		}
		view, err := natsexec.NewInspector(direct, s.Namespace, nil)
		if err != nil {
			t.Fatalf("NewInspector: %v", err)
		}
		at := "nats://" + lines.WorkerAddr
		var freeze func() (func() error, error)
		if s.Freezes {
			at, freeze = freezable(t, at)
			own.AckWait = shortLease
		}
		w := newRunner(t, at, s.Namespace, s.Registry, &own)
		if !s.Paused {
			_ = w.start(t.Context())
		}
		sys := conformance.System{
			Exec: exec.Execute, Caps: exec.Capabilities(), Start: w.start, Stop: w.stop, Kill: w.kill, Slots: own.Concurrency, Inspector: view,
			NativeNames: true, Freeze: freeze,
			Stored:  func(ctx context.Context) ([]conformance.Record, error) { return records(ctx, direct, s.Namespace) },
			Corrupt: withEnvelope(direct, s.Namespace, "{"),
			Later:   withEnvelope(direct, s.Namespace, `{"v":99,"max_attempts":1}`),
		}
		lines.SetProxies(&sys)
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

// shortLease is the lease of workers that are frozen.
const shortLease = 2 * time.Second

// freezable returns a way to a server on which no request passes while the worker is frozen.
func freezable(t conformance.T, url string) (at string, freeze func() (func() error, error)) {
	first, _, _ := strings.Cut(url, ",") // of a cluster, one server is enough
	proxy, err := faultproxy.New(strings.TrimPrefix(first, "nats://"))
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	t.Cleanup(proxy.Close)
	return "nats://" + proxy.Addr(), func() (func() error, error) {
		proxy.LoseRequests()
		return proxy.Heal, nil
	}
}
