package airlock_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

var (
	pickOrder = core.DeclareTask[string]("warehouse.pick")
	audit     = core.DeclareTask[string]("audit.entry")
)

// sell enqueues two intents.
func sell(ctx context.Context) error {
	return errors.Join(airlock.Enqueue(ctx, pickOrder, "A-1"), airlock.Enqueue(ctx, audit, "A-1"))
}

// names is an executor that prints the names of the tasks.
func names(_ context.Context, intents ...core.Intent) error {
	for _, in := range intents {
		fmt.Println("dispatch", in.Task)
	}
	return nil
}

// A policy of your own refuses at the call site, or drops at the flush.
func ExamplePolicy() {
	weekend := airlock.Policy{
		Name: "weekend",
		OnEnqueue: func(_ context.Context, in core.Intent) error {
			if in.Task == "warehouse.pick" {
				return errors.New("nobody picks on Sundays")
			}
			return nil
		},
	}
	fmt.Println(airlock.Run(context.Background(), names, sell, weekend))
	// Output: airlock: policy weekend refuses task warehouse.pick: nobody picks on Sundays
}

func ExampleBlockTasks() {
	fmt.Println(airlock.Run(context.Background(), names, sell, airlock.BlockTasks("warehouse.pick")))
	// Output:
	// dispatch audit.entry
	// <nil>
}

func ExampleDropAll() {
	fmt.Println("nothing left:", airlock.Run(context.Background(), names, sell, airlock.DropAll()))
	// Output: nothing left: <nil>
}

func ExampleAssertNoEffects() {
	err := airlock.Run(context.Background(), names, sell, airlock.AssertNoEffects())
	fmt.Println(errors.Is(err, airlock.ErrRefused))
	// Output: true
}

// A policy for every scope below, also for those with an executor of their own.
func ExampleAll() {
	quiet := airlock.All(airlock.BlockTasks("audit.entry"), airlock.BlockTasks("email.receipt"))
	ctx := airlock.WithDefaults(context.Background(), nil, quiet)
	fmt.Println(airlock.Run(ctx, names, sell))
	// Output:
	// dispatch warehouse.pick
	// <nil>
}

func ExampleScope_WouldDrop() {
	err := airlock.Run(context.Background(), names, func(ctx context.Context) error {
		err := sell(ctx)
		scope, _ := airlock.FromContext(ctx)
		for _, in := range scope.WouldDrop(ctx) {
			fmt.Println("would drop", in.Task)
		}
		return err
	}, airlock.BlockTasks("audit.entry"))
	fmt.Println(err)
	// Output:
	// would drop audit.entry
	// dispatch warehouse.pick
	// <nil>
}
