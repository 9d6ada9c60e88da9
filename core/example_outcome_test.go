package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

// Any function that keeps the duties is an executor.
func ExampleExecutor() {
	var printer core.Executor = func(_ context.Context, intents ...core.Intent) error {
		for _, in := range intents {
			fmt.Printf("%s: %s\n", in.Task, in.Payload())
		}
		return nil
	}
	in, _ := SendReceipt.Intent(Receipt{Order: 7})
	fmt.Println(printer(context.Background(), in))
	// Output:
	// email.receipt: {"order":7,"to":""}
	// <nil>
}

func ExampleOutcomesOf() {
	first, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	second, _ := SendReceipt.Intent(Receipt{Order: 8}, core.ID("receipt-8"))
	intents := []core.Intent{first, second}
	var broken core.Executor = func(_ context.Context, intents ...core.Intent) error {
		return core.Combine([]core.Outcome{
			intents[0].Outcome(core.Accepted, nil),
			intents[1].Outcome(core.NotSent, core.ErrUnavailable),
		})
	}
	err := broken(context.Background(), intents...)
	for _, o := range core.OutcomesOf(err, intents) {
		fmt.Println(o.ID, o.State)
	}
	fmt.Println("can be sent again:", errors.Is(err, core.ErrNotSent))
	// Output:
	// receipt-7 accepted
	// receipt-8 not sent
	// can be sent again: true
}

// Capabilities say which options an executor takes. It refuses every other one.
func ExampleCapabilities_Check() {
	caps := core.Capabilities{Executor: "small", Options: map[core.OptionName]core.Claim{
		core.OptionQueue: {Support: core.SupportNative}, core.OptionMaxAttempts: {Support: core.SupportNative},
		core.OptionDelay: {Reason: "nothing waits here"},
	}}
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.Delay(time.Hour))
	err := caps.Check(in)
	fmt.Println(err)
	var oe *core.OptionError
	if errors.As(err, &oe) {
		fmt.Println("without it:", caps.Check(in.Without(oe.Option)))
	}
	// Output:
	// airlock: small refuses option delay: nothing waits here
	// without it: <nil>
}

// An intent that is kept, and sent by another program.
func ExampleIntent_MarshalJSON() {
	in, _ := core.DeclareTask[int]("order.paid").Intent(7, core.ID("paid-7"), core.Queue("mail"))
	stored, err := json.Marshal(in)
	fmt.Println(string(stored), err)
	var back core.Intent
	fmt.Println(json.Unmarshal(stored, &back), back)
	// Output:
	// {"v":1,"id":"paid-7","task":"order.paid","queue":"mail","payload":"Nw=="} <nil>
	// <nil> order.paid paid-7 on mail
}

func ExampleExponential() {
	policy := core.Exponential(time.Second, time.Minute)
	for _, attempt := range []int{1, 2, 3, 10} {
		fmt.Print(policy.Wait(attempt), " ")
	}
	// Output: 1s 2s 4s 1m0s
}

// One unfinished job for each order, whoever enqueues it.
func ExampleUnique() {
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.Unique("order-7"))
	fmt.Println(in.Has(core.OptionUnique), in.ChosenID(), err)
	// Output: true false <nil>
}

func ExampleHeader() {
	in, err := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"), core.Header("Tenant", "blue"))
	fmt.Println(in.Headers().Get("Tenant"), err)
	fmt.Println(in) // no value of a header is printed
	// Output:
	// blue <nil>
	// email.receipt receipt-7 on mail
}
