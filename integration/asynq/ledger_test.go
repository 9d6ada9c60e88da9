//go:build realservers

package asynq_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/integration/trial"
)

// account is what became of every intent of a flush and of every run of a job.
type account struct {
	mu    sync.Mutex
	runs  map[string]int // guarded by mu
	kills int
}

// work notes the run of each job.
func (a *account) work(ctx context.Context, _ int) error {
	job, _ := core.JobFrom(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[job.ID]++
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
	a := &account{runs: map[string]int{}}
	task := core.DeclareTask[int]("test.flushed", core.Backoff(core.Fixed(time.Millisecond)))
	reg, err := core.NewRegistry(core.Handle(task, a.work))
	if err != nil {
		t.Fatal(err)
	}
	w := setup(t, plain(t, proxy.Addr()), &asynqexec.Options{IDWindow: time.Hour}) // longer than a slow machine needs
	ctx, cancel := context.WithTimeout(t.Context(), 4*trial.Patience)              // every step of every job is synced to disk
	t.Cleanup(cancel)
	w.Ctx = ctx
	w.connect = plain(t, server.Addr())
	var first *asynq.Server
	if working {
		first = w.serveWith(asynqexec.Handler(reg), asynq.Config{Concurrency: 16})
	}

	attempts := 0
	retried := func(exec core.Executor) core.Executor {
		return compose.WithRetry(exec, compose.Retry{
			Attempts: 200, Backoff: core.Fixed(50 * time.Millisecond),
			OnRetry: func(context.Context, int, time.Duration, error) { attempts++ },
		})
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
	expected := map[string]bool{}
	err = airlock.Run(w.Ctx, retried(w.exec.Execute), func(ctx context.Context) error {
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
		stored, doubled := w.storedOnce(expected)
		if stored != flushed || doubled != 0 {
			t.Errorf("%d of %d are stored, %d twice", stored, flushed, doubled)
		}
		w.serveWith(asynqexec.Handler(reg), asynq.Config{Concurrency: 16})
	}
	left := 0
	if working {
		left = w.recover(first)
		w.serveWith(asynqexec.Handler(reg), asynq.Config{Concurrency: 16})
	}
	var completed int64
	defer func() {
		if t.Failed() {
			t.Logf("%d jobs are completed", completed)
		}
	}()
	w.Eventually("every job is completed", func() bool {
		if n, err := w.rdb.ZCard(w.Ctx, "asynq:{default}:completed").Result(); err == nil {
			completed = n
		}
		return completed >= flushed
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	twice, phantom, unexplained := 0, 0, 0
	for id, n := range a.runs {
		if n > 1 {
			twice++
			if w.info("default", id).LastErr != asynq.ErrLeaseExpired.Error() {
				unexplained++
			}
		}
		if !expected[id] {
			phantom++
		}
	}
	t.Logf("ledger: %d intents, %d kills, %d calls tried again; %d jobs run, %d lost, %d phantom; %d leases left in the end; %d run twice after a lost acknowledgement, %d otherwise",
		flushed, a.kills, attempts, len(a.runs), flushed-len(a.runs), phantom, left, twice-unexplained, unexplained)
	if len(a.runs) != flushed || phantom > 0 || unexplained > 0 || a.kills != killsIn || attempts == 0 {
		t.Error("the ledger does not balance")
	}
}

// recover stops a server and lets the leases of the jobs run out that it has left behind, which takes asynq a minute, and counts
// them. Some may have run out before, on a machine that is slow.
func (w *world) recover(srv *asynq.Server) (left int) {
	w.Helper()
	w.Eventually("nothing waits", func() bool {
		n, err := w.rdb.LLen(w.Ctx, "asynq:{default}:pending").Result()
		return err == nil && n == 0
	})
	srv.Shutdown()
	n, err := w.rdb.ZCard(w.Ctx, "asynq:{default}:lease").Result()
	w.Must(err)
	w.Must(expireLeases(w.Ctx, w.rdb, map[string]int{"default": 1}))
	return int(n)
}

// storedOnce looks at Redis itself: each ID must be in the queue once.
func (w *world) storedOnce(expected map[string]bool) (stored, doubled int) {
	w.Helper()
	var ids []string
	w.Eventually("Redis answers", func() bool {
		var err error
		ids, err = w.connect().(*redis.Client).LRange(w.Ctx, "asynq:{default}:pending", 0, -1).Result()
		return err == nil
	})
	seen := map[string]bool{}
	for _, id := range ids {
		switch {
		case seen[id]:
			doubled++
		case expected[id]:
			stored++
		default:
			w.Error(fmt.Sprint("a job that nobody has sent is stored: ", id))
		}
		seen[id] = true
	}
	return stored, doubled
}
