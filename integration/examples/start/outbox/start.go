// Package start is the code of docs/start/outbox.md.
package start

import (
	"context"
	"database/sql"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

var SendReceipt = core.DeclareTask[string]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))

func Open(ctx context.Context, db *sql.DB, queue core.Executor) (*outbox.Box, error) { // once, when the program starts
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue, DB: outbox.SQL(db)})
	if err != nil {
		return nil, err
	}
	return box, box.CreateTable(ctx, outbox.SQL(db)) // or put the text of outbox.Schema into your migrations
}

func Produce(ctx context.Context, db *sql.DB, box *outbox.Box, order string) error {
	return airlocksql.RunTx(ctx, db, nil, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", order); err != nil {
			return err
		}
		return airlock.Enqueue(ctx, SendReceipt, order) // a row of the same transaction
	}, airlocksql.Outbox(box))
}

func Relay(ctx context.Context, db *sql.DB, box *outbox.Box, queue core.Executor) error {
	relay, err := outbox.NewRelay(box, outbox.SQL(db), queue, nil)
	if err != nil {
		return err
	}
	return relay.Run(ctx) // works until ctx ends
}
