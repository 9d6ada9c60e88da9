package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// Receipt is what the task needs to know.
type Receipt struct {
	Order string `json:"order"`
}

// SendReceipt names the task. Domain code needs nothing else of it.
var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))

// checkout is domain code: it asks for the receipt before it is sure to succeed.
func checkout(ctx context.Context, order, card string) error {
	err := airlock.Enqueue(ctx, SendReceipt, Receipt{Order: order}, core.Queue("mail"), core.Delay(time.Minute))
	if err != nil {
		return err
	}
	if card == "declined" {
		return errors.New("card declined")
	}
	return nil
}

// printing is an executor: it is just a function that takes intents.
func printing(_ context.Context, intents ...core.Intent) error {
	for _, in := range intents {
		fmt.Printf("dispatch %s %s to %s\n", in.Task, in.Payload(), in.Options.Queue)
	}
	return nil
}

func ExampleRun() {
	ctx := context.Background()
	err := airlock.Run(ctx, printing, func(ctx context.Context) error { return checkout(ctx, "A-1", "good") })
	fmt.Println("A-1:", err)
	err = airlock.Run(ctx, printing, func(ctx context.Context) error { return checkout(ctx, "A-2", "declined") })
	fmt.Println("A-2:", err)
	// Output:
	// dispatch email.receipt {"order":"A-1"} to mail
	// A-1: <nil>
	// A-2: card declined
}

func ExampleBegin() {
	ctx, scope, err := airlock.Begin(context.Background(), printing)
	if err != nil {
		panic(err)
	}
	defer scope.Discard() // does nothing once the scope was flushed
	if err := checkout(ctx, "A-1", "good"); err != nil {
		return
	}
	fmt.Println("held back:", len(scope.Intents()))
	fmt.Println("flush:", scope.Flush(context.Background()))
	// Output:
	// held back: 1
	// dispatch email.receipt {"order":"A-1"} to mail
	// flush: <nil>
}

func ExampleFlushError() {
	down := func(context.Context, ...core.Intent) error { return fmt.Errorf("redis: %w", core.ErrUnavailable) }
	err := airlock.Run(context.Background(), down, func(ctx context.Context) error {
		return checkout(ctx, "A-1", "good")
	})
	var fe *airlock.FlushError
	if errors.As(err, &fe) {
		for _, in := range fe.Undelivered { // to be kept, and sent again later
			fmt.Println("not delivered:", in.Task)
		}
	}
	fmt.Println("worth another try:", errors.Is(err, core.ErrNotSent))
	// Output:
	// not delivered: email.receipt
	// worth another try: true
}

func ExampleWithPolicy() {
	migrate := func(ctx context.Context) error { return checkout(ctx, "A-1", "good") }
	err := airlock.Run(context.Background(), printing, func(ctx context.Context) error {
		return migrate(airlock.WithPolicy(ctx, airlock.DropAll()))
	})
	fmt.Println("nothing left, and no error:", err)
	// Output: nothing left, and no error: <nil>
}

func ExampleRequire() {
	// What this queue can do: no priorities.
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.Native},
	}}
	err := airlock.Run(context.Background(), printing, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, core.DeclareTask[int]("demo.task"), 1, core.Priority(9))
	}, airlock.Require(caps))
	fmt.Println(errors.Is(err, core.ErrUnsupported))
	// Output: true
}

func ExampleLogOnFlush() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "id" {
				return slog.Attr{}
			}
			return a
		},
	}))
	quiet := func(context.Context, ...core.Intent) error { return nil }
	err := airlock.Run(context.Background(), quiet, func(ctx context.Context) error {
		return checkout(ctx, "A-1", "good")
	}, airlock.LogOnFlush(logger))
	fmt.Println(err)
	// Output:
	// level=INFO msg="airlock: flush" intent.task=email.receipt intent.queue=mail
	// <nil>
}

// A scope inside another one, with a nil executor, joins it: library code can
// open scopes without knowing whether its caller has one.
func ExampleRun_nested() {
	ctx := context.Background()
	err := airlock.Run(ctx, printing, func(ctx context.Context) error {
		for _, order := range []struct{ id, card string }{{"A-1", "good"}, {"A-2", "declined"}} {
			err := airlock.Run(ctx, nil, func(ctx context.Context) error { return checkout(ctx, order.id, order.card) })
			fmt.Printf("%s: %v\n", order.id, err)
		}
		return nil
	})
	fmt.Println("all:", err)
	// Output:
	// A-1: <nil>
	// A-2: card declined
	// dispatch email.receipt {"order":"A-1"} to mail
	// all: <nil>
}

// With Scoped, what a job enqueues leaves only if the job succeeds.
func ExampleScoped() {
	pick := core.DeclareTask[string]("warehouse.pick")
	reg, err := core.NewRegistry(core.Handle(pick, func(ctx context.Context, order string) error {
		return checkout(ctx, order, "good")
	}))
	if err != nil {
		panic(err)
	}
	if err := reg.Use(airlock.Scoped(printing)); err != nil {
		panic(err)
	}
	// A worker does this with every job that its queue delivers.
	v := reg.Perform(context.Background(), core.Delivery{ID: "job-1", Task: "warehouse.pick", Payload: []byte(`"A-1"`)})
	fmt.Println(v.Action)
	// Output:
	// dispatch email.receipt {"order":"A-1"} to mail
	// done
}
