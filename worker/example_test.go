package worker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

type Receipt struct {
	Order int    `json:"order"`
	To    string `json:"to"`
}

var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5), core.Queue("mail"))

// An adapter's worker makes a Delivery from what the queue delivers, and acts on the
// Verdict.
func ExampleRegistry() {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, r Receipt) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Println("attempt", job.Attempt, "of", job.MaxAttempts, "for order", r.Order)
		if job.Attempt < 2 {
			return errors.New("mail server is busy")
		}
		return nil
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for attempt := 1; attempt <= 2; attempt++ {
		v := reg.Perform(context.Background(), worker.Delivery{
			ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{"order":7}`),
			Attempt: attempt, MaxAttempts: 5, Backoff: core.Exponential(time.Second, time.Minute),
		})
		fmt.Println(v.Action, v.After, v.Err)
	}
	// Output:
	// attempt 1 of 5 for order 7
	// retry 1s mail server is busy
	// attempt 2 of 5 for order 7
	// done 0s <nil>
}

func ExampleMiddleware() {
	logged := func(ctx context.Context, next func(context.Context) error) error {
		job, _ := worker.JobFrom(ctx)
		err := next(ctx)
		fmt.Println(job.Task, job.ID, err)
		return err
	}
	reg, err := worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
		worker.Middleware(logged),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	reg.Perform(context.Background(), worker.Delivery{ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{}`)})
	// Output: email.receipt receipt-7 <nil>
}

// An observer also sees jobs that no handler and no middleware sees.
func ExampleObserver() {
	counts := map[worker.Action]int{} // a real observer must be safe for concurrent use
	count := func(ctx context.Context, run worker.Run) {
		counts[run.Verdict.Action]++
		fmt.Println(run.Delivery, run.Verdict.Action, run.Verdict.Err)
	}
	reg, err := worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
		worker.Observer(count),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	reg.Perform(ctx, worker.Delivery{ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{}`)})
	reg.Perform(ctx, worker.Delivery{ID: "receipt-8", Task: "email.receipt", Payload: []byte(`{}`)})
	reg.Perform(ctx, worker.Delivery{ID: "new-1", Task: "email.invoice"})
	fmt.Println(counts)
	// Output:
	// email.receipt receipt-7 done <nil>
	// email.receipt receipt-8 done <nil>
	// email.invoice new-1 parked airlock: no handler for task "email.invoice"
	// map[done:2 parked:1]
}

// The line that a worker logs for a panic has no stack. An observer finds it.
func ExampleObserver_panic() {
	logPanic := func(_ context.Context, run worker.Run) {
		var p *core.PanicError
		if errors.As(run.Verdict.Err, &p) {
			fmt.Println(run.Delivery, p.Value, len(p.Stack) > 0) // a real one logs string(p.Stack)
		}
	}
	reg, err := worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { panic("no template") }),
		worker.Observer(logPanic),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	reg.Perform(context.Background(), worker.Delivery{ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{}`)})
	// Output: email.receipt receipt-7 no template true
}

func ExamplePermanent() {
	charge := core.NewTask("card.charge", func(ctx context.Context, cents int) error {
		if cents <= 0 {
			return worker.Permanent(fmt.Errorf("nothing to charge: %d", cents))
		}
		return nil
	})
	in, _ := charge.Intent(-5)
	reg, _ := worker.NewRegistry(worker.Handle(charge, charge.Func()))
	v := reg.Perform(context.Background(), worker.FirstDelivery(&in))
	fmt.Println(v.Action, v.Err)
	// Output: dead nothing to charge: -5
}

func ExampleSnooze() {
	settle := core.NewTask("card.settle", func(ctx context.Context, id int) error {
		return worker.Snooze(10 * time.Minute) // the bank is not ready
	}, core.MaxAttempts(1))
	in, _ := settle.Intent(7)
	reg, _ := worker.NewRegistry(worker.Handle(settle, settle.Func()))
	v := reg.Perform(context.Background(), worker.FirstDelivery(&in))
	fmt.Println(v.Action, v.After)
	// Output: snoozed 10m0s
}
