// Package rabbitexec dispatches to RabbitMQ 3.10 or later and runs the jobs, with
// [github.com/rabbitmq/amqp091-go] v1.16.0.
//
// A job is an ordinary message. The body is the encoded arguments and nothing else,
// and the type property is the task's name. So other consumers can run our jobs, and
// our workers run the messages of other producers that set the type.
//
// # Mapping
//
//	Queue        a durable queue named Topology.Prefix + queue, "default" without it.
//	             EnsureQueues declares it, and a dispatch never does
//	Priority     the message's priority, 5 without it. Refused unless
//	             Topology.Priorities is set
//	Delay, At    up to 32 queues whose time limits add up, each 100 ms times a
//	             power of two: rounded up to 100 ms, never early
//	MaxAttempts  the envelope; 25 without it
//	Backoff      the envelope; without it 1 s, doubled up to 10 minutes
//	Timeout      the envelope
//	Deadline     the envelope
//	Header       the header Airlock-Headers, which is a table
//	ID, Unique   refused without Topology.Inbox. The ID is the message-id property
//
// The envelope is the header Airlock-Envelope. Airlock-Message is a mark that makes
// every stored message different, Airlock-Job is the same in all copies of one, and Airlock-Attempts counts the attempts that
// earlier copies of the message have used. Messages are persistent.
//
// # Delivery
//
// At least once. RabbitMQ does not recognise an ID, so an intent that is sent again
// after an Unknown outcome may be two jobs, unless there is an inbox. Jobs of one queue start in the order of
// dispatch, apart from delays, retries and jobs that were put back.
//
// A job that runs again is a copy of its message: the worker publishes the copy,
// waits for its confirm and acknowledges the original. A crash between the two runs
// the job twice. Dead jobs are in the queue named after their own with ".dead" at
// the end; the header Airlock-Dead has the reason, the attempt and the time.
//
// A job whose worker crashed is delivered again at once, and the attempt counts. A
// worker that has several queues holds up to Concurrency messages of each, of which
// only Concurrency run. If it crashes, all of them lose an attempt.
//
// RabbitMQ takes a job away that runs for more than its consumer_timeout, 30 minutes
// by default, and gives it to another worker. This cannot be renewed. A longer
// core.Timeout is refused, see Options.ConsumerTimeout.
//
// Handlers find their message as a [*amqp.Delivery] in worker.Job.Native. They must
// not acknowledge it.
//
// # Inbox
//
// An [Inbox] is a table, or keys in Redis, in which the executor notes each ID before
// it publishes the job, and the worker before it runs it. Then an ID is one job: as
// long as the job is unfinished, and for Topology.InboxWindow after it is done or dead.
// An intent whose outcome was Unknown is published again, and the worker runs the
// message that comes first. A unique key is another row, which the end of the job
// removes.
//
// Each intent costs two round trips to the inbox when it is sent, and two when it is
// run. While the inbox cannot be reached, an intent is NotSent and a worker waits. A
// queue that is purged leaves the IDs of its jobs in the inbox: remove these too. A
// dead job has ended for the inbox. Its message has no header Airlock-Job, so that it
// runs if it is moved back, whatever the inbox says.
//
// # Errors
//
// An intent is NotSent if it was not written to a connection, and Unknown if it was
// written and no confirm came. One whose queue does not exist is Rejected. A negative
// confirm is Unknown: RabbitMQ does not say whether it has stored the message.
//
// # Concurrency
//
// Safe for concurrent use. A connection of this library does not survive a cut. So
// the caller gives a function that makes connections, and executor and worker close
// those that it made: see [Executor.Close]. The library cannot interrupt a write, so
// a goroutine may write on after its call has returned, until the connection ends.
//
// # Refused
//
// ID and Unique without an inbox, since the broker does not recognise messages. Priority unless the
// queues are declared with it. A Timeout of more than the server's consumer_timeout,
// waits of more than 13 years, and headers of more than 96 KiB in AMQP's form.
//
// [github.com/rabbitmq/amqp091-go]: https://pkg.go.dev/github.com/rabbitmq/amqp091-go
package rabbitexec

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

const name = "rabbitmq"

// Dial makes a new connection to RabbitMQ. It must not share connections, since they
// are closed by the executor or worker that called it. It should return soon after ctx ends.
type Dial func(ctx context.Context) (*amqp.Connection, error)

// Executor dispatches to RabbitMQ. It is made by [New].
type Executor struct {
	dial           Dial
	topology       topology
	publisher      *publisher
	confirmTimeout time.Duration
	caps           core.Capabilities
	guarded        core.Executor // nil for the zero Executor
}

// New returns an executor. It does no I/O: the first dispatch connects. Nil opts are
// the zero [Options]. A nil dial and options out of range are [core.ErrInvalid].
func New(dial Dial, opts *Options) (*Executor, error) {
	if dial == nil {
		return nil, invalid("nil dial function")
	}
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	t, err := newTopology(o.Topology)
	if err != nil {
		return nil, err
	}
	e := &Executor{
		dial:           dial,
		topology:       t,
		publisher:      newPublisher(newLink(dial, o.Logger, "executor"), o.Channels, o.ConfirmTimeout),
		confirmTimeout: o.ConfirmTimeout,
		caps:           capabilities(&t, o.ConsumerTimeout),
	}
	e.guarded = adapter.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute stores the intents' jobs. It is a [core.Executor]. A nil or zero Executor
// answers with [core.ErrInvalid], and one that is closed with [core.ErrClosed].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return zeroExecutor(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

var (
	errZeroExecutor = invalid("zero Executor: executors are made by New")
	zeroExecutor    = adapter.Invalid(errZeroExecutor)
)

// Capabilities returns what the executor does with each option. The caller may
// change the result.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

// Close closes the connection that the executor has made. Calls that are under way
// are Unknown, and later ones are NotSent with [core.ErrClosed]. Further calls of
// Close do nothing.
func (e *Executor) Close() error {
	if e == nil || e.guarded == nil {
		return errZeroExecutor
	}
	e.publisher.Close()
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: rabbitmq: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
