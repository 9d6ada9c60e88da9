// Package start is the code of docs/start/nats.md.
package start

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Connect(url string) (jetstream.JetStream, error) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1)) // the default gives up after 60 tries
	if err != nil {
		return nil, err
	}
	return jetstream.New(conn)
}

func Produce(ctx context.Context, js jetstream.JetStream, order string) error {
	if err := natsexec.EnsureStream(ctx, js, "JOBS", nil); err != nil { // creates it if there is none
		return err
	}
	queue, err := natsexec.New(ctx, js, "JOBS", nil) // both once, when the program starts
	if err != nil {
		return err
	}
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
}

func Work(ctx context.Context, js jetstream.JetStream, send func(context.Context, string) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		return err
	}
	w, err := natsexec.NewWorker(js, "JOBS", reg, &natsexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
