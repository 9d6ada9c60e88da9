package airlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock"
)

// A policy that a program chooses when it starts. AllowAll is the one that changes
// nothing.
func ExampleAllowAll() {
	policy := func(environment string) airlock.Policy {
		if environment == "staging" {
			return airlock.DropAll()
		}
		return airlock.AllowAll()
	}
	for _, environment := range []string{"staging", "production"} {
		fmt.Println(environment)
		if err := airlock.Run(context.Background(), names, sell, policy(environment)); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// staging
	// production
	// dispatch warehouse.pick
	// dispatch audit.entry
}

// Options of every scope of a program. A policy is an option too.
func ExampleOption() {
	everywhere := []airlock.Option{airlock.FlushLimit(5 * time.Second), airlock.BlockTasks("audit.entry")}
	ctx := airlock.WithDefaults(context.Background(), names, everywhere...)
	fmt.Println(airlock.Run(ctx, nil, sell))

	ctx, scope, err := airlock.Begin(context.Background(), names, everywhere...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer scope.Discard()
	if err := sell(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(scope.Flush(ctx))
	// Output:
	// dispatch warehouse.pick
	// <nil>
	// dispatch warehouse.pick
	// <nil>
}

// Options of Run. Each Option is a RunOption as well.
func ExampleRunOption() {
	errSoldOut := errors.New("sold out")
	transact := func(ctx context.Context, fn func(context.Context) error, opts ...airlock.RunOption) error {
		opts = append(opts, airlock.BlockTasks("audit.entry"))
		return airlock.Run(ctx, names, fn, opts...)
	}
	soldOut := func(ctx context.Context) error { return errors.Join(sell(ctx), errSoldOut) }
	err := transact(context.Background(), soldOut, airlock.ShouldFlush(func(error) bool { return true }))
	fmt.Println(err)
	// Output:
	// dispatch warehouse.pick
	// sold out
}

// What has become of a scope.
func ExampleScopeState() {
	for _, good := range []bool{true, false} {
		ctx, scope, err := airlock.Begin(context.Background(), names)
		if err != nil {
			fmt.Println(err)
			return
		}
		if err = sell(ctx); err == nil && good {
			err = scope.Flush(ctx)
		}
		if scope.State() == airlock.ScopeOpen { // nobody has flushed it
			err = errors.Join(err, scope.Discard())
		}
		fmt.Println(scope.State(), err)
	}
	// Output:
	// dispatch warehouse.pick
	// dispatch audit.entry
	// flushed <nil>
	// discarded <nil>
}
