package airlocktest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

// The receipt goes to one customer, and to nobody else.
func ExampleRequireNotDispatched() {
	rec := airlocktest.Run(t, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, sendReceipt, receipt{Order: "A-1"}, core.ID("receipt-1"))
	})
	airlocktest.RequireNotDispatched(t, rec, pickOrder, nil) // with any arguments
	airlocktest.RequireNotDispatched(t, rec, sendReceipt, func(r receipt) bool { return r.Order != "A-1" })

	airlocktest.RequireNotDispatched(t, rec, sendReceipt, nil) // but there is one
	// Output: FAIL: email.receipt receipt-1 was dispatched
}

// Code that opens scopes of its own hands its intents to the recorder.
func ExampleRun() {
	queue := func(context.Context, ...core.Intent) error { panic("the real queue") }
	rec := airlocktest.Run(t, func(ctx context.Context) error {
		return airlock.Run(ctx, queue, func(ctx context.Context) error { return checkout(ctx, "A-1") })
	})
	for _, in := range rec.Intents() {
		fmt.Println(in.Task)
	}
	airlocktest.Run(t, func(context.Context) error { return errors.New("card declined") }) // fails the test
	// Output:
	// email.receipt
	// FAIL: airlocktest.Run: card declined
}

// notedTB keeps what a check of a running system finds, where there is no test.
type notedTB struct {
	context context.Context
	failure string
}

func (n *notedTB) Helper()                           {}
func (n *notedTB) Context() context.Context          { return n.context }
func (n *notedTB) Fatalf(format string, args ...any) { n.failure = fmt.Sprintf(format, args...) }

// Every *testing.T is a TB. So is a type of another test framework that has these
// three methods.
func ExampleTB() {
	tb := &notedTB{context: context.Background()}
	rec := airlocktest.Run(tb, func(ctx context.Context) error { return checkout(ctx, "A-1") })
	airlocktest.RequireDispatched(tb, rec, pickOrder, nil)
	fmt.Println("failed:", tb.failure)
	// Output: failed: no warehouse.pick was dispatched; dispatched were: email.receipt (1)
}
