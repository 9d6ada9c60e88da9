package worker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// The ID is the same in every run: it is the idempotency key for what a handler
// calls.
func ExampleJobFrom() {
	send := func(ctx context.Context, r Receipt) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Println("POST /mails with Idempotency-Key", job.ID)
		return nil
	}
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		panic(err)
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	fmt.Println(reg.Perform(context.Background(), worker.FirstDelivery(&in)).Action)
	// Output:
	// POST /mails with Idempotency-Key receipt-7
	// done
}

// One registry serves workers of any queue. Without queues of their own they work
// the default queue and those that the tasks name.
func ExampleHandle() {
	reg, err := worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
		worker.Handle(core.DeclareTask[int]("stock.count"), func(context.Context, int) error { return nil }),
	)
	fmt.Println(reg.Tasks(), reg.Queues(), err)
	_, err = worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
	)
	fmt.Println(err)
	// Output:
	// [email.receipt stock.count] [mail] <nil>
	// airlock: task email.receipt: two handlers: invalid
}

// A worker's Run returns which jobs it could not wait for.
func ExampleDrainError() {
	run := func() error { // Run of any worker
		return &worker.DrainError{Jobs: []worker.Delivery{{ID: "receipt-7", Task: "email.receipt", Queue: "mail"}}}
	}
	var left *worker.DrainError
	if err := run(); errors.As(err, &left) {
		for _, d := range left.Jobs {
			fmt.Println("ignored the end of its context:", d)
		}
	}
	// Output: ignored the end of its context: email.receipt receipt-7 on mail
}

func ExampleIsSnooze() {
	middleware := func(ctx context.Context, next func(context.Context) error) error {
		err := next(ctx)
		if d, ok := worker.IsSnooze(err); ok {
			fmt.Println("again in", d)
		} else if worker.IsPermanent(err) {
			fmt.Println("given up")
		}
		return err
	}
	_ = middleware(context.Background(), func(context.Context) error { return worker.Snooze(time.Minute) })
	_ = middleware(context.Background(), func(context.Context) error { return worker.Permanent(errors.New("no such order")) })
	// Output:
	// again in 1m0s
	// given up
}
