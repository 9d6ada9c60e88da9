// Package outbox makes dispatch a part of a database transaction, for every
// executor. Intents are rows of a table, inserted in the caller's own transaction:
// they exist if and only if the transaction commits. A relay hands them to the
// executor afterwards.
//
//	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue.Execute, DB: outbox.SQL(db)})
//	err = airlocksql.RunTx(ctx, db, nil, queue.Execute, fn, airlocksql.Outbox(box))
//
//	relay, err := outbox.NewRelay(box, outbox.SQL(db), queue.Execute, nil)
//	err = relay.Run(ctx) // in any number of processes
//
// The package imports no driver. [SQL] adapts every handle of database/sql, and of
// libraries that have the same two methods. Package airlockpgx adapts pgx.
//
// # What is promised
//
// Every committed intent reaches the executor at least once, under the same ID. It
// is sent more than once only after a crash, after a lost answer, or when a lease
// has ended; the executor's ID window then makes it one job. See
// [RelayOptions.Ambiguous] for what happens after the end of that window.
//
// Rows of one queue are sent in the order of their transactions if these do not
// overlap, and in the order of dispatch within one transaction. Several relays, and
// rows that were not sent at the first attempt, can change that order. With
// [Options.Ordered] they cannot.
//
// # At once after COMMIT
//
// A [Held] belongs to one transaction. It stores the intents with a lease, so that
// no relay takes them, sends them from memory after the COMMIT in one call, and
// deletes the rows in the background. If the process dies in between, the lease
// ends and a relay sends the rows. airlocksql and airlockpgx use it. [Box.InTx] is
// for transactions of which nobody reports the COMMIT: a relay sends their rows.
//
// # Clocks
//
// Leases, delays and backoff use the database's clock. The clock of a process only
// measures durations, so it may be wrong by hours. An exception is what the intent
// itself holds: Delay and Deadline are times of the process that made the intent.
//
// # Databases
//
//	Postgres   PostgreSQL 12 or later
//	MySQL      MariaDB 10.6 or later and MySQL 8.0.1 or later, which have SKIP LOCKED, with InnoDB
//	SQLite     3.35 or later, which has RETURNING
//
// Tests run with the drivers pgx, lib/pq, go-sql-driver/mysql (on MariaDB),
// modernc.org/sqlite and mattn/go-sqlite3, and with transactions of sqlx, gorm and ent.
//
// docs/transactions.md compares the ways to dispatch around a transaction.
// docs/outbox.md is for operators.
package outbox
