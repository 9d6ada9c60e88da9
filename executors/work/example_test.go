package workexec_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

// SendReceipt is declared where the domain is, without a queue or a handler.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

// dial connects with time limits. They bound a call without a context.
func dial(ctx context.Context) (redis.Conn, error) {
	return redis.DialContext(ctx, "tcp", "localhost:6379",
		redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(5*time.Second), redis.DialWriteTimeout(5*time.Second))
}

// A producer. Sending the same intent again is harmless, so compose.WithRetry sends
// again what was not accepted.
func Example() {
	rdb := &redis.Pool{DialContext: dial, MaxIdle: 10}
	defer rdb.Close()
	queue, err := workexec.New(rdb, &workexec.Options{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	exec := compose.WithRetry(queue.Execute, compose.Retry{Attempts: 5})

	in, err := SendReceipt.Intent("A-1001", core.Queue("mail"), core.Delay(time.Minute), core.Unique("A-1001"))
	if err != nil {
		log.Fatal(err)
	}
	if err := exec(context.Background(), in); err != nil {
		log.Print(err)
	}
}

func handlers() *worker.Registry {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	return reg
}

// A worker process: it works until SIGTERM, and then drains.
func ExampleNewWorker() {
	rdb := &redis.Pool{DialContext: dial, MaxIdle: 10}
	defer rdb.Close()
	w, err := workexec.NewWorker(rdb, handlers(), &workexec.WorkerOptions{
		Namespace: "shop", Queues: []string{"mail", "default"}, Concurrency: 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil {
		log.Print(err) // jobs that ignored the end of their contexts
	}
}

// A pool of the library's with native handlers and those of a registry.
func ExampleRegister() {
	rdb := &redis.Pool{DialContext: dial, MaxIdle: 10}
	defer rdb.Close()
	pool := work.NewWorkerPool(struct{}{}, 10, workexec.Namespace("shop", "mail"), rdb)
	pool.Job("report", func(job *work.Job) error { return nil })

	w, err := workexec.Register(pool, handlers(), nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := w.Run(ctx); err != nil { // it starts and stops the pool
		log.Print(err)
	}
}

// A native handler reads the arguments of a job that an Executor has stored.
func ExamplePayload() {
	handler := func(job *work.Job) error {
		payload, err := workexec.Payload(job)
		if err != nil {
			return err
		}
		log.Printf("job %s has %d bytes", job.ID, len(payload))
		return nil
	}
	pool := work.NewWorkerPool(struct{}{}, 10, "shop", &redis.Pool{DialContext: dial})
	pool.Job("email.receipt", handler)
}
