//go:build realservers

package chaos_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// A server is one that the rig can stop and start.
type server interface {
	Kill() error
	Restart() error
	Pause() error
	Resume() error
	URL() string
}

// A queue is how producers and workers use a backend. Its processes live as long as
// they need it, so nothing is closed.
type queue struct {
	start    func(t *testing.T) server
	executor func(ctx context.Context, url string) (core.Executor, error)
	worker   func(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error)
	// lease is after how long without a sign of life a job is given to another worker.
	lease time.Duration
	// resends is set if an intent that is sent again may become a second job.
	resends bool
}

// slots is the concurrency of a worker.
const slots = 10

var queues = map[string]queue{
	"asynq": {
		start:    func(t *testing.T) server { return servers.Redis(t, servers.RedisOptions{Durable: true}) },
		executor: asynqExecutor, worker: asynqWorker, lease: 90 * time.Second, // a lease of 30 s, looked at each minute
	},
	"work": {
		start:    func(t *testing.T) server { return servers.Redis(t, servers.RedisOptions{Durable: true}) },
		executor: workExecutor, worker: workWorker, lease: 40 * time.Second,
	},
	"nats": {
		start:    func(t *testing.T) server { return servers.NATS(t, servers.NATSOptions{OwnProcess: true}) },
		executor: natsExecutor, worker: natsWorker, lease: 3 * time.Second,
	},
	"river": {
		start: startRiver, executor: riverExecutor, worker: riverWorker, lease: 45 * time.Second, // of 5 s, looked at every 30 s
	},
	"rabbitmq": {
		start:    func(t *testing.T) server { return startRabbit(t) },
		executor: rabbitExecutor, worker: rabbitWorker, lease: 3 * time.Second, resends: true,
	},
}

func asynqClient(url string) redis.UniversalClient {
	options, err := redis.ParseURL(url)
	if err != nil {
		panic(err) // the rig has made it
	}
	options.MaxRetries = -1
	return redis.NewClient(options)
}

func asynqExecutor(_ context.Context, url string) (core.Executor, error) {
	exec, err := asynqexec.New(asynqClient(url), nil)
	if err != nil {
		return nil, err
	}
	return exec.Execute, nil
}

func asynqWorker(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error) {
	w, err := asynqexec.NewWorker(asynqClient(url), reg, &asynqexec.WorkerOptions{
		Concurrency: slots, Logger: logger, DrainTimeout: 5 * time.Second,
		Config: asynq.Config{TaskCheckInterval: 200 * time.Millisecond, DelayedTaskCheckInterval: time.Second, LogLevel: asynq.FatalLevel},
	})
	if err != nil {
		return nil, err
	}
	return w.Run, nil
}

const namespace = "chaos"

func workPool(url string) *redigo.Pool {
	return &redigo.Pool{
		MaxIdle: 2 * slots,
		DialContext: func(ctx context.Context) (redigo.Conn, error) {
			return redigo.DialURLContext(ctx, url, redigo.DialConnectTimeout(2*time.Second), redigo.DialReadTimeout(5*time.Second), redigo.DialWriteTimeout(5*time.Second))
		},
	}
}

func workExecutor(_ context.Context, url string) (core.Executor, error) {
	exec, err := workexec.New(workPool(url), &workexec.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return exec.Execute, nil
}

func workWorker(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error) {
	w, err := workexec.NewWorker(workPool(url), reg, &workexec.WorkerOptions{
		Namespace: namespace, Concurrency: slots, Logger: logger, DrainTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return w.Run, nil
}

const stream = "CHAOS"

func natsContext(url string) (jetstream.JetStream, error) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	return jetstream.New(conn)
}

func natsExecutor(ctx context.Context, url string) (core.Executor, error) {
	js, err := natsContext(url)
	if err != nil {
		return nil, err
	}
	if err := natsexec.EnsureStream(ctx, js, stream, nil); err != nil {
		return nil, err
	}
	exec, err := natsexec.New(ctx, js, stream, nil)
	if err != nil {
		return nil, err
	}
	return exec.Execute, nil
}

func natsWorker(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error) {
	js, err := natsContext(url)
	if err != nil {
		return nil, err
	}
	w, err := natsexec.NewWorker(js, stream, reg, &natsexec.WorkerOptions{
		Concurrency: slots, AckWait: 2 * time.Second, Logger: logger, DrainTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return w.Run, nil
}

// riverServer is a PostgreSQL with a migrated database.
type riverServer struct {
	*servers.PostgresServer
	url string
}

func (s *riverServer) URL() string { return s.url }

func startRiver(t *testing.T) server {
	pg := servers.Postgres(t, servers.PostgresOptions{NoSync: true})
	s := &riverServer{pg, pg.Database(t)}
	pool, err := pgxpool.New(t.Context(), s.url)
	must(t, err)
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	must(t, err)
	return s
}

func riverExecutor(ctx context.Context, url string) (core.Executor, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	config := &river.Config{Logger: slog.New(slog.DiscardHandler)}
	if err := riverexec.ConfigureClient(config); err != nil {
		return nil, err
	}
	client, err := river.NewClient[pgx.Tx](riverpgxv5.New(pool), config)
	if err != nil {
		return nil, err
	}
	exec, err := riverexec.New(client, nil)
	if err != nil {
		return nil, err
	}
	return exec.Execute, nil
}

func riverWorker(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error) {
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return nil, err
	}
	w, err := riverexec.NewWorker(riverpgxv5.New(pool), reg, &riverexec.WorkerOptions{
		Concurrency: slots, Logger: logger, DrainTimeout: 5 * time.Second,
		Config: river.Config{RescueStuckJobsAfter: 5 * time.Second, FetchPollInterval: 200 * time.Millisecond, JobTimeout: 4 * time.Second},
	})
	if err != nil {
		return nil, err
	}
	return w.Run, nil
}

func startRabbit(t *testing.T) *servers.RabbitMQServer {
	s := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	must(t, rabbitexec.EnsureQueues(t.Context(), rabbitDial(s.URL()), nil, "default"))
	return s
}

func rabbitDial(url string) rabbitexec.Dial {
	return func(context.Context) (*amqp.Connection, error) {
		return amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(2 * time.Second), Heartbeat: 10 * time.Second})
	}
}

func rabbitExecutor(_ context.Context, url string) (core.Executor, error) {
	exec, err := rabbitexec.New(rabbitDial(url), nil)
	if err != nil {
		return nil, err
	}
	return exec.Execute, nil
}

func rabbitWorker(url string, reg *worker.Registry, logger *slog.Logger) (func(context.Context) error, error) {
	w, err := rabbitexec.NewWorker(rabbitDial(url), reg, &rabbitexec.WorkerOptions{
		Concurrency: slots, Logger: logger, DrainTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	return w.Run, nil
}
