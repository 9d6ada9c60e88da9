package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/worker"
)

// Domain code says what should happen. It knows no queue and no handler.

type Receipt struct{ Order string }

var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Checkout(ctx context.Context, order, card string) error {
	if err := airlock.Enqueue(ctx, SendReceipt, Receipt{Order: order}); err != nil {
		return err
	}
	if card == "declined" {
		return errors.New("card declined") // the receipt is never sent
	}
	return nil
}

// The API process chooses the queue.

func serve(ctx context.Context, rdb redis.UniversalClient, order, card string) error {
	queue, err := asynqexec.New(rdb, nil) // once, when a real program starts
	if err != nil {
		return err
	}
	return airlock.Run(ctx, queue.Execute, func(ctx context.Context) error {
		return Checkout(ctx, order, card)
	})
}

// The worker process has the handlers.

func sendMail(_ context.Context, r Receipt) error {
	fmt.Println("mail: receipt for order", r.Order)
	return nil
}

func work(ctx context.Context, rdb redis.UniversalClient) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, sendMail))
	if err != nil {
		return err
	}
	w, err := asynqexec.NewWorker(rdb, reg, &asynqexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then waits for the running jobs
}
