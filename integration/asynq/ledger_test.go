//go:build realservers

package asynq_test

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
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
	direct := plain(t, server.Addr())
	w := &testEnv{Trial: trial.New(t, 4*trial.Patience), connect: direct, rdb: plain(t, proxy.Addr())()} // every step of every job is synced to disk
	w.use(&asynqexec.Options{IDWindow: time.Hour})                                                       // longer than a slow machine needs
	w.rdb = direct()
	ledger := trial.NewLedger()
	serve := func() (stop func() error) {
		return w.run(ledger.Registry(w.Trial), &asynqexec.WorkerOptions{Concurrency: 16})
	}
	var first func() error
	if working {
		first = serve()
	}
	ledger.Flush(w.Trial, server, proxy)
	if working {
		w.abandon(first)
	} else {
		var ids []string
		w.Eventually("Redis answers", func() bool {
			ids, err = w.rdb.(*redis.Client).LRange(w.Ctx, "asynq:{default}:pending", 0, -1).Result()
			return err == nil
		})
		ledger.StoredOnce(w.Trial, ids)
	}
	serve()
	w.Eventually("every job is completed", func() bool {
		n, err := w.rdb.ZCard(w.Ctx, "asynq:{default}:completed").Result()
		return err == nil && n >= trial.Flushed
	})
	ledger.Balance(w.Trial, func(id string) bool { return w.info("default", id).LastErr == asynq.ErrLeaseExpired.Error() })
}

// abandon stops a worker once nothing waits, and ends the leases of the jobs that it has left behind. Otherwise they last a
// minute. On a slow machine some may have ended before.
func (w *testEnv) abandon(stop func() error) {
	w.Helper()
	w.Eventually("nothing waits", func() bool {
		n, err := w.rdb.LLen(w.Ctx, "asynq:{default}:pending").Result()
		return err == nil && n == 0
	})
	w.Must(stop())
	left, err := w.rdb.ZCard(w.Ctx, "asynq:{default}:lease").Result()
	w.Must(err)
	w.Logf("%d leases are left", left)
	w.Must(expireLeases(w.Ctx, w.rdb, map[string]int{"default": 1}))
}
