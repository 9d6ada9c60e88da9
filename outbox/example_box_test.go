package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/goairlock/airlock/airlocktest"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

// A box can be asked without a database, as every executor can.
func ExampleNew() {
	var queue airlocktest.Recorder // in place of the executor of a real queue
	box, err := outbox.New(outbox.Postgres, &outbox.Options{For: queue.Execute, Destination: "mail"})
	if err != nil {
		fmt.Println(err)
		return
	}
	caps := box.Capabilities()
	fmt.Println(box.Destination(), caps.Options[core.OptionUnique].Support)

	receipt := core.DeclareTask[string]("email.receipt")
	in, err := receipt.Intent("A-1", core.NativeOption("asynq", "anything"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(caps.Check(in)) // a table cannot hold a Go value
	// Output:
	// mail native
	// airlock: recorder refuses option native: it is for asynq only
}

// Jobs of one customer are sent in the order in which they were stored.
func ExampleOptions() {
	opts := outbox.Options{
		Ordered:   true,
		Partition: func(in core.Intent) string { return in.Headers().Get("customer") },
	}
	send := core.DeclareTask[string]("invoice.send")
	in, err := send.Intent("2026-117", core.Header("customer", "ada"))
	fmt.Println(opts.Partition(in), err)
	// Output:
	// ada <nil>
}

// What an alert looks at.
func ExampleBox_Stats() {
	alert := func(ctx context.Context, db *sql.DB, box *outbox.Box) (string, error) {
		s, err := box.Stats(ctx, outbox.SQL(db))
		switch {
		case err != nil:
			return "", err
		case s.Oldest > 5*time.Minute:
			return "no relay works, or the queue takes nothing", nil
		case s.Dead+s.Ambiguous > 0:
			return "a person has to decide", nil
		}
		return "", nil
	}
	_ = alert
}

// The dead rows of a queue, and all of one task sent again.
func ExampleNewInspector() {
	retry := func(ctx context.Context, db *sql.DB, box *outbox.Box) error {
		view, err := outbox.NewInspector(box, outbox.SQL(db))
		if err != nil {
			return err
		}
		dead, err := view.List(ctx, inspect.Query{Queue: "mail", State: inspect.Dead, Limit: 100})
		if err != nil {
			return err
		}
		for _, job := range dead.Jobs {
			fmt.Println(job.Task, job.ID, job.Error)
		}
		_, err = view.RetryAll(ctx, inspect.Selection{Queue: "mail", Task: "email.receipt", Limit: 100})
		return err
	}
	_ = retry
}
