package outbox_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/outbox"
)

// TestConformanceOverAsynq is not parallel, because the suite looks for goroutines
// that are left.
func TestConformanceOverAsynq(t *testing.T) {
	// The systems of a namespace share a Redis and a database.
	var mu sync.Mutex
	servers, dir := make(map[string]*miniredis.Miniredis), t.TempDir()
	stores := func(namespace string) (*miniredis.Miniredis, string) {
		mu.Lock()
		defer mu.Unlock()
		if servers[namespace] == nil {
			servers[namespace] = miniredis.RunT(t)
		}
		return servers[namespace], "file:" + filepath.Join(dir, namespace+".db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate&_pragma=synchronous(OFF)"
	}
	conformance.Run(t, conformance.Harness{
		Subject: conformance.Subject{Name: "outbox-asynq", Module: "github.com/goairlock/airlock/outbox", Backend: "SQLite (modernc.org/sqlite), miniredis"},
		Scale:   10, Settle: 300 * time.Millisecond, Lease: 30 * time.Second, ParksFor: 2 * time.Second,
		Shared:  []string{"github.com/alicebob/miniredis/v2/server.newServer"}, // a Redis belongs to all systems of its namespace
		Waivers: waivers(),
		New: func(ct conformance.T, s conformance.Setup) conformance.System {
			tb := checkTB{t, ct}
			m, source := stores(s.Namespace)
			client := func() redis.UniversalClient {
				rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: patience, WriteTimeout: patience})
				ct.Cleanup(func() { _ = rdb.Close() })
				return rdb
			}
			queue, err := asynqexec.New(client(), nil)
			must(tb, err)
			weights := map[string]int{"default": 1}
			for _, q := range s.Queues {
				if q != "" {
					weights[q] = 1
				}
			}
			slots := s.Slots
			if slots == 0 {
				slots = 10
			}
			work, err := asynqexec.NewWorker(client(), s.Registry, &asynqexec.WorkerOptions{
				Weights: weights, Concurrency: slots, DrainTimeout: time.Second, ParkFor: time.Second, Logger: quiet,
				Config: asynq.Config{
					TaskCheckInterval: 20 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
					RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
				},
			})
			must(tb, err)
			w := openSQLite(tb, source)
			box, err := outbox.New(w.dialect, &outbox.Options{For: queue.Execute, DB: outbox.SQL(w.db), Logger: quiet})
			must(tb, err)
			must(tb, box.CreateTable(ct.Context(), outbox.SQL(w.db)))
			relay, err := outbox.NewRelay(box, outbox.SQL(w.db), queue.Execute, &outbox.RelayOptions{Poll: 10 * time.Millisecond, Logger: quiet})
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
			stop := sync.OnceValue(func() error { start(); cancel(); <-relayed; return <-worked })
			ct.Cleanup(func() { _ = stop() })
			sys := conformance.System{
				Exec: inTransactions(w, box, false), Caps: box.Capabilities(), Slots: slots,
			}
			if s.Paused {
				sys.Start = func(context.Context) error { start(); return nil }
			} else {
				start()
			}
			return sys
		},
	})
}
