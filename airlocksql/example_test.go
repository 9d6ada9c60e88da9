package airlocksql_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/core"
)

var sendReceipt = core.DeclareTask[string]("email.receipt")

func ExampleRunTx() {
	db := sql.OpenDB(new(scripted)) // your database
	defer db.Close()
	queue := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error { // your queue
		fmt.Println("after the commit:", in.Task)
		return nil
	})
	err := airlocksql.RunTx(context.Background(), db, nil, queue, func(ctx context.Context, tx *sql.Tx) error {
		// tx.ExecContext(ctx, "UPDATE orders SET paid = true WHERE id = $1", "A-1")
		return airlock.Enqueue(ctx, sendReceipt, "A-1")
	})
	fmt.Println(err)
	// Output:
	// after the commit: email.receipt
	// <nil>
}
