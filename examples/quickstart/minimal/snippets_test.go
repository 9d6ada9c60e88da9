package main

import (
	"context"
	"database/sql"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/outbox"
)

func pay(ctx context.Context, db *sql.DB, box *outbox.Box, order string) error {
	return airlocksql.RunTx(ctx, db, nil, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", order); err != nil {
			return err
		}
		return airlock.Enqueue(ctx, SendReceipt, Receipt{Order: order}) // a row of tx
	}, airlocksql.Outbox(box)) // the nils: no *sql.TxOptions, and the executor is the box's
}

var _ = pay // the README shows it
