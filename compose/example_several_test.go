package compose_test

import (
	"context"
	"fmt"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// named is an executor that prints what it gets.
func named(name string) core.Executor {
	return func(_ context.Context, intents ...core.Intent) error {
		for _, in := range intents {
			fmt.Printf("%s: %s %s\n", name, in.Task, in.Payload())
		}
		return nil
	}
}

func ExampleWithPriority() {
	// Neither queue honours priorities, so the option ends here.
	base := compose.Strip(named("base"), core.OptionPriority)
	urgent := compose.Strip(named("urgent"), core.OptionPriority)
	exec := compose.WithPriority(base, urgent, 8)
	dispatch(exec, 1)
	dispatch(exec, 2, core.Priority(9))
	// Output:
	// base: email.receipt 1
	// urgent: email.receipt 2
}

func ExampleRoute() {
	exec := compose.Route(compose.ByQueue, map[string]core.Executor{
		"mail":  named("redis"),
		"media": named("nats"),
	}, named("postgres"))
	dispatch(exec, 1, core.Queue("mail"))
	dispatch(exec, 2)
	// Output:
	// redis: email.receipt 1
	// postgres: email.receipt 2
}

func ExampleWithFallback() {
	down := func(context.Context, ...core.Intent) error { return core.ErrUnavailable }
	dispatch(compose.WithFallback(down, named("secondary")), 1)
	dispatch(compose.WithFallback(inline, named("secondary")), 2, core.Delay(time.Hour)) // which inline refuses
	// Output:
	// secondary: email.receipt 1
	// secondary: email.receipt 2
}

func ExampleNewSplit() {
	exec := compose.NewSplit(named("old"), compose.Share{Percent: 25, To: named("new")}).Execute
	for order := range 4 {
		dispatch(exec, order, core.Unique(fmt.Sprint("order-", order)))
	}
	// Output:
	// new: email.receipt 0
	// new: email.receipt 1
	// old: email.receipt 2
	// old: email.receipt 3
}

func ExampleMirror() {
	mirror, err := compose.NewMirror(named("candidate"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	dispatch(mirror.Wrap(inline), 1)
	if err := mirror.Stop(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%+v\n", mirror.Stats())
	// Unordered output:
	// receipt for order 1
	// candidate: email.receipt 1
	// {Copied:1 Failed:0 Dropped:0}
}

func ExampleCommonCapabilities() {
	redis := core.Capabilities{Executor: "redis", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Support: core.SupportNative}, core.OptionPriority: {Support: core.SupportNative},
	}}
	nats := core.Capabilities{Executor: "nats", Options: map[core.OptionName]core.Claim{
		core.OptionDelay: {Support: core.SupportNative}, core.OptionPriority: {Reason: "no lanes are configured"},
	}}
	both := compose.CommonCapabilities(redis, nats)
	for _, opt := range []core.Option{core.Delay(time.Hour), core.Priority(9)} {
		in, err := SendReceipt.Intent(1, opt)
		if err == nil {
			err = both.Check(in)
		}
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// airlock: redis+nats refuses option priority: nats: no lanes are configured
}

// The share can change while intents are dispatched.
func ExampleSplit_SetPercent() {
	split := compose.NewSplit(named("old"), compose.Share{Percent: 0, To: named("new")})
	dispatch(split.Execute, 1)
	if err := split.SetPercent(100); err != nil {
		fmt.Println(err)
	}
	dispatch(split.Execute, 2)
	fmt.Println(split.SetPercent(101))
	// Output:
	// old: email.receipt 1
	// new: email.receipt 2
	// airlock: compose: Split: a share of 101 percent, want 0 to 100: invalid
}
