// Package start is the code of docs/start/work.md.
package start

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Connect(addr string) *redis.Pool {
	return &redis.Pool{MaxIdle: 10, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialReadTimeout(10*time.Second), redis.DialWriteTimeout(10*time.Second))
	}}
}

func Produce(ctx context.Context, pool *redis.Pool, order string) error {
	queue, err := workexec.New(pool, &workexec.Options{Namespace: "shop"}) // once, when the program starts
	if err != nil {
		return err
	}
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, order)
	})
}

func Work(ctx context.Context, pool *redis.Pool, send func(context.Context, string) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		return err
	}
	w, err := workexec.NewWorker(pool, reg, &workexec.WorkerOptions{Namespace: "shop", Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
