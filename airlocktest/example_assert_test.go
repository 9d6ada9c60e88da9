package airlocktest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

// printer stands for the *testing.T of a test.
type printer struct{}

func (printer) Helper()                           {}
func (printer) Context() context.Context          { return context.Background() }
func (printer) Fatalf(format string, args ...any) { fmt.Printf("FAIL: "+format+"\n", args...) }

var t printer

func ExampleRequireDispatched() {
	rec := airlocktest.Run(t, func(ctx context.Context) error { return checkout(ctx, "A-1") })
	in := airlocktest.RequireDispatched(t, rec, sendReceipt, func(r receipt) bool { return r.Order == "A-1" }, core.Queue("mail"))
	fmt.Println(in.Task, "on", in.Options.Queue)
	airlocktest.RequireNotDispatched(t, rec, sendReceipt, func(r receipt) bool { return r.Order == "A-2" })
	// Output: email.receipt on mail
}

func ExampleArgs() {
	rec := airlocktest.Run(t, func(ctx context.Context) error {
		return errors.Join(checkout(ctx, "A-1"), checkout(ctx, "A-2"))
	})
	for _, r := range airlocktest.Args(t, rec, sendReceipt) {
		fmt.Println(r.Order)
	}
	// Output:
	// A-1
	// A-2
}

// A refused checkout sends nothing.
func ExampleRequireNothingDispatched() {
	var rec airlocktest.Recorder
	err := airlock.Run(context.Background(), rec.Execute, func(ctx context.Context) error {
		return errors.Join(checkout(ctx, "A-1"), errors.New("card declined"))
	})
	fmt.Println(err)
	airlocktest.RequireNothingDispatched(t, &rec)
	// Output: card declined
}

// The queue is away.
func ExampleRecorder_Fail() {
	var rec airlocktest.Recorder
	rec.Fail(core.ErrUnavailable)
	err := airlock.Run(context.Background(), rec.Execute, func(ctx context.Context) error { return checkout(ctx, "A-1") })
	var fe *airlock.FlushError
	fmt.Println(errors.As(err, &fe), len(fe.Retryable()))

	rec.Fail(nil) // it is back
	err = airlock.Run(context.Background(), rec.Execute, func(ctx context.Context) error { return airlock.Add(ctx, fe.Retryable()...) })
	fmt.Println(err, len(rec.Intents()))
	// Output:
	// true 1
	// <nil> 1
}

// A recorder that refuses what the production queue refuses.
func ExampleRecorder_Act() {
	var rec airlocktest.Recorder
	rec.Act(core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative},
	}})
	err := airlock.Run(context.Background(), rec.Execute, func(ctx context.Context) error { return checkout(ctx, "A-1") })
	fmt.Println(err)
	// Output: airlock: task email.receipt: small refuses option delay
}

func ExampleNoEffects() {
	airlocktest.NoEffects(t, func(ctx context.Context) error {
		_ = checkout(ctx, "A-1") // a report should not
		return nil
	})
	// Output: FAIL: airlocktest.NoEffects: enqueued email.receipt
}
