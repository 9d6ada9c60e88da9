package core_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

type Receipt struct {
	Order int    `json:"order"`
	To    string `json:"to"`
}

// SendReceipt is declared in domain code, which does not know the handler.
var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5), core.Queue("mail"))

func ExampleDeclareTask() {
	in, err := SendReceipt.Intent(Receipt{Order: 7, To: "ada@example.com"}, core.ID("receipt-7"), core.Priority(8))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(in) // does not show the payload
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

// Check asks an executor what it would refuse. Nothing is dispatched.
func ExampleExecutor_Check() {
	caps := core.Capabilities{
		Executor: "paper",
		Options: map[core.OptionName]core.Claim{
			core.OptionMaxAttempts: {Support: core.SupportNative, Most: 3},
			core.OptionQueue:       {Support: core.SupportNotApplicable, Reason: "there is one printer"},
		},
	}
	exec := adapter.Guard(caps, func(ctx context.Context, intents ...core.Intent) error {
		fmt.Println("printing")
		return nil
	})
	in, _ := SendReceipt.Intent(Receipt{Order: 7})
	err := exec.Check(context.Background(), in)
	fmt.Println(err)
	fmt.Println(errors.Is(err, core.ErrUnsupported))

	few, _ := in.With(core.MaxAttempts(2))
	fmt.Println(exec.Check(context.Background(), few))
	// Output:
	// airlock: paper refuses option max-attempts: 5, it takes at most 3
	// true
	// <nil>
}

func ExampleTask_Codec() {
	upload := core.DeclareTask[[]byte]("image.upload").Codec(core.Raw)
	in, err := upload.Intent([]byte{0x89, 'P', 'N', 'G'})
	fmt.Printf("%x %v\n", in.Payload(), err)
	// Output: 89504e47 <nil>
}
