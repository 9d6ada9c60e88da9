package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance/faultproxy"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/worker"
)

// celeryWorkers compares a worker of ours with a goroutine for each slot that takes a
// job with BRPOP, and keeps the records of it that a Celery worker keeps.
func celeryWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-celery", Queue: "celery", Title: "Workers in Go of Celery's messages on Redis", Libraries: celeryLibraries, Setup: setupCeleryWorkers}
}

// celeryAMQPWorkers compares a worker of ours with the client's Consume, as
// rabbitmqWorkers does.
func celeryAMQPWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-celery-amqp", Queue: "celery", Title: "Workers in Go of Celery's messages on RabbitMQ, a classic queue", Libraries: rabbitLibraries, Setup: setupCeleryAMQPWorkers}
}

func setupCeleryWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	opts, rdb, exec, err := celerySetup(ctx, w)
	if err != nil {
		return nil, err
	}
	fill := celeryFill(exec)
	left := func(ctx context.Context) (int, error) {
		waiting, err := rdb.LLen(ctx, celeryKey(celeryQueue)).Result()
		running, errRunning := rdb.HLen(ctx, celeryKey("unacked")).Result()
		return int(waiting + running), errors.Join(err, errRunning)
	}
	ours := celeryStart(func(reg *worker.Registry, opts *celeryexec.WorkerOptions) (*celeryexec.Worker, error) {
		opts.Redis = celeryRedis
		return celeryexec.NewWorker(rdb, reg, opts)
	})
	own := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		return popCelery(ctx, opts, rdb, slots, handle), nil
	}
	return []WorkerContender{
		{Name: "BRPOP and kombu's records", Reference: true, Fill: fill, Start: own, Left: left},
		{Name: "airlock", Fill: fill, Start: ours, Left: left},
	}, nil
}

func setupCeleryAMQPWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	dial, ch, exec, err := celeryAMQPSetup(ctx, w)
	if err != nil {
		return nil, err
	}
	fill := celeryFill(exec)
	left := func(context.Context) (int, error) {
		q, err := ch.QueueDeclarePassive(celeryQueue, true, false, false, false, nil)
		return q.Messages, err
	}
	ours := celeryStart(func(reg *worker.Registry, opts *celeryexec.WorkerOptions) (*celeryexec.Worker, error) {
		return celeryexec.NewAMQPWorker(dial, reg, opts)
	})
	own := func(ctx context.Context, slots int, handle func()) (func() error, error) {
		return consumeRabbitMQ(ctx, dial, celeryQueue, slots, decodeCelery, handle)
	}
	return []WorkerContender{
		{Name: "Consume and Ack", Reference: true, Fill: fill, Start: own, Left: left},
		{Name: "airlock", Fill: fill, Start: ours, Left: left},
	}, nil
}

func celeryFill(exec *celeryexec.Executor) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		intents, err := makeIntents(n)
		if err != nil {
			return err
		}
		return exec.Execute(ctx, intents...)
	}
}

// celeryStart starts workers of ours.
func celeryStart(make func(*worker.Registry, *celeryexec.WorkerOptions) (*celeryexec.Worker, error)) func(context.Context, int, func()) (func() error, error) {
	return func(ctx context.Context, slots int, handle func()) (func() error, error) {
		reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
		if err != nil {
			return nil, err
		}
		w, err := make(reg, &celeryexec.WorkerOptions{QueueNames: celeryNames, Concurrency: slots, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		return running(ctx, w.Run), nil
	}
}

// popCelery is what a program would write with the client alone. The jobs in hand are
// recorded as a Celery worker does it, so that they are not lost with the program.
func popCelery(ctx context.Context, opts *redis.Options, rdb *redis.Client, slots int, handle func()) (stop func() error) {
	own, line := *opts, &faultproxy.Dialer{}
	own.PoolSize, own.Dialer = slots, line.DialContext
	popping := redis.NewClient(&own)
	working, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	for range slots {
		loops.Go(func() {
			for {
				popped, err := popping.BRPop(working, 0, celeryKey(celeryQueue)).Result() // the key and the message
				if err != nil {
					return
				}
				runCelery(ctx, rdb, popped[1], handle) //nolint:errcheck // the benchmark finds it among what is left
			}
		})
	}
	return func() error {
		cancel()
		line.Cut() // ends every BRPOP: there are no jobs. Close would miss a connection that is just being made
		loops.Wait()
		popping.Close() //nolint:errcheck // its connections are closed
		// The ping comes after the resets: Redis gives no later job to a client that is gone.
		return rdb.Ping(ctx).Err()
	}
}

func runCelery(ctx context.Context, rdb *redis.Client, message string, handle func()) error {
	var m struct {
		Body       []byte
		Properties struct {
			DeliveryTag string `json:"delivery_tag"`
		}
	}
	if err := json.Unmarshal([]byte(message), &m); err != nil {
		return err
	}
	tag := m.Properties.DeliveryTag
	pipe := rdb.TxPipeline()
	pipe.ZAdd(ctx, celeryKey("unacked_index"), redis.Z{Score: float64(time.Now().UnixMicro()) / 1e6, Member: tag})
	pipe.HSet(ctx, celeryKey("unacked"), tag, fmt.Sprintf(`[%s,"",%q]`, message, celeryQueue))
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if err := decodeCelery(m.Body); err != nil {
		return err
	}
	handle()
	pipe = rdb.TxPipeline()
	pipe.ZRem(ctx, celeryKey("unacked_index"), tag)
	pipe.HDel(ctx, celeryKey("unacked"), tag)
	_, err := pipe.Exec(ctx)
	return err
}

// decodeCelery decodes the arguments of a job of benchTask: a body has positional ones,
// keyword ones and the rest.
func decodeCelery(body []byte) error {
	var args benchArgs
	return json.Unmarshal(body, &[2]any{new(json.RawMessage), &args})
}
