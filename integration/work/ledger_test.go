//go:build realservers

package work_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/conformance/faultproxy"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
)

func TestNothingAcknowledgedIsLostWhenRedisIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("workers stopped", func(t *testing.T) { t.Parallel(); flushUnderKill(t, false) })
	t.Run("workers running", func(t *testing.T) { t.Parallel(); flushUnderKill(t, true) })
}

func flushUnderKill(t *testing.T, working bool) {
	server := servers.Redis(t, servers.RedisOptions{Durable: true})
	proxy, err := faultproxy.New(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := &testEnv{Trial: trial.New(t, 5*trial.Patience), rdb: plain(t, proxy.Addr()), ns: "ledger"} // every step of every job is synced to disk
	w.use(workexec.Options{})
	w.rdb = plain(t, server.Addr())
	ledger, putBack := trial.NewLedger(), &putBacks{ids: map[string]bool{}}
	serve := func() *running {
		return w.serveWith(ledger.Registry(w.Trial), workexec.WorkerOptions{Concurrency: 16, Logger: slog.New(putBack)})
	}
	var first *running
	if working {
		first = serve()
	}
	ledger.Flush(w.Trial, server, proxy)
	if working {
		// What the first worker has in progress without knowing it goes back when it stops.
		w.Eventually("nothing waits", func() bool {
			n, err := redis.Int(w.tryDo("LLEN", "jobs:test.flushed"))
			return err == nil && n == 0
		})
		w.Must(first.stop())
	} else {
		var ids []string
		for _, s := range w.jobs(w.ns) {
			ids = append(ids, s.ID)
		}
		ledger.StoredOnce(w.Trial, ids)
	}
	serve()
	w.Eventually("every job has run", func() bool { return ledger.Ran() >= trial.Flushed })
	w.Eventually("nothing is left", func() bool { jobs, err := jobsIn(w.rdb, w.ns); return err == nil && len(jobs) == 0 })
	ledger.Balance(w.Trial, putBack.has)
}

// putBacks is the log of a worker. It knows which jobs the worker has put back because an answer was lost.
type putBacks struct {
	slog.Handler

	mu  sync.Mutex
	ids map[string]bool // guarded by mu
}

func (p *putBacks) Enabled(context.Context, slog.Level) bool { return true }

// Handle notes each job that was put back.
func (p *putBacks) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "airlock: job put back" {
		return nil
	}
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "id" {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.ids[attr.Value.String()] = true
		}
		return true
	})
	return nil
}

func (p *putBacks) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids[id]
}
