package celeryexec_test

import (
	"context"
	"fmt"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/worker"
)

// Receipt is what the Python task gets as keyword arguments:
//
//	@app.task(name="shop.receipt", acks_late=True)
//	def receipt(order, to): ...
type Receipt struct {
	Order int    `json:"order"`
	To    string `json:"to"`
}

var sendReceipt = core.DeclareTask[Receipt]("shop.receipt")

// A Go service sends jobs to Celery workers.
func Example() {
	ctx := context.Background()
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	exec, err := celeryexec.New(rdb, &celeryexec.Options{AcksLate: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := exec.CheckServer(ctx, "mail"); err != nil {
		log.Fatal(err)
	}
	in, err := sendReceipt.Intent(Receipt{Order: 17, To: "a@example.com"}, core.Queue("mail"))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec.Execute(ctx, in); err != nil {
		log.Fatal(err)
	}
}

// A Go service sends jobs to Celery workers whose broker is RabbitMQ.
func ExampleNewAMQP() {
	ctx := context.Background()
	dial := func(context.Context) (*amqp.Connection, error) {
		return amqp.Dial("amqp://guest:guest@localhost:5672/")
	}
	exec, err := celeryexec.NewAMQP(dial, &celeryexec.Options{AcksLate: true})
	if err != nil {
		log.Fatal(err)
	}
	defer exec.Close()
	if err := exec.CheckServer(ctx, "mail"); err != nil { // a Celery worker declares its queues
		log.Fatal(err)
	}
	in, err := sendReceipt.Intent(Receipt{Order: 17, To: "a@example.com"}, core.Queue("mail"))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec.Execute(ctx, in); err != nil {
		log.Fatal(err)
	}
}

// A Go worker runs what a Python program sends to the queue "go" of RabbitMQ.
func ExampleNewAMQPWorker() {
	reg, err := worker.NewRegistry(worker.Handle(sendReceipt, func(_ context.Context, r Receipt) error {
		fmt.Println("receipt for", r.Order)
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	dial := func(context.Context) (*amqp.Connection, error) {
		return amqp.Dial("amqp://guest:guest@localhost:5672/")
	}
	w, err := celeryexec.NewAMQPWorker(dial, reg, &celeryexec.WorkerOptions{Queues: []string{"go"}})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(context.Background()); err != nil { // works until the context ends
		log.Fatal(err)
	}
}

// A Go worker runs what a Python program sends to the queue "go":
//
//	app.send_task("shop.receipt", kwargs={"order": 17, "to": "a@example.com"}, queue="go")
func ExampleNewWorker() {
	reg, err := worker.NewRegistry(worker.Handle(sendReceipt, func(_ context.Context, r Receipt) error {
		fmt.Println("receipt for", r.Order)
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	w, err := celeryexec.NewWorker(rdb, reg, &celeryexec.WorkerOptions{Queues: []string{"go"}})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Run(context.Background()); err != nil { // works until the context ends
		log.Fatal(err)
	}
}
