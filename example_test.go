package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Receipt holds the arguments of the task.
type Receipt struct {
	Order string `json:"order"`
}

// SendReceipt is all that domain code needs of the task.
var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))

// checkout is domain code. It enqueues the receipt before it is sure to succeed.
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

// printing is an executor. An executor is just a function that takes intents.
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

// Retryable holds what can be sent again. The loop ends: an intent is delivered,
// or refused, or the program stops trying.
func ExampleFlushError() {
	ctx, calls := context.Background(), 0
	queue := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error {
		if calls++; calls < 3 {
			return fmt.Errorf("redis: %w", core.ErrUnavailable)
		}
		if in.Task == "too.large" {
			return core.ErrTooLarge
		}
		fmt.Println("delivered:", in.Task)
		return nil
	})
	err := airlock.Run(ctx, queue, func(ctx context.Context) error {
		return errors.Join(
			airlock.Enqueue(ctx, core.DeclareTask[string]("email.receipt"), "A-1"),
			airlock.Enqueue(ctx, core.DeclareTask[string]("too.large"), "A-1"),
		)
	})
	var fe *airlock.FlushError
	for tries := 1; errors.As(err, &fe) && tries < 10; tries++ { // a real program waits in between
		for _, in := range fe.Refused() {
			fmt.Println("refused:", in.Task)
		}
		err = airlock.Run(ctx, queue, func(ctx context.Context) error { return airlock.Add(ctx, fe.Retryable()...) })
	}
	fmt.Println("in the end:", err)
	// Output:
	// delivered: email.receipt
	// refused: too.large
	// in the end: <nil>
}

// The audit trail must leave although the work fails.
func ExampleIndependent() {
	ctx := context.Background()
	audit := core.DeclareTask[string]("audit.attempt")
	err := airlock.Run(ctx, printing, func(ctx context.Context) error {
		err := airlock.Run(ctx, printing, func(ctx context.Context) error {
			return airlock.Enqueue(ctx, audit, "A-2", core.Queue("audit"))
		}, airlock.Independent())
		if err != nil {
			return err
		}
		return checkout(ctx, "A-2", "declined")
	})
	fmt.Println(err)
	// Output:
	// dispatch audit.attempt "A-2" to audit
	// card declined
}

// Only the owner ends a scope. Everybody else can look at it.
func ExampleFromContext() {
	err := airlock.Run(context.Background(), printing, func(ctx context.Context) error {
		if err := checkout(ctx, "A-1", "good"); err != nil {
			return err
		}
		scope, _ := airlock.FromContext(ctx)
		fmt.Println(scope.State(), len(scope.Intents()), scope.Flush(ctx))
		return nil
	})
	fmt.Println(err)
	// Output:
	// open 1 airlock: flush: not the owner of the scope
	// dispatch email.receipt {"order":"A-1"} to mail
	// <nil>
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
	// A queue without priorities, behind a function that cannot be asked.
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative},
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

// A scope inside another one hands its intents to it. Library code can open scopes
// without knowing whether its caller has one.
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
	reg, err := worker.NewRegistry(
		worker.Handle(pick, func(ctx context.Context, order string) error { return checkout(ctx, order, "good") }),
		airlock.Scoped(printing),
	)
	if err != nil {
		panic(err)
	}
	// A worker does this with every job that its queue delivers.
	v := reg.Perform(context.Background(), worker.Delivery{ID: "job-1", Task: "warehouse.pick", Payload: []byte(`"A-1"`)})
	fmt.Println(v.Action)
	// Output:
	// dispatch email.receipt {"order":"A-1"} to mail
	// done
}
