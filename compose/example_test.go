package compose_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[int]("email.receipt")

var registry, errRegistry = worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, order int) error {
	trace := ""
	if job, _ := worker.JobFrom(ctx); job.Headers.Has("Trace") {
		trace = ", trace " + job.Headers.Get("Trace")
	}
	fmt.Printf("receipt for order %d%s\n", order, trace)
	return nil
}))

// A small executor that runs intents where they are dispatched and takes the
// options queue, header and priority.
var inline = adapter.Each(core.Capabilities{
	Executor: "inline",
	Options: map[core.OptionName]core.Claim{
		core.OptionQueue:    {Support: core.SupportNotApplicable, Reason: "nothing waits"},
		core.OptionPriority: {Support: core.SupportNotApplicable, Reason: "nothing waits"},
		core.OptionHeader:   {Support: core.SupportNative},
	},
}, func(ctx context.Context, in core.Intent) error {
	if errRegistry != nil {
		return errRegistry
	}
	return registry.Perform(core.WithoutValues(ctx), worker.FirstDelivery(&in)).Err
})

// dispatch sends a receipt and prints the error, if there is one.
func dispatch(exec core.Executor, order int, opts ...core.Option) {
	in, err := SendReceipt.Intent(order, opts...)
	if err == nil {
		err = exec(context.Background(), in)
	}
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleWithRetry() {
	calls := 0
	flaky := func(ctx context.Context, intents ...core.Intent) error {
		if calls++; calls < 3 {
			return core.ErrUnavailable
		}
		return inline(ctx, intents...)
	}
	exec := compose.WithRetry(flaky, compose.Retry{
		Attempts: 3,
		Backoff:  core.Exponential(time.Millisecond, time.Second),
		OnRetry: func(_ context.Context, attempt int, _ time.Duration, err error) {
			fmt.Printf("attempt %d: not sent: %v\n", attempt, errors.Is(err, core.ErrNotSent))
		},
	})
	dispatch(exec, 1)
	// Output:
	// attempt 1: not sent: true
	// attempt 2: not sent: true
	// receipt for order 1
}

func ExampleWithTimeout() {
	hangs := func(ctx context.Context, _ ...core.Intent) error {
		<-ctx.Done()
		return ctx.Err()
	}
	in, err := SendReceipt.Intent(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = compose.WithTimeout(hangs, 10*time.Millisecond)(context.Background(), in)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), errors.Is(err, core.ErrUnknownOutcome))
	// Output: true true
}

func ExampleWithLog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{} // they differ from run to run
			}
			return a
		},
	}))
	exec := compose.WithLog(inline, logger)
	dispatch(exec, 1)
	dispatch(exec, 2, core.ID("r2"), core.Queue("mail"))
	// Output:
	// receipt for order 1
	// level=DEBUG msg="airlock: dispatch" intents=1 accepted=1
	// level=ERROR msg="airlock: dispatch" intents=1 rejected=1 undelivered="[{Task:email.receipt ID:r2 Queue:mail State:rejected Error:airlock: inline refuses option id}]"
	// airlock: dispatch: email.receipt r2 on mail: rejected: inline refuses option id
}

type spanKey struct{}

func ExampleWithHeaders() {
	exec := compose.WithHeaders(inline, func(ctx context.Context) map[string]string {
		span, _ := ctx.Value(spanKey{}).(string)
		return map[string]string{"Trace": span}
	})
	in, err := SendReceipt.Intent(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := exec(context.WithValue(context.Background(), spanKey{}, "4bf92f35"), in); err != nil {
		fmt.Println(err)
	}
	// Output: receipt for order 1, trace 4bf92f35
}

func ExampleStrip() {
	in, err := SendReceipt.Intent(1, core.Delay(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = inline(context.Background(), in)
	fmt.Println("refused:", errors.Is(err, core.ErrUnsupported))

	early := compose.Strip(inline, core.OptionDelay) // in tests there is no need to wait
	if err := early(context.Background(), in); err != nil {
		fmt.Println(err)
	}
	// Output:
	// refused: true
	// receipt for order 1
}
