// Package service is an order service in the shape of production: an API, a worker, and
// what both need. See README.md.
package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/examples/service/orders"
	"github.com/goairlock/airlock/examples/service/queue"
	"github.com/goairlock/airlock/examples/service/telemetry"
	"github.com/goairlock/airlock/otelairlock"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

// Config is the environment of a process.
type Config struct {
	DatabaseURL string
	Queue       string // see queue.Names
	QueueURL    string
	Logger      *slog.Logger
}

// Process is what the API and the worker have in common.
type Process struct {
	Orders    *orders.Service
	Queue     *queue.Queue
	Telemetry *otelairlock.Telemetry
	ends      []func(context.Context) error
}

// Open connects a process to its database and its queue, and makes the tables.
func Open(ctx context.Context, c Config) (_ *Process, err error) {
	p := &Process{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}()
	pool, err := pgxpool.New(ctx, c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, func(context.Context) error { pool.Close(); return nil })
	unlock, err := lock(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer unlock()
	p.Queue, err = queue.Open(ctx, c.Queue, queue.Config{
		URL: c.QueueURL, DB: pool, Queues: []string{orders.OrderQueue, orders.MailQueue}, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, func(context.Context) error { p.Queue.Close(); return nil })
	tel, stop, err := telemetry.New(c.Queue, c.Logger)
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, stop)
	p.Telemetry = tel
	exec := tel.Executor(p.Queue.Executor)
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: exec, Destination: "orders", DB: airlockpgx.DB(pool), Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	p.ends = append(p.ends, box.Close)
	p.Orders = &orders.Service{DB: pool, Queue: exec, Box: box}
	if err := p.Queue.Check(ctx); err != nil { // a warning: an operator decides
		c.Logger.WarnContext(ctx, "the queue's server may lose jobs", "error", err)
	}
	return p, p.Orders.Migrate(ctx)
}

// lock lets one process at a time make tables: several start together. The lock ends
// with its connection.
func lock(ctx context.Context, pool *pgxpool.Pool) (unlock func(), err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(4711)"); err != nil {
		conn.Release()
		return nil, err
	}
	return func() { _ = conn.Hijack().Close(context.WithoutCancel(ctx)) }, nil
}

// Ready says whether the database answers.
func (p *Process) Ready(ctx context.Context) error { return p.Orders.DB.Ping(ctx) }

// Close ends what Open has opened, the last first.
func (p *Process) Close(ctx context.Context) error {
	var errs []error
	for _, end := range slices.Backward(p.ends) {
		errs = append(errs, end(ctx))
	}
	return errors.Join(errs...)
}

// Workers returns the worker of the jobs, and the relay that sends what the API has
// committed and not sent itself.
func (p *Process) Workers() (jobs queue.Runner, relay *outbox.Relay, err error) {
	parts := append([]worker.Part{p.Telemetry.Middleware(), p.Telemetry.Observer()}, p.Orders.Handlers()...)
	reg, err := worker.NewRegistry(parts...)
	if err != nil {
		return nil, nil, err
	}
	if jobs, err = p.Queue.Worker(reg, []string{orders.OrderQueue, orders.MailQueue}); err != nil {
		return nil, nil, err
	}
	relay, err = outbox.NewRelay(p.Orders.Box, airlockpgx.DB(p.Orders.DB), p.Orders.Queue, nil)
	return jobs, relay, err
}
