package outbox_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// A transaction that the program begins and ends itself. airlocksql.RunTx with the
// option airlocksql.Outbox does all of this, and sends after the COMMIT.
func ExampleBox_InTx() {
	pay := func(ctx context.Context, db *sql.DB, box *outbox.Box, order string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", order); err != nil {
			return err
		}
		err = airlock.Run(ctx, box.InTx(outbox.SQL(tx)), func(ctx context.Context) error {
			return airlock.Enqueue(ctx, task, order)
		})
		if err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		box.Wake()
		return nil
	}
	_ = pay
}

// A relay, in the process that writes or in one of its own.
func ExampleRelay_Run() {
	work := func(ctx context.Context, db *sql.DB, queue core.Executor) {
		box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue, DB: outbox.SQL(db)})
		if err != nil {
			log.Fatal(err)
		}
		if err := box.CreateTable(ctx, outbox.SQL(db)); err != nil {
			log.Fatal(err)
		}
		relay, err := outbox.NewRelay(box, outbox.SQL(db), queue, nil)
		if err != nil {
			log.Fatal(err)
		}
		if err := relay.Run(ctx); err != nil { // until ctx ends
			log.Fatal(err)
		}
	}
	_ = work
}
