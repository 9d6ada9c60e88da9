// Package start is the code of docs/start/celery.md.
package start

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/worker"
)

type Receipt struct {
	Order string `json:"order"` // the keyword argument of: def receipt(order)
}

var SendReceipt = core.DeclareTask[Receipt]("shop.receipt", core.Queue("mail"))

func Connect(addr string) redis.UniversalClient {
	return redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
}

func Produce(ctx context.Context, rdb redis.UniversalClient, order string) error {
	queue, err := celeryexec.New(rdb, &celeryexec.Options{AcksLate: true}) // once; if the tasks have acks_late
	if err != nil {
		return err
	}
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, Receipt{Order: order})
	})
}

func Work(ctx context.Context, rdb redis.UniversalClient, send func(context.Context, Receipt) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send)) // for tasks that run in Go instead of Python
	if err != nil {
		return err
	}
	w, err := celeryexec.NewWorker(rdb, reg, &celeryexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
