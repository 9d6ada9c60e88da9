package asynqexec_test

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

// SendReceipt is declared where the domain is, without a queue or a handler.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

// A producer. The client does not retry, so an error says whether a job may be
// stored. compose.WithRetry retries in its place.
func Example() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
	defer rdb.Close()
	queue, err := asynqexec.New(rdb, &asynqexec.Options{Lanes: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := queue.CheckServer(context.Background()); err != nil {
		log.Fatal(err) // this Redis may drop jobs
	}
	exec := compose.WithRetry(queue.Execute, compose.Retry{Attempts: 5})

	in, err := SendReceipt.Intent("A-1001", core.Queue("mail"), core.Priority(9), core.Delay(time.Minute),
		asynqexec.Native(asynq.Retention(24*time.Hour)))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec(context.Background(), in); err != nil {
		log.Print(err)
	}
}

// A worker process. It works until it gets a signal, and then drains.
func ExampleWorker() {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{
		Weights: map[string]int{"mail": 2, "default": 1}, Lanes: true, Concurrency: 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		log.Print(err) // handlers ignored the end of their contexts
	}
}

// A server of your own, with handlers of a registry next to native ones.
func ExampleMiddleware() {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	cfg := asynq.Config{Concurrency: 10}
	if err := asynqexec.ConfigureServer(&cfg, &asynqexec.WorkerOptions{Queues: []string{"mail", "default"}}); err != nil {
		log.Fatal(err)
	}
	native := asynq.NewServeMux()
	native.HandleFunc("report:", func(ctx context.Context, t *asynq.Task) error { return nil })

	server := asynq.NewServer(asynq.RedisClientOpt{Addr: "localhost:6379"}, cfg)
	if err := server.Run(asynqexec.Middleware(reg)(native)); err != nil {
		log.Fatal(err)
	}
}
