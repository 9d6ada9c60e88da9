// Package demo runs a small shop on several executors side by side. A ledger for
// each shows at the end that no job was lost, none ran twice, and none ran at the
// wrong time.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	"github.com/goairlock/airlock/examples/quickstart/staff"
)

// ErrInterrupted is returned by Serve if its context ended. The jobs that were sent
// have been waited for.
var ErrInterrupted = errors.New("interrupted")

// Serve checks out the orders on each executor of the options, waits for their jobs
// and prints a table. openers has every executor by name. When ctx ends, Serve checks
// out no more orders. Serve returns an error if a job was lost, ran twice or ran at the
// wrong time on one of the executors.
func Serve(ctx context.Context, opts *Options, openers map[string]Open, out, errOut io.Writer) error {
	orders, bad, err := readOrders(opts.Orders)
	if err != nil {
		return err
	}
	for _, err := range bad {
		fmt.Fprintln(errOut, err)
	}
	lines := &shared{w: out}
	defer context.AfterFunc(ctx, func() {
		fmt.Fprintln(lines, "Interrupted: no more orders. Waiting for the jobs that were sent. Interrupt again to end at once.")
	})()
	runs := make([]*Run, len(opts.Executors))
	for i, name := range opts.Executors {
		if runs[i], err = newRun(name, opts, lines); err != nil {
			return err
		}
	}
	for _, k := range opts.absent {
		fmt.Fprintf(lines, "%-9s joins with -%s URL\n", k.name, k.server)
	}
	results := serveAll(ctx, runs, orders, openers, lines)
	if err := printTable(lines, results); err != nil {
		return err
	}
	var errs []error
	for _, r := range results {
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.executor, adapter.Masked(r.err))) // clients quote a URL that they cannot parse
		}
	}
	if len(bad) > 0 {
		errs = append(errs, fmt.Errorf("%d orders were malformed and left out", len(bad)))
	}
	if ctx.Err() != nil {
		errs = append(errs, ErrInterrupted)
	}
	return errors.Join(errs...)
}

// newRun prepares a run, and prints what it is.
func newRun(executor string, opts *Options, out io.Writer) (*Run, error) {
	kind, _ := kindOf(executor)
	fmt.Fprintf(out, "%-9s %s\n", executor, kind.about)
	r := &Run{Options: opts, Ledger: NewLedger(), Out: io.Discard, QueueNames: map[string]string{}, name: executor}
	own := "quickstart-" + strings.ToLower(rand.Text()) + "-"
	for _, queue := range []string{"default", "mail", "warehouse"} {
		r.QueueNames[queue] = own + queue
	}
	if opts.Verbose {
		r.Out = out
		if len(opts.Executors) > 1 {
			r.Out = &prefixed{w: out, prefix: fmt.Sprintf("%-9s ", executor)}
		}
	}
	// What a job enqueues is sent only if the job succeeds. The queue is opened
	// after this, since it needs the registry.
	var err error
	r.Registry, err = staff.New(r.Out).Registry(r.Ledger.Works, airlock.Scoped(r.Ledger.Execute, r.Ledger.Enqueues()))
	return r, err
}

// serveAll carries out the runs at the same time, and prints how they are getting on.
func serveAll(ctx context.Context, runs []*Run, orders []shop.Order, openers map[string]Open, out io.Writer) []result {
	results := make([]result, len(runs))
	var group sync.WaitGroup
	for i, r := range runs {
		group.Go(func() { results[i] = r.serve(ctx, orders, openers[r.name]) })
	}
	done := make(chan struct{})
	var progress sync.WaitGroup
	progress.Go(func() {
		if !runs[0].Options.Verbose {
			printProgress(out, runs, done)
		}
	})
	group.Wait()
	close(done)
	progress.Wait()
	return results
}

// serve opens the executor, checks out the orders and waits for their jobs.
func (r *Run) serve(ctx context.Context, orders []shop.Order, open Open) (res result) {
	started := time.Now()
	res = result{executor: r.name, orders: len(orders)}
	defer func() { res.took = time.Since(started) }()
	q, err := open(ctx, r)
	if err != nil {
		res.err = err
		return res
	}
	r.Ledger.opened(q)

	// An interrupt ends the checkouts, but not the jobs that were sent.
	working, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Options.Wait)
	defer cancel()
	res.checkedOut, err = r.checkOut(ctx, working, q, orders)
	if err == nil && q.Sent != nil {
		err = q.Sent(working)
	}
	r.Ledger.await(working)
	if err == nil && q.Orders != nil {
		err = r.countOrders(working, q, res.checkedOut)
	}
	stopping, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancelStop()
	stopped := q.Stop(stopping)
	res.totals = r.Ledger.totals(r.Options.Late)
	res.err = errors.Join(err, stopped, res.totals.balanced())
	return res
}

// checkOut checks out the orders until ctx ends, and returns how many it has checked out.
func (r *Run) checkOut(ctx, working context.Context, q *Queue, orders []shop.Order) (checkedOut int, err error) {
	killed := false
	for i, order := range orders {
		if ctx.Err() != nil {
			break
		}
		now := "checked out"
		var err error
		if q.CheckOutKilled != nil && i >= len(orders)/2 && !killed {
			var enqueued int
			enqueued, err = q.CheckOutKilled(working, order)
			r.Ledger.Enqueued(enqueued)
			killed = err == nil
			now += " by a process that was killed after its COMMIT; a relay sends the jobs"
		} else {
			err = r.checkOutOne(working, q, order)
		}
		switch {
		case errors.Is(err, shop.ErrDeclined):
			fmt.Fprintf(r.Out, "order %s: %v, nothing leaves\n", order.ID, err)
		case err != nil:
			return checkedOut, fmt.Errorf("order %s: %w", order.ID, err)
		default:
			checkedOut++
			fmt.Fprintf(r.Out, "order %s: %s\n", order.ID, now)
		}
	}
	return checkedOut, nil
}

// checkOutOne checks out an order in a scope, and in a transaction if the queue has one.
func (r *Run) checkOutOne(ctx context.Context, q *Queue, order shop.Order) error {
	checkout := func(exec core.Executor) error {
		return airlock.Run(ctx, compose.Strip(r.Ledger.Dispatches(exec), q.Drops...), func(ctx context.Context) error {
			return shop.Checkout(ctx, order)
		}, r.Ledger.Enqueues())
	}
	if q.InTx != nil {
		return q.InTx(ctx, order.ID, checkout)
	}
	return checkout(q.Exec)
}

// countOrders compares the orders in the database with those that were checked out.
func (r *Run) countOrders(ctx context.Context, q *Queue, checkedOut int) error {
	stored, err := q.Orders(ctx)
	if err != nil {
		return err
	}
	if stored != checkedOut {
		return fmt.Errorf("%d orders are stored and %d were checked out", stored, checkedOut)
	}
	fmt.Fprintf(r.Out, "orders in the database: %d; none of a failed checkout\n", stored)
	return nil
}
