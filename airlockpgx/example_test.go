package airlockpgx_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

var sendReceipt = core.DeclareTask[string]("email.receipt")

func ExampleRunTx() {
	checkout := func(ctx context.Context, pool *pgxpool.Pool, queue core.Executor, box *outbox.Box, order string) error {
		return airlockpgx.RunTx(ctx, pool, pgx.TxOptions{}, queue, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "UPDATE orders SET paid = true WHERE id = $1", order); err != nil {
				return err
			}
			return airlock.Enqueue(ctx, sendReceipt, order)
		}, airlockpgx.Outbox(box))
	}
	_ = checkout
}

// A relay in a process of its own.
func ExampleDB() {
	relay := func(ctx context.Context, pool *pgxpool.Pool, queue core.Executor) {
		box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue, DB: airlockpgx.DB(pool)})
		if err != nil {
			log.Fatal(err)
		}
		relay, err := outbox.NewRelay(box, airlockpgx.DB(pool), queue, nil)
		if err != nil {
			log.Fatal(err)
		}
		if err := relay.Run(ctx); err != nil { // until ctx ends
			log.Fatal(err)
		}
	}
	_ = relay
}
