package rabbitexec_test

import (
	"context"
	"fmt"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/worker"
)

var sendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

func dial(context.Context) (*amqp.Connection, error) {
	return amqp.Dial("amqp://guest:guest@localhost:5672/")
}

// A producer declares its queues once and then dispatches.
func Example() {
	ctx := context.Background()
	if err := rabbitexec.EnsureQueues(ctx, dial, nil, "default", "email"); err != nil {
		log.Fatal(err)
	}
	exec, err := rabbitexec.New(dial, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer exec.Close()
	in, err := sendReceipt.Intent("order 17", core.Queue("email"))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec.Execute(ctx, in); err != nil {
		log.Fatal(err)
	}
}

func ExampleNewWorker() {
	reg, err := worker.NewRegistry(worker.Handle(sendReceipt, func(_ context.Context, order string) error {
		fmt.Println("receipt for", order)
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Queues: []string{"email"}})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(context.Background()); err != nil { // works until the context ends
		log.Fatal(err)
	}
}
