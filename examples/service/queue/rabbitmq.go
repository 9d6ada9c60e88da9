package queue

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/worker"
)

func openRabbitMQ(ctx context.Context, c Config) (*Queue, error) {
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(c.URL) }
	if err := rabbitexec.EnsureQueues(ctx, dial, nil, c.Queues...); err != nil {
		return nil, err
	}
	exec, err := rabbitexec.New(dial, &rabbitexec.Options{Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	return &Queue{
		Executor: exec.Execute, close: []func(){func() { _ = exec.Close() }},
		Check: func(ctx context.Context) error { return exec.CheckServer(ctx, c.Queues...) },
		Worker: func(reg *worker.Registry, queues []string) (Runner, error) {
			return rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Queues: queues, Logger: c.Logger})
		},
	}, nil
}
