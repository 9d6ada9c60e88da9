// Quickstart is a small shop that checks out orders from a JSON file. What each
// order causes leaves only if its checkout succeeds; at the end a ledger tells
// that nothing was lost and nothing done twice.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -executor sync -orders my-orders.json
//	go run ./examples/quickstart -executor river
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	"github.com/goairlock/airlock/examples/quickstart/staff"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(errOut)
	name := flags.String("executor", executors[0].name, "how the work is done:"+describeExecutors())
	file := flags.String("orders", "", "JSON file of orders, - for the standard input (default: a sample)")
	wait := flags.Duration("wait", time.Minute, "how long to wait for the work to be done")
	for _, e := range executors {
		if e.flags != nil {
			e.flags(flags)
		}
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	chosen, err := findExecutor(*name)
	if err != nil {
		return err
	}
	orders, bad, err := readOrders(*file)
	if err != nil {
		return err
	}
	for _, err := range bad {
		fmt.Fprintln(errOut, err)
	}
	ctx = context.WithValue(ctx, flagsKey{}, flags)
	if err := serve(ctx, chosen, orders, *wait, out); err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d orders were malformed and left out", len(bad))
	}
	return nil
}

// serve checks the orders out and waits for all that they cause.
func serve(ctx context.Context, chosen executor, orders []shop.Order, wait time.Duration, out io.Writer) (err error) {
	out = &shared{w: out} // workers write to it beside us
	reg, err := staff.New(out).Registry()
	if err != nil {
		return err
	}
	q, err := chosen.open(ctx, reg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer func() { err = errors.Join(err, q.stop(ctx)) }()

	book := newLedger(q.late)
	exec := book.dispatches(q.exec)
	// What a job enqueues leaves only if the job succeeds.
	if err := reg.Use(book.work, airlock.Scoped(exec, book.enqueues())); err != nil {
		return err
	}

	started, checkedOut := time.Now(), 0
	for _, order := range orders {
		checkout := func(exec core.Executor) error {
			return airlock.Run(ctx, book.dispatches(exec), func(ctx context.Context) error {
				return shop.Checkout(ctx, order)
			}, book.enqueues())
		}
		var err error
		if q.inTx != nil {
			err = q.inTx(ctx, order.ID, checkout)
		} else {
			err = checkout(q.exec)
		}
		switch {
		case errors.Is(err, shop.ErrDeclined):
			fmt.Fprintf(out, "order %s: %v, nothing leaves\n", order.ID, err)
		case err != nil:
			return fmt.Errorf("order %s: %w", order.ID, err)
		default:
			checkedOut++
			fmt.Fprintf(out, "order %s: checked out\n", order.ID)
		}
	}
	waited := book.await(ctx)
	sums := book.totals()
	if q.orders != nil {
		stored, err := q.orders(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "orders in the database: %d; %d were rolled back\n", stored, len(orders)-stored)
		if stored != checkedOut {
			return fmt.Errorf("%d orders are stored and %d were checked out", stored, checkedOut)
		}
	}
	if err := sums.print(out, chosen.name, len(orders), checkedOut, time.Since(started)); err != nil {
		return err
	}
	if waited != nil {
		return waited
	}
	return sums.balanced()
}

// shared is a writer for many goroutines.
type shared struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
