package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/demo"
	"github.com/goairlock/airlock/examples/quickstart/shop"
)

// killedEnv makes this program the process that is killed in the middle.
const killedEnv = "AIRLOCK_QUICKSTART_KILLED"

// assignment is what that process has to do: check out one order.
type assignment struct {
	Shop  database
	Queue core.Capabilities
	Drops []core.OptionName
	Order shop.Order
}

// checkOutAndBeKilled checks out an order in a process that is killed as soon as the order
// is committed, before its jobs are sent. It returns how many jobs the order asked for.
func checkOutAndBeKilled(ctx context.Context, a assignment) (enqueued int, err error) {
	input, err := json.Marshal(a)
	if err != nil {
		return 0, err
	}
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), killedEnv+"=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(input)), os.Stderr
	output, err := cmd.Output()
	line, _, _ := strings.Cut(string(output), "\n")
	if _, scanErr := fmt.Sscanf(line, "asked for %d jobs", &enqueued); scanErr != nil {
		return 0, errors.Join(fmt.Errorf("the process that is killed in the middle: %w", scanErr), err)
	}
	if err == nil { // it was not killed
		return enqueued, shop.ErrDeclined
	}
	return enqueued, nil
}

// beKilled is the program of that process.
func beKilled(ctx context.Context, _ []string, out, _ io.Writer) error {
	ctx = context.WithoutCancel(ctx) // an interrupt is for the program that started this one
	var a assignment
	if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&a); err != nil {
		return err
	}
	dies := adapter.Guard(a.Queue, func(context.Context, ...core.Intent) error { return die() })
	db, box, err := a.Shop.open(dies)
	if err != nil {
		return err
	}
	defer db.Close()
	book := demo.NewLedger()
	err = storeOrder(ctx, db, box, a.Shop, a.Order.ID, func(exec core.Executor) error {
		err := airlock.Run(ctx, compose.Strip(exec, a.Drops...), func(ctx context.Context) error { return shop.Checkout(ctx, a.Order) }, book.Enqueues())
		fmt.Fprintf(out, "asked for %d jobs\n", book.NumEnqueued())
		return err
	})
	switch {
	case errors.Is(err, shop.ErrDeclined):
		return nil
	case err != nil:
		return err
	}
	return die() // on a busy machine the lease may be over, and then the jobs are left to a relay
}

// die kills this process.
func die() error {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		return err
	}
	select {}
}
