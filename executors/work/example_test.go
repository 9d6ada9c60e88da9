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
)

// SendReceipt is declared where the domain is, without a queue or a handler.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.MaxAttempts(5))

// dial connects within time limits, which bound what a call without a context
// waits for.
func dial(ctx context.Context) (redis.Conn, error) {
	return redis.DialContext(ctx, "tcp", "localhost:6379",
		redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(5*time.Second), redis.DialWriteTimeout(5*time.Second))
}

// A producer. What is surely not sent is told apart from what may be stored, and
// sending the same intent again is harmless: so compose.WithRetry does it.
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

// Workers of a queue, with handlers of a registry beside native ones.
func ExampleRegister() {
	reg, err := core.NewRegistry(core.Handle(SendReceipt, func(ctx context.Context, order string) error {
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	rdb := &redis.Pool{DialContext: dial, MaxIdle: 10}
	defer rdb.Close()
	pool := work.NewWorkerPool(struct{}{}, 10, workexec.Namespace("shop", "mail"), rdb)
	pool.Job("report", func(job *work.Job) error { return nil })

	worker, err := workexec.Register(pool, reg, nil)
	if err != nil {
		log.Fatal(err)
	}
	worker.Start()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()

	limit, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := worker.Stop(limit); err != nil {
		log.Print(err) // what still runs is run again elsewhere
	}
}

// A native handler that was there before reads the arguments of a job that an
// Executor has stored.
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
