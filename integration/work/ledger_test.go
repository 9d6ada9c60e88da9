//go:build realservers

package work_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
)

// account is what became of every intent of a flush and of every run of a job.
type account struct {
	slog.Handler // of the worker, which tells which jobs it has put back

	mu      sync.Mutex
	runs    map[string]int  // guarded by mu
	putBack map[string]bool // guarded by mu
	kills   int
}

// work notes the run of each job.
func (a *account) work(ctx context.Context, _ int) error {
	job, _ := core.JobFrom(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[job.ID]++
	return nil
}

func (a *account) ran() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.runs)
}

func (a *account) Enabled(context.Context, slog.Level) bool { return true }

// Handle notes each job that was put back.
func (a *account) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "job" {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.putBack[attr.Value.String()] = true
		}
		return true
	})
	return nil
}

const (
	flushed = 10_000
	killsIn = 3 // kills of Redis during a flush
)

func TestNothingAcknowledgedIsLostWhenRedisIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("workers stopped", func(t *testing.T) { t.Parallel(); flushUnderKill(t, false) })
	t.Run("workers running", func(t *testing.T) { t.Parallel(); flushUnderKill(t, true) })
}

func flushUnderKill(t *testing.T, working bool) {
	server := servers.Redis(t, servers.RedisOptions{Durable: true})
	proxy, err := faultproxy.New(server.Addr()) // tells how far the flush has come
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := setup(t, plain(t, proxy.Addr()), "ledger", workexec.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*trial.Patience) // every step of every job is synced to disk
	t.Cleanup(cancel)
	w.Ctx, w.rdb = ctx, plain(t, server.Addr())
	a := &account{runs: map[string]int{}, putBack: map[string]bool{}}
	task := core.DeclareTask[int]("test.flushed")
	reg, err := core.NewRegistry(core.Handle(task, a.work))
	w.Must(err)
	serve := func() *workexec.Worker {
		worker, err := workexec.Register(w.pool("", 16), reg, &workexec.WorkerOptions{Logger: slog.New(a)})
		w.Must(err)
		worker.Start()
		w.Cleanup(func() { _ = worker.Stop(context.Background()) })
		return worker
	}
	var first *workexec.Worker
	if working {
		first = serve()
	}
	// Kill, three times, in the middle of what the flush still has to send.
	killed := make(chan error, 1)
	go func() {
		for n := range killsIn {
			from := proxy.Stats().RequestBytes
			err := proxy.WaitFor(w.Ctx, func(s faultproxy.Stats) bool { return s.RequestBytes > from+int64(100_000*(n+3)) })
			if err == nil {
				err = server.Kill()
			}
			if err == nil {
				err = server.Restart()
			}
			if err != nil {
				killed <- err
				return
			}
			a.kills++
		}
		killed <- nil
	}()
	expected, attempts := map[string]bool{}, 0
	exec := compose.WithRetry(w.exec.Execute, compose.Retry{
		Attempts: 200, Backoff: core.Fixed(50 * time.Millisecond),
		OnRetry: func(context.Context, int, time.Duration, error) { attempts++ },
	})
	err = airlock.Run(w.Ctx, exec, func(ctx context.Context) error {
		for n := range flushed {
			in, err := task.Intent(n)
			if err != nil {
				return err
			}
			expected[in.ID] = true
			if err := airlock.Add(ctx, in); err != nil {
				return err
			}
		}
		return nil
	})
	w.Must(err) // acknowledged, all of it
	w.Must(<-killed)
	if !working {
		w.storedOnce(expected)
		serve()
	} else {
		// What the first worker has in its hands without knowing goes back when it stops.
		w.Eventually("nothing waits", func() bool {
			n, err := redis.Int(w.tryDo("LLEN", "jobs:test.flushed"))
			return err == nil && n == 0
		})
		w.Must(first.Stop(w.Ctx))
		serve()
	}
	w.Eventually("every job has run", func() bool { return a.ran() >= flushed })
	w.Eventually("nothing is left", func() bool { jobs, err := jobsIn(w.rdb, w.ns); return err == nil && len(jobs) == 0 })
	a.mu.Lock()
	defer a.mu.Unlock()
	twice, phantom, unexplained := 0, 0, 0
	for id, n := range a.runs {
		if n > 1 {
			twice++
			if !a.putBack[id] {
				unexplained++
			}
		}
		if !expected[id] {
			phantom++
		}
	}
	t.Logf("ledger: %d intents, %d kills, %d calls tried again; %d jobs run, %d lost, %d phantom; %d put back from a worker that had lost an answer, of them %d run twice; %d run twice otherwise",
		flushed, a.kills, attempts, len(a.runs), flushed-len(a.runs), phantom, len(a.putBack), twice-unexplained, unexplained)
	if len(a.runs) != flushed || phantom > 0 || unexplained > 0 || a.kills != killsIn || attempts == 0 {
		t.Error("the ledger does not balance")
	}
}

// storedOnce looks at Redis itself: each ID must be stored once.
func (w *world) storedOnce(expected map[string]bool) {
	w.Helper()
	seen := map[string]bool{}
	for _, s := range w.jobs(w.ns) {
		if seen[s.ID] || !expected[s.ID] {
			w.Errorf("stored twice, or never sent: %s", s.ID)
		}
		seen[s.ID] = true
	}
	if len(seen) != len(expected) {
		w.Errorf("%d of %d are stored", len(seen), len(expected))
	}
}
