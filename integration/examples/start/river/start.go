// Package start is the code of docs/start/river.md.
package start

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Migrate(ctx context.Context, pool *pgxpool.Pool) error { // or from a shell: river migrate-up
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func Connect(pool *pgxpool.Pool) (*riverexec.Executor[pgx.Tx], error) {
	config := &river.Config{}
	if err := riverexec.ConfigureClient(config); err != nil { // before the client is made
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return nil, err
	}
	return riverexec.New(client, nil)
}

func Produce(ctx context.Context, pool *pgxpool.Pool, queue *riverexec.Executor[pgx.Tx], order string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { // your own writes go through tx
		return airlock.Run(ctx, riverexec.InTx(queue, tx), func(ctx context.Context) error {
			return airlock.Enqueue(ctx, SendReceipt, order)
		})
	})
}

func Work(ctx context.Context, pool *pgxpool.Pool, send func(context.Context, string) error) error {
	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, send))
	if err != nil {
		return err
	}
	w, err := riverexec.NewWorker(riverpgxv5.New(pool), reg, &riverexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		return err
	}
	return w.Run(ctx) // works until ctx ends, then drains
}
