package worker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// An adapter does with a job what the action says.
func ExampleAction() {
	apply := func(v worker.Verdict) string {
		switch v.Action {
		case worker.Done:
			return "delete it"
		case worker.Retry:
			return fmt.Sprintf("put it back for %v, one attempt more", v.After)
		case worker.Snoozed:
			return fmt.Sprintf("put it back for %v", v.After)
		case worker.Dead:
			return fmt.Sprintf("move it to the dead ones: %v", v.Err)
		case worker.Parked, worker.Interrupted:
			return "leave it for another worker"
		}
		return ""
	}
	fmt.Println(apply(worker.Verdict{Action: worker.Retry, After: time.Minute, Err: errors.New("busy")}))
	fmt.Println(apply(worker.Verdict{Action: worker.Dead, Err: errors.New("no such order")}))
	fmt.Println(apply(worker.Verdict{Action: worker.Parked}))
	// Output:
	// put it back for 1m0s, one attempt more
	// move it to the dead ones: no such order
	// leave it for another worker
}

// An adapter makes a delivery from the queue's own message. Printed it shows no
// payload.
func ExampleDelivery() {
	message := map[string]string{"id": "receipt-7", "task": "email.receipt", "body": `{"order":7}`, "tenant": "blue"}
	d := worker.Delivery{
		ID:          message["id"],
		Task:        message["task"],
		Queue:       "mail",
		Payload:     []byte(message["body"]),
		Headers:     core.NewHeaders(map[string]string{"Tenant": message["tenant"]}),
		Attempt:     2,
		MaxAttempts: 5,
	}
	fmt.Println(d)
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, r Receipt) error {
		job, _ := worker.JobFrom(ctx)
		fmt.Println("order", r.Order, "of", job.Headers.Get("Tenant"), "attempt", job.Attempt)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	fmt.Println(reg.Perform(context.Background(), d).Action)
	// Output:
	// email.receipt receipt-7 on mail
	// order 7 of blue attempt 2
	// done
}

// A queue in this process counts the attempts itself.
func ExampleFirstDelivery() {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(context.Context, Receipt) error {
		return errors.New("mail server is busy")
	}))
	if err != nil {
		panic(err)
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"), core.MaxAttempts(2))
	d := worker.FirstDelivery(&in)
	for {
		v := reg.Perform(context.Background(), d)
		fmt.Println("attempt", d.Attempt, v.Action)
		if v.Action != worker.Retry {
			break
		}
		d.Attempt++
	}
	// Output:
	// attempt 1 retry
	// attempt 2 dead
}

// A verdict has the handler's own error.
func ExampleVerdict() {
	errBusy := errors.New("mail server is busy")
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(context.Context, Receipt) error {
		return fmt.Errorf("send: %w", errBusy)
	}))
	if err != nil {
		panic(err)
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.Backoff(core.Fixed(time.Minute)))
	v := reg.Perform(context.Background(), worker.FirstDelivery(&in))
	fmt.Println(v.Action, v.After, errors.Is(v.Err, errBusy))
	// Output: retry 1m0s true
}
