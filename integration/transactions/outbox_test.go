package transactions_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/goairlock/airlock/airlocksql"
	"github.com/goairlock/airlock/outbox"
)

// With an outbox a COMMIT of unknown fate needs nothing from the caller: nothing is
// sent from memory, and the relay sends what is in the table.
func TestAfterACommitOfUnknownFateARelaySendsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	w := setup(t)
	db := outbox.SQL(w.db)
	box, err := outbox.New(outbox.SQLite, &outbox.Options{For: w.rec.Execute, DB: db, Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := box.CreateTable(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	w.afterCommit = func() error { return io.ErrUnexpectedEOF }
	err = airlocksql.RunTx(t.Context(), w.db, nil, nil, pay, airlocksql.Outbox(box))
	var ce *airlocksql.CommitError
	if !errors.As(err, &ce) || !ce.Stored || len(ce.Intents) != 1 {
		t.Fatalf("error %v, want a CommitError with what is stored", err)
	}
	w.afterCommit = nil
	w.want(t, 1, 0) // committed after all, and nothing was sent from memory
	ctx, cancel := context.WithCancel(t.Context())
	relay, err := outbox.NewRelay(box, db, w.rec.Execute, &outbox.RelayOptions{
		Poll: 10 * time.Millisecond,
		Observer: func(r outbox.Report) {
			if r.Accepted > 0 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Run(ctx); err != nil {
		t.Fatal(err)
	}
	w.want(t, 1, 1)
}
