//go:build realservers

package otel_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func init() {
	onServers = func(t *testing.T) map[string]queue {
		t.Helper()
		rabbit := servers.RabbitMQ(t, servers.RabbitMQOptions{})
		return map[string]queue{
			"rabbitmq":           {open: openRabbitMQ(rabbit.Addr()), parks: true},
			"celery on redis":    {openWith: openCeleryOnRedis, parks: true},
			"celery on rabbitmq": {openWith: openCeleryOnRabbitMQ(rabbit.Addr()), parks: true},
		}
	}
}

func openRabbitMQ(addr string) func(*testEnv, *worker.Registry) core.Executor {
	return func(e *testEnv, reg *worker.Registry) core.Executor {
		dial := servers.WireTo(addr).Dial
		e.must(rabbitexec.EnsureQueues(e.Context(), dial, nil, "default"))
		exec, err := rabbitexec.New(dial, &rabbitexec.Options{Logger: quiet})
		e.must(err)
		e.Cleanup(func() { _ = exec.Close() })
		w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Logger: quiet, DrainTimeout: -1})
		e.must(err)
		e.start(w)
		return exec.Execute
	}
}

func openCeleryOnRedis(e *testEnv, reg *worker.Registry, attempts int, backoff core.BackoffPolicy) core.Executor {
	server := servers.Redis(e.T, servers.RedisOptions{Private: true})
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	e.Cleanup(func() { _ = rdb.Close() })
	exec, err := celeryexec.New(rdb, nil)
	e.must(err)
	w, err := celeryexec.NewWorker(rdb, reg, &celeryexec.WorkerOptions{MaxAttempts: attempts, Backoff: backoff, Logger: quiet, DrainTimeout: -1})
	e.must(err)
	e.start(w)
	return exec.Execute
}

func openCeleryOnRabbitMQ(addr string) func(*testEnv, *worker.Registry, int, core.BackoffPolicy) core.Executor {
	return func(e *testEnv, reg *worker.Registry, attempts int, backoff core.BackoffPolicy) core.Executor {
		wire := servers.WireTo(addr)
		ch, end, err := wire.Channel()
		e.must(err)
		defer end()
		_, err = ch.QueueDeclare("celery", true, false, false, false, nil) // as a Celery program does
		e.must(err)
		exec, err := celeryexec.NewAMQP(wire.Dial, nil)
		e.must(err)
		e.Cleanup(func() { _ = exec.Close() })
		w, err := celeryexec.NewAMQPWorker(wire.Dial, reg, &celeryexec.WorkerOptions{MaxAttempts: attempts, Backoff: backoff, Logger: quiet, DrainTimeout: -1})
		e.must(err)
		e.start(w)
		return exec.Execute
	}
}
