package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/outbox"
)

// An intent that may have been sent becomes a second job if the queue no longer
// remembers its ID. Mail can go out twice. Payments wait for a person.
func ExampleAmbiguous() {
	rule := func(destination string) outbox.Ambiguous {
		if destination == "payments" {
			return outbox.Hold
		}
		return outbox.Resend
	}
	fmt.Println(rule("mail"), rule("payments"))
	// Output: resend hold
}

// The dialect decides what the statements look like.
func ExampleDialect() {
	dialects := map[string]outbox.Dialect{ // by the name of a driver
		"pgx": outbox.Postgres, "postgres": outbox.Postgres, "mysql": outbox.MySQL, "sqlite": outbox.SQLite,
	}
	for _, driver := range []string{"pgx", "mysql", "oracle"} {
		text, err := outbox.Schema(dialects[driver], "jobs")
		fmt.Println(driver, text != "", errors.Is(err, core.ErrInvalid))
	}
	// Output:
	// pgx true false
	// mysql true false
	// oracle false true
}

// The rows of the old queue go to the new one: the new box has the old destination.
func ExampleNewRelay() {
	accept := func(context.Context, ...core.Intent) error { return nil }
	old := adapter.Guard(core.Capabilities{Executor: "asynq"}, accept)
	next := adapter.Guard(core.Capabilities{Executor: "nats"}, accept)
	db := outbox.SQL(new(sql.DB)) // that of sql.Open

	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: old})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = outbox.NewRelay(box, db, next, nil) // the rows were checked for the other one
	fmt.Println(err)

	box, err = outbox.New(outbox.Postgres, &outbox.Options{For: next, Destination: box.Destination()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = outbox.NewRelay(box, db, next, nil)
	fmt.Println(box.Destination(), err)
	// Output:
	// airlock: outbox: the relay's executor is nats, the rows are checked for asynq: invalid
	// asynq <nil>
}

// Mistakes are found when the relay is made.
func ExampleRelayOptions() {
	accept := func(context.Context, ...core.Intent) error { return nil }
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: accept})
	if err != nil {
		fmt.Println(err)
		return
	}
	opts := &outbox.RelayOptions{
		Poll:         5 * time.Second, // a COMMIT of this process wakes the relay earlier
		Batch:        5000,
		StalledAfter: time.Minute,
		Ambiguous:    outbox.Hold,
	}
	_, err = outbox.NewRelay(box, outbox.SQL(new(sql.DB)), accept, opts)
	fmt.Println(err)
	opts.Batch = 500
	_, err = outbox.NewRelay(box, outbox.SQL(new(sql.DB)), accept, opts)
	fmt.Println(err)
	// Output:
	// airlock: outbox: RelayOptions.Batch is 5000, want 1 to 1000: invalid
	// <nil>
}

// RelayOptions.Observer gets a report after each claim.
func ExampleReport() {
	observe := func(r outbox.Report) {
		fmt.Printf("sent=%d returned=%d\n", r.Accepted+r.Duplicates, r.Returned)
		if r.Dead+r.Held > 0 {
			fmt.Println("a person has to decide about", r.Dead+r.Held)
		}
		if r.Stalled > 0 {
			fmt.Println("stalled for", r.Stalled)
		}
	}
	observe(outbox.Report{Claimed: 10, Accepted: 9, Dead: 1})
	observe(outbox.Report{Claimed: 10, Returned: 10, Stalled: 6 * time.Minute, Err: core.ErrUnavailable})
	// Output:
	// sent=9 returned=0
	// a person has to decide about 1
	// sent=0 returned=10
	// stalled for 6m0s
}
