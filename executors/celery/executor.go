// Package celeryexec sends jobs to Celery workers, which are programs in Python, and
// runs the jobs that Python programs send. The broker is Redis, as kombu uses it, or
// RabbitMQ. [New] is for Redis, with go-redis. [NewAMQP] is for RabbitMQ 3.10 or later,
// with [github.com/rabbitmq/amqp091-go]. The package is made for and tested with Celery
// 5.2.6 and kombu 5.2.4, and speaks version 2 of Celery's task message.
//
// The task's name is the name of the Celery task. Arguments are JSON:
//
//	an object   keyword arguments: {"order": 17} is task(order=17)
//	an array    positional arguments: [17, "x"] is task(17, "x")
//	else        one positional argument: "x" is task("x")
//
// # Mapping
//
//	Queue        the queue of that name; "celery" without it, Celery's own default.
//	             See Options.QueueNames
//	Priority     on Redis the nearest of kombu's four lists of a queue, on RabbitMQ
//	             the message's priority; 5 without it. Refused unless
//	             Options.Priorities is set
//	Delay, At    eta, rounded up to the microsecond
//	Timeout      the soft time limit, rounded up to the second. Only Celery's prefork
//	             pool keeps it
//	Deadline     expires, rounded up to the microsecond. A job that is late is not
//	             run. A run that has begun goes on. On RabbitMQ the message has no
//	             expiration, with which RabbitMQ would drop it without a word
//	Header       a header of the message: self.request.get("Color"). Celery loses it
//	             in a retry, unless the task says self.retry(headers={…})
//	ID           Celery's task ID, which it does not remember. A chosen one is refused
//
// MaxAttempts and Backoff are refused, since they belong to the Python task:
// autoretry_for, max_retries, retry_backoff. So is Unique, which Celery does not have.
//
// # Delivery
//
// At most once: a Celery worker acknowledges a job before it runs it. With acks_late
// it does so afterwards, and delivery is at least once. Set Options.AcksLate if your
// tasks have it, so that [Executor.Capabilities] are right. On Redis one gap remains:
// kombu takes a message and notes it in a second step, and loses it if the worker or
// its connection ends in between. Our worker has no such gap.
//
// On Redis a worker that holds a job for longer than the visibility timeout loses it: another
// worker gets the job too, while the first one still has it. This is about jobs that
// run, jobs that wait for their eta in a worker's memory, and jobs that a worker has
// prefetched. So a Delay longer than the visibility timeout is refused. See
// RedisOptions.VisibilityTimeout.
//
// On RabbitMQ a job is published with a confirm. RabbitMQ takes a job away that a worker
// has had for longer than consumer_timeout without acknowledging it, ends the channel,
// and delivers the job again. This too is about jobs that wait for their eta, and with
// acks_late about jobs that run. So a Delay that is too long for it is refused, and with
// Options.AcksLate a Timeout too. See AMQPOptions.ConsumerTimeout.
//
// A dispatch declares no queue. On Redis a queue need not exist. On RabbitMQ a Celery
// worker declares the queues that it consumes, and a job whose queue does not exist is
// Rejected. Celery 5.2 consumes classic queues alone.
//
// A Celery worker drops a task that it does not know, with an error in its log. So
// deploy the workers first, or give them a worker_consumer whose on_unknown_task puts
// the message back.
//
// No result is stored, nobody waits for one, and a chain, group or chord cannot be
// sent.
//
// # Worker
//
// [Worker] runs Go handlers for the tasks that Python programs, or this executor,
// have sent. On Redis it keeps the records of kombu, so that Celery workers on the same
// Redis neither lose nor double its jobs. On RabbitMQ it acknowledges a job when it has
// ended, as Celery does with acks_late. It stores no results. See [NewWorker] and
// [NewAMQPWorker].
//
// Give Go tasks a queue of their own: a Celery worker drops a task that it does not
// know.
//
// # Errors
//
// An intent is NotSent if it was never written to a connection, or if Redis refused
// the command. An intent is Unknown if it was written and no answer or confirm came. A
// negative confirm is Unknown too: RabbitMQ does not say whether it has stored the
// message.
//
// # Concurrency
//
// Safe for concurrent use. go-redis does not notice that a context is cancelled while
// it waits for a reply. So a goroutine waits for it, which ends with the client's own
// time limits, and the call returns at once.
//
// A connection of amqp091-go does not survive a cut. So the caller gives a function
// that makes connections, and executor and worker close those that they made: see
// [Executor.Close].
//
// # Refused
//
// A chosen ID, MaxAttempts, Backoff and Unique; Priority without Options.Priorities; arguments
// that are not JSON in UTF-8, nested so deeply that Python cannot decode them, or with
// a number that Python's float cannot keep, such as 1e400; headers with
// a name that Celery or RabbitMQ uses itself; a Delay that a worker cannot hold; Redis
// Cluster and Ring, which kombu cannot use; options of the other broker. Brokers other
// than Redis and RabbitMQ are not offered.
//
// Django-Q and Huey are not offered: their messages are pickled or signed Python
// objects. Dramatiq's are JSON, and an executor for it would be possible.
//
// [github.com/rabbitmq/amqp091-go]: https://pkg.go.dev/github.com/rabbitmq/amqp091-go
package celeryexec

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

const name = "celery"

// Executor sends jobs to Celery workers. It is made by [New] or [NewAMQP].
type Executor struct {
	broker     *broker             // nil on RabbitMQ
	publisher  *amqplink.Publisher // nil on Redis
	dial       Dial                // nil on Redis
	names      queueNames
	priorities bool
	caps       core.Capabilities
	guarded    core.Executor // nil for the zero Executor
}

// New returns an executor for Celery workers whose broker is Redis, on the caller's
// client, which it neither dials nor closes. It does no I/O. The client is a
// *redis.Client, also one for Sentinel. Nil opts are the zero [Options]. A nil client,
// a cluster, Options.AMQP, and options that are not what their comments say are
// [core.ErrInvalid].
func New(rdb redis.UniversalClient, opts *Options) (*Executor, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.AMQP != (AMQPOptions{}) {
		return nil, invalid("New: Options.AMQP is for NewAMQP")
	}
	b, err := newBroker(rdb, o.Redis)
	if err != nil {
		return nil, err
	}
	if o.Attempts < 0 {
		return nil, invalid("Options.Attempts: %d, want at least 0", o.Attempts)
	}
	names, err := newQueueNames(o.QueueNames, possibleQueue)
	if err != nil {
		return nil, err
	}
	e := &Executor{broker: b, names: names, priorities: o.Priorities, caps: capabilities(&o, b.visibility, names)}
	e.guarded = adapter.Guard(e.caps, e.dispatch)
	return e, nil
}

// Execute stores the intents' jobs. It is a [core.Executor]. A nil or zero Executor
// answers with [core.ErrInvalid].
func (e *Executor) Execute(ctx context.Context, intents ...core.Intent) error {
	if e == nil || e.guarded == nil {
		return zeroExecutor(ctx, intents...)
	}
	return e.guarded(ctx, intents...)
}

var (
	errZeroExecutor = invalid("zero Executor: executors are made by New or NewAMQP")
	zeroExecutor    = adapter.Invalid(errZeroExecutor)
)

// Capabilities returns what the executor does with each option. The caller may change
// the result.
func (e *Executor) Capabilities() core.Capabilities {
	if e == nil {
		return core.Capabilities{}
	}
	return e.caps.Clone()
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("airlock: celery: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
