package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Outside of a scope there is nothing that could hold the intent back.
func ExampleEnqueue() {
	err := airlock.Enqueue(context.Background(), pickOrder, "A-1")
	fmt.Println(errors.Is(err, airlock.ErrNoScope))

	err = airlock.Run(context.Background(), names, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, pickOrder, "A-1")
	})
	fmt.Println(err)
	// Output:
	// true
	// dispatch warehouse.pick
	// <nil>
}

// An intent that was made before keeps its ID, so that it is one job.
func ExampleAdd() {
	in, err := pickOrder.Intent("A-1")
	if err != nil {
		panic(err)
	}
	err = airlock.Run(context.Background(), names, func(ctx context.Context) error { return airlock.Add(ctx, in) })
	fmt.Println(err)
	// Output:
	// dispatch warehouse.pick
	// <nil>
}

// The executor of a whole program, for scopes that name none.
func ExampleWithDefaults() {
	ctx := airlock.WithDefaults(context.Background(), names)
	fmt.Println(airlock.Run(ctx, nil, sell))
	// Output:
	// dispatch warehouse.pick
	// dispatch audit.entry
	// <nil>
}

var errNotFound = errors.New("not found")

// Some errors are answers, and the work around them is done.
func ExampleShouldFlush() {
	lookup := func(ctx context.Context) error { return errors.Join(sell(ctx), errNotFound) }
	err := airlock.Run(context.Background(), names, lookup, airlock.ShouldFlush(func(err error) bool {
		return err == nil || errors.Is(err, errNotFound)
	}))
	fmt.Println(err)
	// Output:
	// dispatch warehouse.pick
	// dispatch audit.entry
	// not found
}

// The client has gone, but the order is paid: its effects must leave.
func ExampleFlushLimit() {
	ctx, cancel := context.WithCancel(context.Background())
	err := airlock.Run(ctx, names, func(ctx context.Context) error {
		defer cancel()
		return sell(ctx)
	}, airlock.FlushLimit(5*time.Second))
	fmt.Println(ctx.Err(), err)
	// Output:
	// dispatch warehouse.pick
	// dispatch audit.entry
	// context canceled <nil>
}

// Each intent is tried once, also those after one that failed.
func ExampleContinueOnError() {
	broken := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error {
		if in.Task == "warehouse.pick" {
			return core.ErrUnavailable
		}
		fmt.Println("dispatch", in.Task)
		return nil
	})
	err := airlock.Run(context.Background(), broken, sell, airlock.ContinueOnError())
	var fe *airlock.FlushError
	if errors.As(err, &fe) {
		fmt.Println("undelivered:", fe.Undelivered[0].Task)
	}
	// Output:
	// dispatch audit.entry
	// undelivered: warehouse.pick
}

// A test captures even what an Independent scope would send on its own.
func ExampleOnDescendantFlush() {
	everything := func(context.Context, core.Intent) bool { return true }
	queue := func(context.Context, ...core.Intent) error { panic("the real queue") }
	err := airlock.Run(context.Background(), names, func(ctx context.Context) error {
		return airlock.Run(ctx, queue, sell, airlock.Independent())
	}, airlock.OnDescendantFlush(everything))
	fmt.Println(err)
	// Output:
	// dispatch warehouse.pick
	// dispatch audit.entry
	// <nil>
}
