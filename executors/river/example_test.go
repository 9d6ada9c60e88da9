package riverexec_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// SendReceipt is declared in the domain, which knows nothing of River.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"))

// The program that dispatches.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()

	config := &river.Config{}
	if err := riverexec.ConfigureClient(config); err != nil {
		panic(err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		panic(err)
	}
	exec, err := riverexec.New(client, nil)
	if err != nil {
		panic(err)
	}
	if err := exec.CheckServer(ctx); err != nil {
		panic(err)
	}
	err = airlock.Run(ctx, exec.Execute, func(ctx context.Context) error {
		return airlock.Enqueue(ctx, SendReceipt, "ada@example.org")
	})
	if err != nil {
		panic(err)
	}
}

// The program that works.
func ExampleNewWorker() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()

	reg, err := worker.NewRegistry(worker.Handle(SendReceipt, func(ctx context.Context, to string) error {
		fmt.Println("receipt for", to)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	w, err := riverexec.NewWorker(riverpgxv5.New(pool), reg, &riverexec.WorkerOptions{Concurrency: 20})
	if err != nil {
		panic(err)
	}
	if err := w.Run(ctx); err != nil { // works until ctx ends, then drains
		panic(err)
	}
}

// A client that works native jobs as well.
func ExampleAddWorkers() {
	setup := func(pool *pgxpool.Pool, reg *worker.Registry, native *river.Workers) (*river.Client[pgx.Tx], error) {
		config := &river.Config{
			Workers: native,
			Queues:  map[string]river.QueueConfig{"mail": {MaxWorkers: 10}},
		}
		if err := riverexec.AddWorkers(config, reg, nil); err != nil {
			return nil, err
		}
		if err := riverexec.ConfigureClient(config); err != nil { // for riverexec.New with this client
			return nil, err
		}
		return river.NewClient(riverpgxv5.New(pool), config)
	}
	_ = setup
}

// The order and its jobs exist together or not at all.
func ExampleInTx() {
	checkout := func(ctx context.Context, pool *pgxpool.Pool, exec *riverexec.Executor[pgx.Tx], id string) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			return airlock.Run(ctx, riverexec.InTx(exec, tx), func(ctx context.Context) error {
				if _, err := tx.Exec(ctx, "INSERT INTO orders (id) VALUES ($1)", id); err != nil {
					return err
				}
				return airlock.Enqueue(ctx, SendReceipt, id)
			})
		})
	}
	_ = checkout
}

// The handler's data and the completion of its job are committed together, so the
// handler's work is never done twice.
func ExampleCompleteTx() {
	handler := func(pool *pgxpool.Pool) func(context.Context, string) error {
		return func(ctx context.Context, order string) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "UPDATE stock SET count = count - 1 WHERE article = $1", order); err != nil {
					return err
				}
				return riverexec.CompleteTx(ctx, tx)
			})
		}
	}
	_ = handler
}
