package outbox_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/conformance"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
)

// TestConformanceOverNATS is not parallel, because the suite looks for goroutines that
// are left.
func TestConformanceOverNATS(t *testing.T) {
	server, dir := servers.NATS(t, servers.NATSOptions{OwnProcess: true}), t.TempDir()
	shared := connectNATS(t, server.URL())
	// The first request of a connection starts a goroutine that lives as long as it.
	_, err := shared.AccountInfo(t.Context())
	must(t, err)
	conformance.Run(t, conformance.Harness{
		Subject: conformance.Subject{Name: "outbox-nats", Module: "github.com/goairlock/airlock/outbox", Backend: "SQLite (modernc.org/sqlite), nats-server v2.15.2"},
		Scale:   12, Settle: 300 * time.Millisecond, Lease: 30 * time.Second, ParksFor: 2 * time.Second,
		New: func(ct conformance.T, s conformance.Setup) conformance.System {
			tb := checkTB{t, ct}
			must(tb, natsexec.EnsureStream(ct.Context(), shared, s.Namespace, &natsexec.StreamOptions{Storage: jetstream.MemoryStorage}))
			queue, err := natsexec.New(ct.Context(), shared, s.Namespace, &natsexec.Options{Lanes: true, QueueNames: s.NativeNames, AckTimeout: 30 * time.Second, Logger: s.Logger})
			must(tb, err)
			exec := withoutIdentity(queue.Execute)
			slots := s.Slots
			if slots == 0 {
				slots = 8
			}
			work, err := natsexec.NewWorker(connectNATS(tb, server.URL()), s.Namespace, s.Registry, &natsexec.WorkerOptions{
				Lanes: true, QueueNames: s.NativeNames, Queues: s.QueueNames("default"), Concurrency: slots, AckWait: 8 * time.Second, DrainTimeout: 6 * time.Second,
				ParkFor: time.Second, Logger: s.Logger,
			})
			must(tb, err)
			// The systems of a namespace share a stream and a database.
			w := openSQLite(tb, "file:"+filepath.Join(dir, s.Namespace+".db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate&_pragma=synchronous(OFF)")
			box, err := outbox.New(w.dialect, &outbox.Options{For: exec, DB: outbox.SQL(w.db), Logger: s.Logger})
			must(tb, err)
			must(tb, box.CreateTable(ct.Context(), outbox.SQL(w.db)))
			relay, err := outbox.NewRelay(box, outbox.SQL(w.db), exec, &outbox.RelayOptions{Poll: 10 * time.Millisecond, Logger: s.Logger})
			must(tb, err)
			ctx, cancel := context.WithCancel(context.Background())
			relayed, worked := make(chan struct{}), make(chan error, 1)
			go func() {
				defer close(relayed)
				if err := relay.Run(ctx); err != nil {
					ct.Logf("Run: %v", err)
				}
			}()
			start := sync.OnceFunc(func() { go func() { worked <- work.Run(ctx) }() })
			ct.Cleanup(func() { start(); cancel(); <-relayed; <-worked })
			sys := conformance.System{Exec: inTransactions(w, box, true), Caps: box.Capabilities(), Slots: slots}
			if s.Paused {
				sys.Start = func(context.Context) error { start(); return nil }
			} else {
				start()
			}
			return sys
		},
	})
}

func connectNATS(tb testing.TB, url string) jetstream.JetStream {
	tb.Helper()
	conn, err := nats.Connect(url, nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	must(tb, err)
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(tb, err)
	return js
}
