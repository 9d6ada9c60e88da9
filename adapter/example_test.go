package adapter_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

type Receipt struct {
	Order int    `json:"order"`
	To    string `json:"to"`
}

var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5), core.Queue("mail"))

// The simplest executor runs every intent in the caller's goroutine.
func ExampleEach() {
	exec := adapter.Each(core.Capabilities{Executor: "here"}, func(ctx context.Context, in core.Intent) error {
		return in.Run(ctx)
	})
	greet := core.NewTask("demo.greet", func(ctx context.Context, name string) error {
		if name == "" {
			return errors.New("nobody to greet")
		}
		fmt.Println("hello,", name)
		return nil
	})
	var intents []core.Intent
	for i, name := range []string{"Ada", "", "Grace"} {
		in, err := greet.Intent(name, core.ID(fmt.Sprint("greeting-", i)))
		if err != nil {
			fmt.Println(err)
			return
		}
		intents = append(intents, in.Without(core.OptionID)) // so that the failed greeting may be sent again
	}
	err := exec(context.Background(), intents...)
	fmt.Println(err)
	for _, o := range core.OutcomesOf(err, intents) {
		fmt.Println(o.ID, o.State)
	}
	// Output:
	// hello, Ada
	// airlock: dispatch: 2 of 3 intents not accepted (1 failed, 1 not sent), first demo.greet greeting-1: failed: nobody to greet
	// greeting-0 accepted
	// greeting-1 failed
	// greeting-2 not sent
}

// Guard refuses options without a claim before it calls the function.
func ExampleGuard() {
	caps := core.Capabilities{
		Executor:   "paper",
		MaxPayload: 1024,
		Options: map[core.OptionName]core.Claim{
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: 10},
			core.OptionQueue:       {Support: core.SupportNotApplicable, Reason: "there is one printer"},
			core.OptionID:          {Support: core.SupportNative},
			core.OptionPriority:    {Reason: "paper comes out in order"},
		},
	}
	exec := adapter.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		for _, in := range intents {
			fmt.Printf("%s: %s\n", in.Task, in.Payload())
		}
		return nil
	})
	good, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	urgent, _ := good.With(core.Priority(9))
	fmt.Println(exec(context.Background(), good))
	err := exec(context.Background(), urgent)
	fmt.Println(err)
	fmt.Println(errors.Is(err, core.ErrUnsupported))
	// Output:
	// email.receipt: {"order":7,"to":""}
	// <nil>
	// airlock: dispatch: email.receipt receipt-7 on mail: rejected: paper refuses option priority: paper comes out in order
	// true
}

// A custom outbox stores the encoded intent together with the data that it is about.
func ExampleEncodeIntent() {
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	row, err := adapter.EncodeIntent(in)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", row)

	back, err := adapter.DecodeIntent(row)
	fmt.Println(back, err)
	fmt.Printf("%s\n", back.Payload())
	// Output:
	// {"v":1,"id":"receipt-7","max_attempts":5,"task":"email.receipt","queue":"mail","payload":"eyJvcmRlciI6NywidG8iOiIifQ=="}
	// email.receipt receipt-7 on mail <nil>
	// {"order":7,"to":""}
}
