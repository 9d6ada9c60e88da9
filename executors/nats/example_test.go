package natsexec_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/worker"
)

// SendReceipt is declared where the domain is, without a queue or a handler.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

// A producer. EnsureStream creates the stream if there is none. The wrapper sends
// again what was not sent, or may not have been.
func Example() {
	ctx := context.Background()
	conn, err := nats.Connect("nats://localhost:4222", nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	if err := natsexec.EnsureStream(ctx, js, "JOBS", &natsexec.StreamOptions{Window: time.Hour}); err != nil {
		log.Fatal(err)
	}
	queue, err := natsexec.New(ctx, js, "JOBS", &natsexec.Options{Lanes: true})
	if err != nil {
		log.Fatal(err)
	}
	exec := compose.WithRetry(queue.Execute, compose.Retry{Attempts: 5})

	in, err := SendReceipt.Intent("A-1001", core.Queue("mail"), core.Priority(9), core.Delay(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec(ctx, in); err != nil {
		log.Print(err)
	}
}

// A worker that finishes its jobs and stops when its process gets a SIGTERM.
func ExampleWorker() {
	conn, err := nats.Connect("nats://localhost:4222", nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		log.Fatal(err)
	}
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	worker, err := natsexec.NewWorker(js, "JOBS", reg, &natsexec.WorkerOptions{
		Lanes: true, Queues: []string{"mail", "default"}, Concurrency: 50,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
