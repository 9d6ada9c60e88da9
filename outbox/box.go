package outbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Options configure [New].
type Options struct {
	// For is the executor behind the outbox. What it would refuse is refused in the
	// transaction, and it sends from memory after the COMMIT, see [Held]. Required.
	For core.Executor

	// Table is the name of the table, with a schema and a dot before it if need be.
	// "" is [DefaultTable].
	Table string

	// Destination is the name under which rows are stored, at most 128 bytes. Relays
	// take the rows of their own destination only, so outboxes for two queues can
	// share a table. "" is the name that For has in its capabilities, or "default".
	Destination string

	// DB is for what happens after a COMMIT: rows that were sent from memory are
	// deleted through it. Without it nothing is sent from memory. A relay then sends
	// everything.
	DB DB

	// Lease is how long the process that wrote rows may take from the INSERT to the
	// end of the dispatch after the COMMIT. If the process dies, a relay takes the
	// rows after this time. 0 is 30 seconds. At least 1 second.
	Lease time.Duration

	// Ordered keeps the order within a partition: a row is not sent before the
	// earlier rows of its partition have been accepted, or are dead or held. Rows
	// are not sent from memory then. All programs that write to one destination must
	// agree about Ordered and Partition. docs/outbox.md says what happens to waiting
	// rows if Ordered is switched on or off.
	Ordered bool

	// Partition returns the key of an intent's partition, if the outbox is Ordered.
	// Keys are hashed to 64 partitions. Nil: the key is the queue. An intent for which
	// it panics is refused.
	Partition func(in core.Intent) string

	// Logger gets what goes wrong in the background. Nil is [slog.Default].
	Logger *slog.Logger
}

// DefaultLease is how long a lease lasts if there is no other duration.
const DefaultLease = 30 * time.Second

// Box is an outbox: a table, and the executor that its rows are for. [New] makes it.
// It is safe for concurrent use.
type Box struct {
	dialect   Dialect
	table     string
	dest      string
	target    core.Executor
	db        DB
	lease     time.Duration
	ordered   bool
	partition func(core.Intent) string
	logger    *slog.Logger
	caps      core.Capabilities
	asks      bool   // the target has capabilities
	token     string // holds the rows that this box has inserted
	settler   settler
	bell      bell
}

// New makes an outbox. It does no I/O. It returns [core.ErrInvalid] for an unknown
// dialect, a nil For, an impossible name or a Lease below 1 second, and what For
// says is wrong with itself.
func New(dialect Dialect, opts *Options) (*Box, error) {
	if opts == nil {
		opts = &Options{}
	}
	b := &Box{
		dialect: dialect, table: opts.Table, dest: opts.Destination, target: opts.For, db: opts.DB, lease: opts.Lease,
		ordered: opts.Ordered, partition: opts.Partition, logger: opts.Logger, token: rand.Text(),
	}
	if b.table == "" {
		b.table = DefaultTable
	}
	if b.lease == 0 {
		b.lease = DefaultLease
	}
	if err := dialect.validate(); err != nil {
		return nil, err
	}
	if err := validateTable(b.table); err != nil {
		return nil, err
	}
	switch {
	case b.target == nil:
		return nil, fmt.Errorf("airlock: outbox: Options.For is nil: %w", core.ErrInvalid)
	case b.lease < time.Second:
		return nil, fmt.Errorf("airlock: outbox: Options.Lease is %v, want at least 1s: %w", b.lease, core.ErrInvalid)
	case b.partition != nil && !b.ordered:
		return nil, fmt.Errorf("airlock: outbox: Options.Partition without Ordered: %w", core.ErrInvalid)
	}
	if d, ok := b.db.(sqlDB); ok && (d.handle == nil || !autocommit(d)) {
		return nil, fmt.Errorf("airlock: outbox: Options.DB is no database, want outbox.SQL of a *sql.DB: %w", core.ErrInvalid)
	}
	if err := b.target.Check(context.Background()); err != nil {
		return nil, fmt.Errorf("airlock: outbox: Options.For: %w", err)
	}
	b.caps, b.asks = b.target.Capabilities()
	if b.dest == "" {
		b.dest = b.caps.Executor
	}
	if b.dest == "" {
		b.dest = "default"
	}
	if len(b.dest) > 128 || adapter.ErrorText(fmt.Errorf("%s", b.dest), 0) != b.dest {
		return nil, fmt.Errorf("airlock: outbox: Options.Destination, want at most 128 bytes of UTF-8 without NUL: %w", core.ErrInvalid)
	}
	b.settler.box = b
	return b, nil
}

// Destination returns the name under which the box stores rows, see Options.Destination.
// It is "" for a nil or zero Box.
func (b *Box) Destination() string {
	if b == nil {
		return ""
	}
	return b.dest
}

// Close waits until the rows that were sent from memory are deleted, at most until
// ctx ends. Rows that are left are sent again by a relay. The box can still be used.
func (b *Box) Close(ctx context.Context) error {
	if err := b.usable(nil); err != nil {
		return err
	}
	if ctx == nil {
		return errNilContext
	}
	if err := b.settler.wait(ctx); err != nil {
		return fmt.Errorf("airlock: outbox: close: rows that were sent are not deleted yet: %w", err)
	}
	return nil
}

// Wake makes the relays of this box in this process look at the table now. Call it
// after the COMMIT of a transaction in which [Box.InTx] has stored intents.
func (b *Box) Wake() {
	if b != nil {
		b.bell.ring()
	}
}

// usable returns what is wrong with the receiver, or with a database that is given.
func (b *Box) usable(db any) error {
	if b == nil || b.target == nil {
		return errZeroBox
	}
	if d, ok := db.(sqlDB); ok && d.handle == nil {
		return errNilDB
	}
	return nil
}

var (
	errZeroBox    = fmt.Errorf("airlock: outbox: nil or zero Box, use New: %w", core.ErrInvalid)
	errNilContext = fmt.Errorf("airlock: outbox: nil context: %w", core.ErrInvalid)
)

// leaseToken returns the token for the rows of one transaction. All transactions share
// one, so that a statement settles the rows of many. On MySQL, which does not return
// the numbers of new rows, two transactions may have rows of the same ID and queue:
// each has a token of its own.
func (b *Box) leaseToken() string {
	if b.dialect.returns() {
		return b.token
	}
	return rand.Text()
}

func (b *Box) quoted(table string) string { return b.dialect.quote(table) }

func (b *Box) now() string { return b.dialect.now() }

func (b *Box) log() *slog.Logger {
	if b.logger != nil {
		return b.logger
	}
	return slog.Default()
}

// partitionOf returns the partition of an intent of an ordered outbox.
func (b *Box) partitionOf(in core.Intent) (part int64, err error) {
	key := in.Options.Queue
	if b.partition != nil {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("airlock: outbox: Options.Partition: %w", core.Sound(&core.PanicError{Value: v, Stack: debug.Stack()}))
			}
		}()
		key = b.partition(in)
	}
	return partitionOfKey(key), nil
}

func partitionOfKey(key string) int64 {
	sum := adapter.Hash(key)
	return int64(sum[0] % partitions)
}
