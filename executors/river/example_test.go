package riverexec_test

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	riverexec "github.com/goairlock/airlock/executors/river"
)

// SendReceipt is declared in the domain, where nobody knows of River.
var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"))

func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()

	// One client both inserts and works; most programs have two.
	reg, err := core.NewRegistry(core.Handle(SendReceipt, func(ctx context.Context, to string) error {
		fmt.Println("receipt for", to)
		return nil
	}))
	if err != nil {
		panic(err)
	}
	workers := river.NewWorkers() // the program's own typed workers go here, too
	if err := riverexec.AddWorkers(workers, reg); err != nil {
		panic(err)
	}
	config := &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{"mail": {MaxWorkers: 10}}}
	if err := riverexec.Configure(config); err != nil {
		panic(err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		panic(err)
	}
	if err := client.Start(ctx); err != nil {
		panic(err)
	}
	defer client.Stop(ctx)

	exec, err := riverexec.New(client, nil)
	if err != nil {
		panic(err)
	}
	in, err := SendReceipt.Intent("ada@example.org")
	if err != nil {
		panic(err)
	}
	if err := exec.Execute(ctx, in); err != nil {
		panic(err)
	}
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
