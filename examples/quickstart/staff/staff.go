// Package staff does the work: one method per task of the shop.
package staff

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	"github.com/goairlock/airlock/worker"
)

// Staff writes down what it does. It is safe for concurrent use.
type Staff struct {
	mu  sync.Mutex
	out io.Writer // guarded by mu
}

// New returns staff that reports to out.
func New(out io.Writer) *Staff { return &Staff{out: out} }

// Registry joins the shop's tasks with those who do them, inside of middleware.
func (s *Staff) Registry(middleware ...worker.Middleware) (*worker.Registry, error) {
	parts := []worker.Part{
		worker.Handle(shop.SendReceipt, s.sendReceipt),
		worker.Handle(shop.PickOrder, s.pickOrder),
		worker.Handle(shop.PrintLabel, s.printLabel),
		worker.Handle(shop.AskReview, s.askReview),
	}
	for _, m := range middleware {
		parts = append(parts, m)
	}
	return worker.NewRegistry(parts...)
}

func (s *Staff) report(ctx context.Context, format string, args ...any) error {
	job, _ := worker.JobFrom(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := fmt.Fprintf(s.out, "  %-16s %s\n", job.Task, fmt.Sprintf(format, args...))
	return err
}

func (s *Staff) sendReceipt(ctx context.Context, r shop.Receipt) error {
	return s.report(ctx, "order %s: %d.%02d EUR, to %s", r.Order, r.Cents/100, r.Cents%100, r.Customer)
}

// pickOrder asks for a label, which leaves only if the picking succeeds.
func (s *Staff) pickOrder(ctx context.Context, p shop.Pick) error {
	if err := airlock.Enqueue(ctx, shop.PrintLabel, shop.Label{Order: p.Order}); err != nil {
		return err
	}
	pieces := 0
	for _, l := range p.Lines {
		pieces += l.Quantity
	}
	return s.report(ctx, "order %s: pieces to pick: %d", p.Order, pieces)
}

func (s *Staff) printLabel(ctx context.Context, l shop.Label) error {
	return s.report(ctx, "order %s", l.Order)
}

func (s *Staff) askReview(ctx context.Context, r shop.Review) error {
	return s.report(ctx, "order %s: how was it, %s?", r.Order, r.Customer)
}
