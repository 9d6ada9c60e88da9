package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// An executor never sees a time zone: the intent holds the time in UTC.
func ExampleAt() {
	opening := time.Date(time.Now().Year()+1, 1, 7, 9, 0, 0, 0, time.FixedZone("CET", 3600))
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.At(opening))
	fmt.Println(in.Options.At.Equal(opening), in.Options.At.Format("15:04 MST"), err)
	// Output: true 08:00 UTC <nil>
}

// The waits between the attempts of a job that fails each time.
func ExampleBackoff() {
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.MaxAttempts(4),
		core.Backoff(core.Exponential(10*time.Second, time.Minute)))
	for attempt := 1; attempt < in.Options.MaxAttempts; attempt++ {
		fmt.Print(in.Options.Backoff.Wait(attempt), " ")
	}
	fmt.Println(err)
	// Output: 10s 20s 40s <nil>
}

// A worker asks the policy, and uses the queue's own schedule if there is none.
func ExampleBackoffPolicy() {
	wait := func(policy core.BackoffPolicy, attempt int) string {
		if policy.IsZero() {
			return "as the queue does"
		}
		return policy.Wait(attempt).String()
	}
	fmt.Println(wait(core.BackoffPolicy{First: time.Second, Max: 3 * time.Second}, 3))
	fmt.Println(wait(core.BackoffPolicy{}, 3))
	// Output:
	// 3s
	// as the queue does
}

func ExampleFixed() {
	policy := core.Fixed(30 * time.Second)
	fmt.Println(policy.Wait(1), policy.Wait(2), policy.Wait(20))
	// Output: 30s 30s 30s
}

// A code that is valid for ten minutes is of no use later.
func ExampleDeadline() {
	sendCode := core.DeclareTask[string]("login.code")
	expires := time.Now().Add(10 * time.Minute)
	_, err := sendCode.Intent("123456", core.Deadline(expires))
	fmt.Println(err)

	_, err = sendCode.Intent("123456", core.Deadline(expires), core.Delay(time.Hour))
	fmt.Println("would never run:", errors.Is(err, core.ErrInvalid))
	// Output:
	// <nil>
	// would never run: true
}

// Delay and At set the same option. The later one applies.
func ExampleDelay() {
	remind := core.DeclareTask[int]("order.remind", core.Delay(24*time.Hour))
	in, err := remind.Intent(7)
	fmt.Println("waits:", in.Options.At.After(time.Now()), err)

	in, err = remind.Intent(7, core.At(time.Now().Add(-time.Hour))) // at once
	fmt.Println("waits:", in.Options.At.After(time.Now()), err)
	// Output:
	// waits: true <nil>
	// waits: false <nil>
}

// A webhook that is delivered twice enqueues one job: its event's ID is the job's.
func ExampleID() {
	onPaid := func(event string) (core.Intent, error) {
		return SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-"+event))
	}
	first, _ := onPaid("evt_1")
	second, _ := onPaid("evt_1")
	fmt.Println(first.ID, first.ID == second.ID, first.ChosenID())
	// Output: receipt-evt_1 true true
}

// The option of an intent replaces the task's default.
func ExampleMaxAttempts() {
	fmt.Println("default:", SendReceipt.Defaults().MaxAttempts)
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.MaxAttempts(1))
	fmt.Println("this one:", in.Options.MaxAttempts, err)
	// Output:
	// default: 5
	// this one: 1 <nil>
}

// The package of a queue exports a function for what only its queue can do.
func ExampleNativeOption() {
	retention := func(d time.Duration) core.Option { return core.NativeOption("asynq", d) }

	in, err := core.DeclareTask[int]("order.pack").Intent(7, retention(24*time.Hour))
	for _, value := range in.Native("asynq") { // its executor
		fmt.Println("keep the finished job for", value)
	}
	fmt.Println(err, core.Capabilities{Executor: "river"}.Check(in)) // another one
	// Output:
	// keep the finished job for 24h0m0s
	// <nil> airlock: river refuses option native: it is for asynq only
}

// Options are values. A program can collect them before it enqueues.
func ExampleOption() {
	options := func(tenant string, express bool) []core.Option {
		opts := []core.Option{core.Header("Tenant", tenant)}
		if express {
			opts = append(opts, core.Priority(9), core.Queue("express"))
		}
		return opts
	}
	in, err := SendReceipt.Intent(Receipt{Order: 7}, options("blue", true)...)
	fmt.Println(in.Options.Queue, in.Options.Priority, in.Headers().Get("Tenant"), err)
	fmt.Println(options("blue", true)) // shows no values
	// Output:
	// express 9 blue <nil>
	// [option header "Tenant" option priority option queue]
}

// Names of options can come from a configuration file.
func ExampleOptionName() {
	ignored := []core.OptionName{"queue", "max-attempts"}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.Priority(9))
	in = in.Without(ignored...)
	fmt.Println(in.Has(core.OptionQueue), in.Has(core.OptionMaxAttempts), in.Has(core.OptionPriority))
	// Output: false false true
}

// An adapter reads the options of an intent. A zero field is not set.
func ExampleOptions() {
	flags := func(o core.Options) (list []string) {
		if o.Queue != "" {
			list = append(list, "--queue="+o.Queue)
		}
		if o.MaxAttempts > 0 {
			list = append(list, fmt.Sprint("--retries=", o.MaxAttempts-1))
		}
		if !o.At.IsZero() {
			list = append(list, fmt.Sprint("--at=", o.At.Unix()))
		}
		return list
	}
	in, err := SendReceipt.Intent(Receipt{Order: 7})
	fmt.Println(flags(in.Options), err)
	// Output: [--queue=mail --retries=4] <nil>
}

// What an executor does with each option.
func ExamplePortableOptions() {
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative}, core.OptionTimeout: {Support: core.SupportEmulated},
	}}
	refused := 0
	for _, name := range core.PortableOptions() {
		if claim := caps.Options[name]; claim.Support != core.SupportRefused {
			fmt.Println(name, "is", claim.Support)
			continue
		}
		refused++
	}
	fmt.Println("refused:", refused)
	// Output:
	// queue is native
	// timeout is emulated
	// refused: 8
}

func ExamplePriority() {
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.Priority(10)) // before those without, which rank as 5
	fmt.Println(in.Options.Priority, err)
	_, err = SendReceipt.Intent(Receipt{Order: 7}, core.Priority(11))
	fmt.Println(err)
	// Output:
	// 10 <nil>
	// airlock: task email.receipt: option priority: 11, want 1 to 10
}

// A task's default queue, and another one for a large customer.
func ExampleQueue() {
	usual, _ := SendReceipt.Intent(Receipt{Order: 7})
	large, _ := SendReceipt.Intent(Receipt{Order: 8}, core.Queue("mail_bulk"))
	fmt.Println(usual.Options.Queue, large.Options.Queue)
	// Output: mail mail_bulk
}

// Timeout ends the context of one attempt. A handler passes the context on to what
// it calls.
func ExampleTimeout() {
	fetch := core.NewTask("feed.fetch", func(ctx context.Context, url string) error {
		<-ctx.Done() // a server that does not answer
		return ctx.Err()
	}, core.Timeout(time.Millisecond))
	in, _ := fetch.Intent("https://example.com/feed")
	reg, _ := worker.NewRegistry(worker.Handle(fetch, fetch.Func()))
	v := reg.Perform(context.Background(), worker.FirstDelivery(&in))
	fmt.Println(v.Action, v.Err)
	// Output: retry context deadline exceeded
}
