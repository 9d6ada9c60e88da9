package outbox

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Ambiguous says what a relay does with an intent of which nobody knows whether it
// was sent, when the executor may no longer remember its ID.
type Ambiguous string

// The values of [Ambiguous].
const (
	Resend Ambiguous = "resend" // send it again: at least once, perhaps twice. The default.
	Hold   Ambiguous = "hold"   // keep it for a person, see [Box.List] and [Box.Retry]
)

// RelayOptions configure [NewRelay]. The zero value is good.
type RelayOptions struct {
	// Batch is how many rows a relay claims at a time, at most. 0 is 1000, which is
	// also the largest value.
	Batch int

	// BatchBytes is how many bytes the intents of one claim have at most, as they are
	// stored. A larger row is claimed alone. 0 is 8 MB.
	BatchBytes int

	// Lease is how long claimed rows belong to this relay. It is renewed while a
	// dispatch takes longer. If the relay dies, another one takes its rows after this
	// time. 0 is 30 seconds. At least 1 second.
	Lease time.Duration

	// Poll is how often an idle relay looks at the table. The time varies by a
	// quarter. 0 is 1 second. A delay that ends, a lease that ends, and a COMMIT of
	// this process wake the relay earlier.
	Poll time.Duration

	// Ambiguous says what happens to an intent that may have been sent longer ago
	// than the executor remembers IDs. "" is [Resend].
	Ambiguous Ambiguous

	// StalledAfter is the age of a waiting row from which on the relay reports a
	// stalled outbox, once a minute. 0 is 5 minutes. Less than 0: never.
	StalledAfter time.Duration

	// DrainTimeout is how long a dispatch may go on when the context of Run has
	// ended. 0 is adapter.DefaultDrainTimeout. Less than 0: no time.
	DrainTimeout time.Duration

	// Logger gets what goes wrong, and stalled outboxes. Nil is that of the box.
	Logger *slog.Logger

	// Observer is called after each claim, on the goroutine of Run. If it panics, that
	// is logged. May be nil.
	Observer func(Report)
}

// Report says what became of the rows of one claim.
type Report struct {
	Claimed    int           // rows
	Accepted   int           // by the executor
	Duplicates int           // known to the executor already
	Dead       int           // refused, failed for good, or not decodable
	Held       int           // kept for a person, see [Hold]
	Returned   int           // to be sent later
	Parked     int           // of a later version: kept for a relay that can read them, see [Relay.Run]
	Lost       int           // of these, rows that are left alone: their lease had ended when they should have been settled
	Took       time.Duration // the call of the executor
	Stalled    time.Duration // the age of the oldest waiting row, if the outbox is stalled
	Err        error         // of the database or the executor, or why rows were parked
}

func (o *RelayOptions) complete(box *Box) error {
	if o.Batch == 0 {
		o.Batch = 1000
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = 8 << 20
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Ambiguous == "" {
		o.Ambiguous = Resend
	}
	if o.StalledAfter == 0 {
		o.StalledAfter = 5 * time.Minute
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = adapter.DefaultDrainTimeout
	}
	if o.Logger == nil {
		o.Logger = box.log()
	}
	switch {
	case o.Batch < 1 || o.Batch > 1000:
		return fmt.Errorf("airlock: outbox: RelayOptions.Batch is %d, want 1 to 1000: %w", o.Batch, core.ErrInvalid)
	case o.BatchBytes < 0:
		return fmt.Errorf("airlock: outbox: RelayOptions.BatchBytes is %d, want more than 0: %w", o.BatchBytes, core.ErrInvalid)
	case o.Lease < time.Second:
		return fmt.Errorf("airlock: outbox: RelayOptions.Lease is %v, want at least 1s: %w", o.Lease, core.ErrInvalid)
	case o.Poll < 0:
		return fmt.Errorf("airlock: outbox: RelayOptions.Poll is %v, want more than 0: %w", o.Poll, core.ErrInvalid)
	case o.Ambiguous != Resend && o.Ambiguous != Hold:
		return fmt.Errorf("airlock: outbox: RelayOptions.Ambiguous is %q, want resend or hold: %w", string(o.Ambiguous), core.ErrInvalid)
	}
	return nil
}
