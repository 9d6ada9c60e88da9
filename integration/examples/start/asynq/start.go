// Package start is the code of docs/start/asynq.md.
package start

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Connect(addr string) redis.UniversalClient {
	return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1}) // an error then says whether a job may be stored
}

func Produce(ctx context.Context, rdb redis.UniversalClient, order string) error {
	queue, err := asynqexec.New(rdb, nil) // once, when the program starts
	if err != nil {
		return err
	}
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
}

func Work(ctx context.Context, rdb redis.UniversalClient, send func(context.Context, string) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		return err
	}
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
