package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/examples/quickstart/demo"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

var quiet = slog.New(slog.DiscardHandler) // the shop prints what matters

func openAsynq(ctx context.Context, run *demo.Run) (_ *demo.Queue, err error) {
	var undo cleanup
	defer undo.failed(&err)
	url, err := openRedis(run.Options.Redis, &undo)
	if err != nil {
		return nil, err
	}
	opts, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	opts.MaxRetries = -1 // then an error says whether a job may be stored
	rdb := redis.NewClient(opts)
	undo.add(rdb.Close)
	undo.add(func() error { return removeQueues(context.WithoutCancel(ctx), rdb, run.QueueNames) })
	exec, err := asynqexec.New(rdb, &asynqexec.Options{QueueNames: run.QueueNames})
	if err != nil {
		return nil, err
	}
	if err := exec.CheckServer(ctx); err != nil {
		return nil, err
	}
	worker, err := asynqexec.NewWorker(rdb, run.Registry, &asynqexec.WorkerOptions{
		Queues: []string{"mail", "warehouse"}, QueueNames: run.QueueNames, Logger: quiet,
		Config: asynq.Config{TaskCheckInterval: 20 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond},
	})
	if err != nil {
		return nil, err
	}
	undo.start(ctx, worker.Run)
	return &demo.Queue{
		Exec: exec.Execute,
		Stop: func(context.Context) error { return undo.run() },
	}, nil
}

// removeQueues leaves somebody's Redis as it was. DeleteQueue of asynq's inspector keeps
// the jobs that are done.
func removeQueues(ctx context.Context, rdb redis.UniversalClient, names map[string]string) error {
	for _, name := range names {
		keys := rdb.Scan(ctx, 0, "asynq:{"+name+"}:*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := rdb.Del(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		if err := errors.Join(keys.Err(), rdb.SRem(ctx, "asynq:queues", name).Err()); err != nil {
			return err
		}
	}
	return nil
}
