package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

// asynqWorkers compares a worker of ours with asynq's own server, both with asynq's
// default intervals.
func asynqWorkers() WorkerGroup {
	return WorkerGroup{Name: "worker-asynq", Queue: "asynq", Title: "Workers of asynq on Redis", Libraries: asynqLibraries, Setup: setupAsynqWorkers}
}

func setupAsynqWorkers(ctx context.Context, w *world) ([]WorkerContender, error) {
	opts, err := w.redis(ctx)
	if err != nil {
		return nil, err
	}
	opts.PoolSize = 2 * producers
	rdb := redis.NewClient(opts)
	w.Cleanup(func() { rdb.Close() }) //nolint:errcheck // nothing is under way
	// Jobs that have succeeded are gone: only the running of jobs is measured.
	exec, err := asynqexec.New(rdb, &asynqexec.Options{IDWindow: -1})
	if err != nil {
		return nil, err
	}
	fill := func(ctx context.Context, n int) error {
		intents, err := makeIntents(n, core.Queue(benchQueue))
		if err != nil {
			return err
		}
		return exec.Execute(ctx, intents...)
	}
	left := func(context.Context) (int, error) {
		info, err := asynq.NewInspectorFromRedisClient(rdb).GetQueueInfo(benchQueue)
		if err != nil {
			return 0, err
		}
		return info.Pending + info.Active + info.Scheduled + info.Retry, nil
	}
	return []WorkerContender{
		{Name: "asynq.Server", Reference: true, Fill: fill, Left: left, Start: func(_ context.Context, slots int, handle func()) (func() error, error) {
			srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
				Concurrency: slots, Queues: map[string]int{benchQueue: 1}, LogLevel: asynq.FatalLevel,
			})
			err := srv.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
				var args benchArgs
				if err := json.Unmarshal(t.Payload(), &args); err != nil {
					return errors.Join(err, asynq.SkipRetry)
				}
				handle()
				return nil
			}))
			return func() error { srv.Shutdown(); return nil }, err
		}},
		{Name: "airlock", Fill: fill, Left: left, Start: func(ctx context.Context, slots int, handle func()) (func() error, error) {
			reg, err := worker.NewRegistry(worker.Handle(benchTask, func(context.Context, benchArgs) error { handle(); return nil }))
			if err != nil {
				return nil, err
			}
			w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{
				Queues: []string{benchQueue}, Concurrency: slots, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				return nil, err
			}
			return running(ctx, w.Run), nil
		}},
	}, nil
}
