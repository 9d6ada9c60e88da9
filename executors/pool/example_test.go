package poolexec_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

func Example() {
	type Receipt struct{ Order string }
	sendReceipt := core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))

	registry, err := worker.NewRegistry(worker.Handle(sendReceipt, func(ctx context.Context, r Receipt) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Printf("receipt for order %s, attempt %d of %d\n", r.Order, job.Attempt, job.MaxAttempts)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	pool, err := poolexec.New(&poolexec.Options{Registry: registry})
	if err != nil {
		panic(err)
	}

	in, err := sendReceipt.Intent(Receipt{Order: "A-17"})
	if err != nil {
		panic(err)
	}
	if err := pool.Execute(context.Background(), in); err != nil {
		panic(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := pool.Stop(ctx); err != nil {
		panic(err)
	}
	// Output: receipt for order A-17, attempt 1 of 5
}

// Stop runs what is due and lists what is not, so that it can be kept.
func ExampleExecutor_Stop() {
	pool, err := poolexec.New(nil)
	if err != nil {
		panic(err)
	}
	remind := core.NewTask("email.reminder", func(ctx context.Context, order string) error {
		fmt.Println("reminder for", order)
		return nil
	})
	today, _ := remind.Intent("A-17")
	tomorrow, _ := remind.Intent("A-18", core.ID("reminder-A-18"), core.Delay(24*time.Hour))
	if err := pool.Execute(context.Background(), today, tomorrow); err != nil {
		panic(err)
	}

	err = pool.Stop(context.Background())
	var left *poolexec.StopError
	if errors.As(err, &left) {
		for _, in := range left.Waiting {
			fmt.Println("not run:", in)
		}
	}
	// Output:
	// reminder for A-17
	// not run: email.reminder reminder-A-18
}

// A pool keeps no dead jobs: OnDone does, where that matters.
func ExampleOptions_onDone() {
	pool, err := poolexec.New(&poolexec.Options{
		OnDone: func(in core.Intent, v worker.Verdict) {
			if v.Action == worker.Dead {
				fmt.Println("dead:", in, "because of", v.Err)
			}
		},
	})
	if err != nil {
		panic(err)
	}
	charge := core.NewTask("card.charge", func(ctx context.Context, cents int) error {
		return worker.Permanent(errors.New("card expired"))
	})
	in, _ := charge.Intent(1999, core.ID("charge-7"))
	if err := pool.Execute(context.Background(), in); err != nil {
		panic(err)
	}
	if err := pool.Stop(context.Background()); err != nil {
		panic(err)
	}
	// Output: dead: card.charge charge-7 because of card expired
}
