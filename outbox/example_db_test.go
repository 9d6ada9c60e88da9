package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// printedTx is a transaction that prints what it is asked to do.
type printedTx struct{}

func (printedTx) Exec(_ context.Context, query string, _ ...any) (int64, error) {
	verb, _, _ := strings.Cut(query, "(")
	fmt.Println(strings.TrimSpace(verb))
	return 1, nil
}

func (printedTx) Query(context.Context, string, ...any) (outbox.Rows, error) {
	return nil, errors.New("printedTx: no rows")
}

// A type with two methods makes an outbox of a library that is not database/sql.
func ExampleTx() {
	var queue airlocktest.Recorder // in place of the executor of a real queue
	box, err := outbox.New(outbox.MySQL, &outbox.Options{For: queue.Execute})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = airlock.Run(context.Background(), box.InTx(printedTx{}), func(ctx context.Context) error {
		return airlock.Enqueue(ctx, core.DeclareTask[string]("email.receipt"), "A-1")
	})
	fmt.Println(err, len(queue.Intents())) // a relay sends it after the COMMIT
	// Output:
	// INSERT INTO `airlock_outbox`
	// <nil> 0
}

// printedDB is the database that printedTx belongs to.
type printedDB struct{ printedTx }

func (d printedDB) Transact(_ context.Context, fn func(tx outbox.Tx) error) error {
	fmt.Println("BEGIN")
	if err := fn(d.printedTx); err != nil {
		fmt.Println("ROLLBACK")
		return err
	}
	fmt.Println("COMMIT")
	return nil
}

// A DB is a Tx that can also begin a transaction. A Tx must not have that method:
// an outbox takes it for a whole database then.
func ExampleDB() {
	var queue airlocktest.Recorder
	box, err := outbox.New(outbox.MySQL, &outbox.Options{For: queue.Execute})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	var db outbox.DB = printedDB{}
	err = db.Transact(ctx, func(tx outbox.Tx) error {
		return airlock.Run(ctx, box.InTx(tx), func(ctx context.Context) error {
			return airlock.Enqueue(ctx, core.DeclareTask[string]("email.receipt"), "A-1")
		})
	})
	fmt.Println(err)
	// Output:
	// BEGIN
	// INSERT INTO `airlock_outbox`
	// COMMIT
	// <nil>
}

// libraryRows are the rows of a library whose Close returns nothing.
type libraryRows struct{ numbers []int64 }

func (r *libraryRows) Next() bool { return len(r.numbers) > 0 }
func (r *libraryRows) Err() error { return nil }
func (r *libraryRows) Close()     {}
func (r *libraryRows) Scan(dest ...any) error {
	*dest[0].(*int64), r.numbers = r.numbers[0], r.numbers[1:]
	return nil
}

// adaptedRows have the methods that an outbox needs.
type adaptedRows struct{ *libraryRows }

func (r adaptedRows) Close() error {
	r.libraryRows.Close()
	return r.Err()
}

// The adapter of a library adapts its rows too.
func ExampleRows() {
	var rows outbox.Rows = adaptedRows{&libraryRows{numbers: []int64{7, 8}}}
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(n)
	}
	fmt.Println(rows.Err(), rows.Close())
	// Output:
	// 7
	// 8
	// <nil> <nil>
}

// With a transaction, a job exists if and only if it commits. With the database
// itself, each dispatch is a transaction of its own.
func ExampleSQL() {
	var queue airlocktest.Recorder
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue.Execute})
	if err != nil {
		fmt.Println(err)
		return
	}
	db, tx := new(sql.DB), new(sql.Tx) // those of sql.Open and BeginTx
	for _, handle := range []outbox.SQLHandle{tx, db} {
		caps, _ := box.InTx(outbox.SQL(handle)).Capabilities()
		fmt.Printf("%T: %v\n", handle, caps.Transactional)
	}
	// Output:
	// *sql.Tx: true
	// *sql.DB: false
}

// tracedTx is a transaction of an application, with a line for each statement. It
// embeds *sql.Tx: a handle without the method Commit counts as a whole database.
type tracedTx struct{ *sql.Tx }

func (t tracedTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	fmt.Println("exec", len(query), "bytes")
	return t.Tx.ExecContext(ctx, query, args...)
}

func ExampleSQLHandle() {
	var queue airlocktest.Recorder
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue.Execute})
	if err != nil {
		fmt.Println(err)
		return
	}
	caps, _ := box.InTx(outbox.SQL(tracedTx{new(sql.Tx)})).Capabilities()
	fmt.Println("transactional:", caps.Transactional)
	// Output: transactional: true
}

// The end of a transaction that a package for another library writes. airlocksql
// does this for database/sql.
func ExampleHeld() {
	runTx := func(ctx context.Context, db *sql.DB, box *outbox.Box, fn func(context.Context, *sql.Tx) error) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		held := box.Hold(outbox.SQL(tx))
		err = airlock.Run(ctx, held.Execute, func(ctx context.Context) error { return fn(ctx, tx) })
		if err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err // what may be stored is sent by a relay
		}
		held.Committed(ctx)
		return nil
	}
	_ = runTx
}
