package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	syncexec "github.com/goairlock/airlock/executors/sync"
)

// Domain code says what should happen: no queue and no handler in sight.

type Receipt struct {
	Order string `json:"order"`
}

var SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.MaxAttempts(5))

func Checkout(ctx context.Context, order, card string) error {
	if err := airlock.Enqueue(ctx, SendReceipt, Receipt{Order: order}, core.Queue("mail")); err != nil {
		return err
	}
	if card == "declined" {
		return errors.New("card declined") // the receipt never leaves
	}
	return nil
}

// Wiring says who does it, and where.

func sendMail(_ context.Context, r Receipt) error {
	fmt.Println("mail: receipt for order", r.Order)
	return nil
}

func main() {
	reg, err := core.NewRegistry(core.Handle(SendReceipt, sendMail))
	if err != nil {
		log.Fatal(err)
	}
	queue, err := syncexec.New(&syncexec.Options{Registry: reg}) // or any other executor
	if err != nil {
		log.Fatal(err)
	}
	exec := compose.WithRetry(queue.Execute, compose.Retry{Attempts: 3})

	for order, card := range map[string]string{"A-1": "good", "A-2": "declined"} {
		err := airlock.Run(context.Background(), exec, func(ctx context.Context) error {
			return Checkout(ctx, order, card)
		})
		fmt.Println("order", order, "error:", err)
	}
}
