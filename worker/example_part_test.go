package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// A package exports its handlers, and the program decides where they run.
func ExampleHandler() {
	handlers := []worker.Handler{
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }),
		worker.Handle(core.DeclareTask[int]("stock.count"), func(context.Context, int) error { return nil }),
	}
	var parts []worker.Part
	for _, h := range handlers {
		if h.Task() != "stock.count" { // another process counts
			parts = append(parts, h)
		}
	}
	reg, err := worker.NewRegistry(parts...)
	fmt.Println(reg.Tasks(), err)
	// Output: [email.receipt] <nil>
}

// A middleware that reports what nobody will try again.
func ExampleIsPermanent() {
	report := func(ctx context.Context, next func(context.Context) error) error {
		err := next(ctx)
		if worker.IsPermanent(err) {
			fmt.Println("report:", err)
		}
		return err
	}
	errNoOrder := errors.New("no such order")
	reg, err := worker.NewRegistry(worker.Middleware(report), worker.Handle(SendReceipt,
		func(context.Context, Receipt) error { return fmt.Errorf("send: %w", worker.Permanent(errNoOrder)) }))
	if err != nil {
		panic(err)
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7})
	v := reg.Perform(context.Background(), worker.FirstDelivery(&in))
	fmt.Println(v.Action, errors.Is(v.Err, errNoOrder))
	// Output:
	// report: send: no such order
	// dead true
}

// The last attempt is the time to do something else.
func ExampleJob() {
	send := func(ctx context.Context, r Receipt) error {
		job, _ := worker.JobFrom(ctx)
		if job.Attempt == job.MaxAttempts {
			fmt.Println("print the receipt of order", r.Order)
			return nil
		}
		return errors.New("mail server is busy")
	}
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		panic(err)
	}
	for attempt := 4; attempt <= 5; attempt++ {
		v := reg.Perform(context.Background(), worker.Delivery{
			ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{"order":7}`), Attempt: attempt, MaxAttempts: 5,
		})
		fmt.Println(v.Action)
	}
	// Output:
	// retry
	// print the receipt of order 7
	// done
}

// All mistakes are found when the program starts.
func ExampleNewRegistry() {
	_, err := worker.NewRegistry(
		worker.Handle(core.DeclareTask[int]("bad name"), func(context.Context, int) error { return nil }),
		worker.Handle(SendReceipt, nil),
	)
	fmt.Println(errors.Is(err, core.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// airlock: task name "bad name": want letters, digits and _.:/+- with a letter, digit or _ first
	// airlock: task email.receipt: nil handler: invalid
}

// A package for logging gives a program one part or several.
func ExamplePart() {
	logging := func(logger *slog.Logger) []worker.Part {
		return []worker.Part{
			worker.Middleware(func(ctx context.Context, next func(context.Context) error) error {
				job, _ := worker.JobFrom(ctx)
				logger.Info("begin", "job", job)
				return next(ctx)
			}),
			worker.Observer(func(_ context.Context, run worker.Run) {
				logger.Info("end", "action", run.Verdict.Action)
			}),
		}
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	parts := append(logging(logger), worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }))
	reg, err := worker.NewRegistry(parts...)
	if err != nil {
		panic(err)
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	reg.Perform(context.Background(), worker.FirstDelivery(&in))
	// Output:
	// level=INFO msg=begin job.task=email.receipt job.id=receipt-7 job.queue=mail job.attempt=1
	// level=INFO msg=end action=done
}

// A name that a queue delivers becomes a label of a metric only if it is known:
// otherwise anybody who can write to the queue could make labels.
func ExampleRun() {
	label := func(_ context.Context, run worker.Run) {
		task := "unknown"
		if run.Known {
			task = run.Delivery.Task
		}
		fmt.Printf("jobs_total{task=%q,action=%q}\n", task, run.Verdict.Action)
	}
	reg, err := worker.NewRegistry(
		worker.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }), worker.Observer(label),
	)
	if err != nil {
		panic(err)
	}
	reg.Perform(context.Background(), worker.Delivery{ID: "1", Task: "email.receipt", Payload: []byte(`{}`)})
	reg.Perform(context.Background(), worker.Delivery{ID: "2", Task: "a.b.c"})
	// Output:
	// jobs_total{task="email.receipt",action="done"}
	// jobs_total{task="unknown",action="parked"}
}
