// Package orders is the domain of the service. It knows no queue: it says which jobs
// follow from what it does.
package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

// The queues that the tasks name. Workers serve both.
const (
	OrderQueue = "orders"
	MailQueue  = "mail"
)

// Ref is the argument of both tasks. It names an order and holds nothing of it: a job
// may run much later, and then reads what is true then.
type Ref struct {
	Order string `json:"order"`
}

var (
	// Placed charges an order.
	Placed = core.DeclareTask[Ref]("order.placed", core.Queue(OrderQueue), core.MaxAttempts(10), core.Timeout(30*time.Second))
	// Receipt mails a receipt.
	Receipt = core.DeclareTask[Ref]("email.receipt", core.Queue(MailQueue), core.MaxAttempts(5), core.Timeout(10*time.Second))
)

// Tasks are the names of all tasks.
func Tasks() []string { return []string{Placed.Name(), Receipt.Name()} }

// Errors of the service.
var (
	ErrNoOrder = errors.New("no such order")
	ErrInvalid = errors.New("invalid order")
)

// Order is an order.
type Order struct {
	ID     string `json:"id"`
	Email  string `json:"email"`
	Cents  int64  `json:"cents"`
	Status string `json:"status"` // placed, paid
	// Receipts is how many were sent.
	Receipts int `json:"receipts"`
}

// Service is what the API and the workers do.
type Service struct {
	DB    *pgxpool.Pool
	Queue core.Executor
	Box   *outbox.Box
}

// Migrate makes the tables of the service and of the outbox.
func (s *Service) Migrate(ctx context.Context) error {
	_, err := s.DB.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, email text NOT NULL, cents bigint NOT NULL, status text NOT NULL DEFAULT 'placed');
		CREATE TABLE IF NOT EXISTS receipts (job_id text PRIMARY KEY, order_id text NOT NULL REFERENCES orders (id), sent timestamptz NOT NULL DEFAULT now())`)
	if err != nil {
		return err
	}
	return s.Box.CreateTable(ctx, airlockpgx.DB(s.DB))
}

// Place stores an order and the job that follows from it in one transaction: either
// both are there, or neither.
func (s *Service) Place(ctx context.Context, email string, cents int64) (Order, error) {
	if !strings.Contains(email, "@") || len(email) > 200 || cents <= 0 {
		return Order{}, fmt.Errorf("%w: want an email address and a number of cents above 0", ErrInvalid)
	}
	o := Order{ID: rand.Text(), Email: email, Cents: cents, Status: "placed"}
	err := airlockpgx.RunTx(ctx, s.DB, pgx.TxOptions{}, nil, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO orders (id, email, cents) VALUES ($1, $2, $3)", o.ID, o.Email, o.Cents); err != nil {
			return err
		}
		return airlock.Enqueue(ctx, Placed, Ref{o.ID})
	}, airlockpgx.Outbox(s.Box))
	return o, err
}

// SendReceiptAgain changes nothing in the database, so it needs no transaction. If the
// queue is away the caller gets an *airlock.FlushError.
func (s *Service) SendReceiptAgain(ctx context.Context, order string) error {
	o, err := s.Get(ctx, order)
	switch {
	case err != nil:
		return err
	case o.Status != "paid":
		return fmt.Errorf("%w that was paid", ErrNoOrder)
	}
	return airlock.Run(ctx, s.Queue, func(ctx context.Context) error { return airlock.Enqueue(ctx, Receipt, Ref{order}) })
}

// Get returns an order.
func (s *Service) Get(ctx context.Context, id string) (Order, error) {
	var o Order
	err := s.DB.QueryRow(ctx, `SELECT id, email, cents, status, (SELECT count(*) FROM receipts WHERE order_id = id) FROM orders WHERE id = $1`, id).
		Scan(&o.ID, &o.Email, &o.Cents, &o.Status, &o.Receipts)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, ErrNoOrder
	}
	return o, err
}

// charge runs Placed. It may run twice, and then changes nothing the second time. The
// receipt is enqueued in the same transaction as the status.
func (s *Service) charge(ctx context.Context, ref Ref) error {
	return airlockpgx.RunTx(ctx, s.DB, pgx.TxOptions{}, nil, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE orders SET status = 'paid' WHERE id = $1 AND status = 'placed'", ref.Order)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 1:
			return airlock.Enqueue(ctx, Receipt, ref)
		}
		var status string
		err = tx.QueryRow(ctx, "SELECT status FROM orders WHERE id = $1", ref.Order).Scan(&status)
		if errors.Is(err, pgx.ErrNoRows) {
			return worker.Permanent(ErrNoOrder) // no later run can help
		}
		return err // nil: it was paid in an earlier run
	}, airlockpgx.Outbox(s.Box))
}

// mail runs Receipt. The row represents the mail. It has the job's ID, which is the same
// in every run: a second run sends nothing.
func (s *Service) mail(ctx context.Context, ref Ref) error {
	job, _ := worker.JobFrom(ctx)
	_, err := s.DB.Exec(ctx, "INSERT INTO receipts (job_id, order_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", job.ID, ref.Order)
	return err
}

// Handlers are what a worker needs.
func (s *Service) Handlers() []worker.Part {
	return []worker.Part{worker.Handle(Placed, s.charge), worker.Handle(Receipt, s.mail)}
}
