// Package start is the code of docs/start/rabbitmq.md.
package start

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

type Dial = func(context.Context) (*amqp.Connection, error) // such as one that calls amqp.Dial(url)

func Connect(ctx context.Context, dial Dial) (*rabbitexec.Executor, error) {
	if err := rabbitexec.EnsureQueues(ctx, dial, nil, "default", "mail"); err != nil { // a dispatch declares nothing
		return nil, err
	}
	return rabbitexec.New(dial, nil) // Close it when the program ends
}

func Produce(ctx context.Context, queue *rabbitexec.Executor, order string) error {
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
}

func Work(ctx context.Context, dial Dial, send func(context.Context, string) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		return err
	}
	w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
