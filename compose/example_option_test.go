package compose_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// Route calls it for each intent, so it decides where a queue's jobs live.
func ExampleByQueue() {
	exec := compose.Route(compose.ByQueue, map[string]core.Executor{
		"media": named("nats"),
		"":      named("redis"), // intents that name no queue
	}, nil)
	dispatch(exec, 1, core.Queue("media"))
	dispatch(exec, 2)
	dispatch(exec, 3, core.ID("receipt-3"), core.Queue("other"))
	// Output:
	// nats: email.receipt 1
	// redis: email.receipt 2
	// airlock: dispatch: email.receipt receipt-3 on other: rejected: compose: task email.receipt: no route for "other": invalid
}

// One task at a time moves to a new queue.
func ExampleByTask() {
	exec := compose.Route(compose.ByTask, map[string]core.Executor{
		"image.resize": named("new"),
	}, named("old"))
	resize, err := core.DeclareTask[string]("image.resize").Intent("cat.png")
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := SendReceipt.Intent(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(exec(context.Background(), resize, receipt))
	// Output:
	// new: image.resize "cat.png"
	// old: email.receipt 1
	// <nil>
}

// A new backend is watched: each lost copy is counted.
func ExampleMirrorOptions() {
	candidate := func(context.Context, ...core.Intent) error { return core.ErrTooLarge }
	mirror, err := compose.NewMirror(candidate, &compose.MirrorOptions{
		Buffer:  100,
		Timeout: time.Second,
		OnError: func(err error) { fmt.Println("too large:", errors.Is(err, core.ErrTooLarge)) },
		Logger:  slog.New(slog.DiscardHandler), // OnError is enough here
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	dispatch(mirror.Wrap(func(context.Context, ...core.Intent) error { return nil }), 1)
	if err := mirror.Stop(context.Background()); err != nil { // waits for the copies
		fmt.Println(err)
	}
	// Output: too large: true
}

// The share of copies that the second executor took.
func ExampleMirrorStats() {
	ready := func(s compose.MirrorStats) bool {
		all := s.Copied + s.Failed + s.Dropped
		return all >= 1000 && s.Dropped == 0 && float64(s.Failed)/float64(all) < 0.001
	}
	fmt.Println(ready(compose.MirrorStats{Copied: 9999, Failed: 1}))
	fmt.Println(ready(compose.MirrorStats{Copied: 9999, Dropped: 1}))
	// Output:
	// true
	// false
}

// A mirror owns a goroutine. Stop ends it when the program ends.
func ExampleNewMirror() {
	mirror, err := compose.NewMirror(compose.WithRetry(named("candidate"), compose.Retry{}), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	exec := mirror.Wrap(func(context.Context, ...core.Intent) error { return nil })
	dispatch(exec, 1)
	dispatch(exec, 2)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(mirror.Stop(ctx))
	// Output:
	// candidate: email.receipt 1
	// candidate: email.receipt 2
	// <nil>
}

// For an executor that remembers no IDs: what may be stored is not sent again.
func ExampleRetry() {
	retry := compose.Retry{Attempts: 5, Backoff: core.Fixed(time.Millisecond), OnlyNotSent: true}
	for _, failure := range []error{core.ErrUnavailable, core.ErrUnknownOutcome} {
		calls := 0
		exec := compose.WithRetry(func(context.Context, ...core.Intent) error { calls++; return failure }, retry)
		in, err := SendReceipt.Intent(1)
		if err == nil {
			err = exec(context.Background(), in)
		}
		fmt.Println(calls, errors.Is(err, failure))
	}
	// Output:
	// 5 true
	// 1 true
}

// Two candidates. The key of an intent decides where it goes, in every process.
func ExampleShare() {
	exec := compose.NewSplit(named("old"),
		compose.Share{Percent: 10, To: named("first")},
		compose.Share{Percent: 20, To: named("second")},
	).Execute
	for _, order := range []int{0, 2, 4, 0} {
		dispatch(exec, order, core.Unique(fmt.Sprint("order-", order)))
	}
	// Output:
	// first: email.receipt 0
	// old: email.receipt 2
	// second: email.receipt 4
	// first: email.receipt 0
}
