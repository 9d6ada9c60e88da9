package airlocktest_test

import (
	"context"
	"testing"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
)

// checkout is the code to test.
func checkout(ctx context.Context, order string) error {
	return airlock.Enqueue(ctx, sendReceipt, receipt{Order: order}, core.Queue("mail"), core.Delay(time.Minute))
}

func Example() {
	_ = func(t *testing.T) { // func TestCheckout(t *testing.T) {
		rec := airlocktest.Run(t, func(ctx context.Context) error { return checkout(ctx, "A-1") })

		airlocktest.RequireDispatched(t, rec, sendReceipt,
			func(r receipt) bool { return r.Order == "A-1" },
			core.Queue("mail"), core.Delay(time.Minute))
		airlocktest.RequireNotDispatched(t, rec, pickOrder, nil)
	}
}

func ExampleRecorder_Lose() {
	_ = func(t *testing.T) { // what does the code do when a reply is lost?
		var rec airlocktest.Recorder
		rec.Lose(true)
		err := airlock.Run(t.Context(), rec.Execute, func(ctx context.Context) error { return checkout(ctx, "A-1") })
		if err == nil {
			t.Error("the loss went unnoticed")
		}
		airlocktest.RequireDispatched(t, &rec, sendReceipt, nil) // and yet it is there
	}
}
