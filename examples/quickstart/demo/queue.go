package demo

import (
	"context"
	"io"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/examples/quickstart/shop"
	"github.com/goairlock/airlock/worker"
)

// Open opens an executor and starts workers on it.
type Open func(ctx context.Context, run *Run) (*Queue, error)

// Run is the shop on one executor.
type Run struct {
	Options  *Options
	Registry *worker.Registry // does the jobs
	Ledger   *Ledger          // knows of every job
	Out      io.Writer        // safe for concurrent use; each Write is a line

	// QueueNames are native names for the queues of this run alone: a server whose
	// URL was given may be in use.
	QueueNames map[string]string

	name string // of the executor
}

// Queue is an open executor with workers on it.
type Queue struct {
	Exec core.Executor
	Stop func(ctx context.Context) error // lets running jobs finish

	// Drops are options that the executor refuses and the shop can do without.
	// Dropping an option is never silent, so it is said here.
	Drops []core.OptionName

	// Of a queue in the shop's own database; else nil. InTx stores an order and
	// calls fn in one transaction, which is rolled back if fn fails, and with it
	// what fn's executor has taken. Orders counts those stored.
	InTx   func(ctx context.Context, order string, fn func(core.Executor) error) error
	Orders func(ctx context.Context) (int, error)

	// Of a queue behind an outbox; else nil. CheckOutKilled checks out an order in a
	// process that is killed after its COMMIT, and returns how many jobs the order
	// asked for. Sent returns when nothing is left in the outbox.
	CheckOutKilled func(ctx context.Context, order shop.Order) (enqueued int, err error)
	Sent           func(ctx context.Context) error
}
