package asynqexec_test

import (
	"context"
	"log"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
)

// SendReceipt is declared where the domain is, without a queue or a handler.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

// A producer: the client does not retry by itself, so that what is surely not sent
// is told apart from what may be stored, and compose.WithRetry does it in its place.
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

// A server of asynq's own, with handlers of a registry beside native ones.
func ExampleMiddleware() {
	reg, err := core.NewRegistry(core.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	cfg := asynq.Config{Concurrency: 10, Queues: asynqexec.Lanes(map[string]int{"mail": 2, "default": 1})}
	if err := asynqexec.Configure(&cfg); err != nil {
		log.Fatal(err)
	}
	native := asynq.NewServeMux()
	native.HandleFunc("report:", func(ctx context.Context, t *asynq.Task) error { return nil })

	server := asynq.NewServer(asynq.RedisClientOpt{Addr: "localhost:6379"}, cfg)
	if err := server.Run(asynqexec.Middleware(reg)(native)); err != nil {
		log.Fatal(err)
	}
}
