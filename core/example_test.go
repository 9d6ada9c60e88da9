package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

type Receipt struct {
	Order int    `json:"order"`
	To    string `json:"to"`
}

// SendReceipt is declared where domain code only names what should happen.
var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5), core.Queue("mail"))

func ExampleDeclareTask() {
	in, err := SendReceipt.Intent(Receipt{Order: 7, To: "ada@example.com"}, core.ID("receipt-7"), core.Priority(8))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(in) // never its payload
	fmt.Println(in.Options.MaxAttempts, in.Options.Priority)

	_, err = SendReceipt.Intent(Receipt{}, core.Delay(-time.Second))
	fmt.Println(err)
	// Output:
	// email.receipt receipt-7 on mail
	// 5 8
	// airlock: task email.receipt: option delay: -1s, want more than 0
}

func ExampleNewTask() {
	greet := core.NewTask("demo.greet", func(ctx context.Context, name string) error {
		fmt.Println("hello,", name)
		return nil
	})
	in, err := greet.Intent("Ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(in.Run(context.Background()))
	// Output:
	// hello, Ada
	// <nil>
}

// The simplest executor runs every intent in the caller's own goroutine.
func ExampleEach() {
	exec := core.Each(core.Capabilities{Executor: "here"}, func(ctx context.Context, in core.Intent) error {
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
		intents = append(intents, in.Without(core.OptionID)) // an example wants fixed IDs
	}
	err := exec(context.Background(), intents...)
	fmt.Println(err)
	for _, o := range core.OutcomesOf(err, intents) {
		fmt.Println(o.ID, o.State)
	}
	// Output:
	// hello, Ada
	// airlock: dispatch: 2 of 3 intents not accepted (1 not sent, 1 failed), first demo.greet greeting-1: failed: nobody to greet
	// greeting-0 accepted
	// greeting-1 failed
	// greeting-2 not sent
}

// Guard refuses what the executor does not claim, before the executor is called.
func ExampleGuard() {
	caps := core.Capabilities{
		Executor:   "paper",
		MaxPayload: 1024,
		Options: map[core.OptionName]core.Claim{
			core.OptionMaxAttempts: {Support: core.Native, Most: 10},
			core.OptionQueue:       {Support: core.NotApplicable, Reason: "there is one printer"},
			core.OptionID:          {Support: core.Native},
			core.OptionPriority:    {Reason: "paper comes out in order"},
		},
	}
	exec := core.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
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

// A worker half maps what the queue delivers to a Delivery, and the Verdict back.
func ExampleRegistry() {
	reg, err := core.NewRegistry(core.Handle(SendReceipt, func(ctx context.Context, r Receipt) error {
		job, _ := core.JobFrom(ctx)
		fmt.Println("attempt", job.Attempt, "of", job.MaxAttempts, "for order", r.Order)
		if job.Attempt < 2 {
			return errors.New("mail server is busy")
		}
		return nil
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for attempt := 1; attempt <= 2; attempt++ {
		v := reg.Perform(context.Background(), core.Delivery{
			ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{"order":7}`),
			Attempt: attempt, MaxAttempts: 5, Backoff: core.Exponential(time.Second, time.Minute),
		})
		fmt.Println(v.Action, v.After, v.Err)
	}
	// Output:
	// attempt 1 of 5 for order 7
	// retry 1s mail server is busy
	// attempt 2 of 5 for order 7
	// done 0s <nil>
}

func ExampleMiddleware() {
	reg, err := core.NewRegistry(core.Handle(SendReceipt, func(context.Context, Receipt) error { return nil }))
	if err != nil {
		fmt.Println(err)
		return
	}
	logged := func(ctx context.Context, next func(context.Context) error) error {
		job, _ := core.JobFrom(ctx)
		err := next(ctx)
		fmt.Println(job.Task, job.ID, err)
		return err
	}
	if err := reg.Use(logged); err != nil {
		fmt.Println(err)
		return
	}
	reg.Perform(context.Background(), core.Delivery{ID: "receipt-7", Task: "email.receipt", Payload: []byte(`{}`)})
	// Output: email.receipt receipt-7 <nil>
}

func ExamplePermanent() {
	charge := core.NewTask("card.charge", func(ctx context.Context, cents int) error {
		if cents <= 0 {
			return core.Permanent(fmt.Errorf("nothing to charge: %d", cents))
		}
		return nil
	})
	in, _ := charge.Intent(-5)
	reg, _ := core.NewRegistry(charge.Handler())
	v := reg.Perform(context.Background(), in.Delivery())
	fmt.Println(v.Action, v.Err)
	// Output: dead nothing to charge: -5
}

func ExampleSnooze() {
	settle := core.NewTask("card.settle", func(ctx context.Context, id int) error {
		return core.Snooze(10 * time.Minute) // the bank is still at it
	}, core.MaxAttempts(1))
	in, _ := settle.Intent(7)
	reg, _ := core.NewRegistry(settle.Handler())
	v := reg.Perform(context.Background(), in.Delivery())
	fmt.Println(v.Action, v.After)
	// Output: snooze 10m0s
}

// An outbox of one's own stores the encoded intent with the data it belongs to.
func ExampleEncodeIntent() {
	in, _ := SendReceipt.Intent(Receipt{Order: 7}, core.ID("receipt-7"))
	row, err := core.EncodeIntent(in)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", row)

	back, err := core.DecodeIntent(row)
	fmt.Println(back, err)
	fmt.Printf("%s\n", back.Payload())
	// Output:
	// {"v":1,"id":"receipt-7","max_attempts":5,"task":"email.receipt","queue":"mail","payload":"eyJvcmRlciI6NywidG8iOiIifQ=="}
	// email.receipt receipt-7 on mail <nil>
	// {"order":7,"to":""}
}

func ExampleTask_Codec() {
	upload := core.DeclareTask[[]byte]("image.upload").Codec(core.Raw)
	in, err := upload.Intent([]byte{0x89, 'P', 'N', 'G'})
	fmt.Printf("%x %v\n", in.Payload(), err)
	// Output: 89504e47 <nil>
}
