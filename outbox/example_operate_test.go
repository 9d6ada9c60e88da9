package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/outbox"
)

// One job that never arrived: where is it?
func ExampleInspector() {
	find := func(ctx context.Context, view *outbox.Inspector, id string) error {
		job, err := view.Get(ctx, "mail", id)
		switch {
		case errors.Is(err, inspect.ErrNotFound):
			fmt.Println("it has left the outbox: ask the queue")
			return nil
		case err != nil:
			return err
		}
		fmt.Println(job.State, job.Attempts, job.Error)
		if job.State == inspect.Dead {
			return view.Retry(ctx, "mail", id)
		}
		return nil
	}
	_ = find
}

// Rows that need a person. What may have been sent is looked up before it is sent again.
func ExampleRow() {
	rows := []outbox.Row{ // from Box.List
		{Seq: 7, ID: "receipt-7", Task: "email.receipt", Queue: "mail", Reason: "too large", Attempts: 1},
		{Seq: 9, ID: "charge-9", Task: "card.charge", Ambiguous: true, Reason: "connection lost", Attempts: 3},
	}
	var again []int64 // for Box.Retry
	for _, row := range rows {
		fmt.Println(row.Task, row.ID, row.Reason)
		if !row.Ambiguous {
			again = append(again, row.Seq)
		}
	}
	fmt.Println(again)
	// Output:
	// email.receipt receipt-7 too large
	// card.charge charge-9 connection lost
	// [7]
}

// The counts as metrics.
func ExampleStats() {
	write := func(s outbox.Stats) {
		for _, m := range []struct {
			state string
			rows  int64
		}{{"waiting", s.Waiting}, {"in_flight", s.InFlight}, {"dead", s.Dead}} {
			fmt.Printf("outbox_rows{state=%q} %d\n", m.state, m.rows)
		}
		fmt.Printf("outbox_oldest_seconds %g\n", s.Oldest.Seconds())
	}
	write(outbox.Stats{Waiting: 12, InFlight: 100, Oldest: 1500 * time.Millisecond})
	// Output:
	// outbox_rows{state="waiting"} 12
	// outbox_rows{state="in_flight"} 100
	// outbox_rows{state="dead"} 0
	// outbox_oldest_seconds 1.5
}
