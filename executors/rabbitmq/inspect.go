package rabbitexec

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// InspectorOptions tune an [Inspector]. The zero value works.
type InspectorOptions struct {
	// Topology is that of the executor's [Options].
	Topology
}

// Inspector looks at queues of RabbitMQ and acts on their dead jobs, with AMQP alone.
// It is made by [NewInspector] and is an [inspect.Inspector].
//
// The states are
//
//	Waiting  counted; cannot be listed
//	Delayed  unknown: all queues share the queues in which delayed jobs wait
//	Running  unknown
//	Dead     in the queue named after its own with ".dead", until an operator removes
//	         them
//	Parked   unknown: they are delayed
//	Done     not kept
//
// AMQP cannot look at a message without taking it. So Get, Retry and Discard find only
// dead jobs, and any other one is [inspect.ErrNotFound]. A call takes dead jobs, up to the
// one that it is about, and gives them back when it ends. Two calls at the same time do
// not find what the other one has taken. A call takes 10 000 dead jobs at the most.
//
// A retried job is stored in its queue and then removed from the dead ones. If the
// connection is lost in between, the job is in both.
type Inspector struct {
	dial     Dial
	topology topology
}

var _ inspect.Inspector = (*Inspector)(nil)

// maxTaken is how many dead jobs one call may take.
const maxTaken = 10_000

// NewInspector returns an inspector. It does no I/O. Each call of a method makes a
// connection with dial and closes it. Nil opts are the zero [InspectorOptions]. A nil
// dial and bad options are [core.ErrInvalid].
func NewInspector(dial Dial, opts *InspectorOptions) (*Inspector, error) {
	if dial == nil {
		return nil, invalid("nil dial function")
	}
	if opts == nil {
		opts = &InspectorOptions{}
	}
	t, err := newTopology(opts.Topology)
	if err != nil {
		return nil, err
	}
	return &Inspector{dial, t}, nil
}

// Queues is refused.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	return nil, unsupported("list queues", "AMQP has no way to list them")
}

// Depth counts the jobs that wait and the dead ones. The age of the oldest one that
// waits is unknown.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	native, err := i.native(ctx, queue)
	if err != nil {
		return inspect.Depth{}, err
	}
	d := inspect.Depth{Queue: i.portable(queue)}
	err = i.use(ctx, native, func(ch *amqp.Channel, waiting int) error {
		d.Waiting = inspect.CountOf(int64(waiting))
		if waiting == 0 {
			d.Oldest = inspect.AgeOf(0)
		}
		dead, err := ch.QueueDeclarePassive(DeadQueue(native), true, false, false, false, nil)
		switch {
		case isCode(err, amqp.NotFound): // then the number is unknown
		case err != nil:
			return err
		default:
			d.Dead = inspect.CountOf(int64(dead.Messages))
		}
		return nil
	})
	if err != nil {
		return inspect.Depth{}, err
	}
	return d, nil
}

// use calls fn with a channel, and with the number of messages that wait in a queue.
func (i *Inspector) use(ctx context.Context, native string, fn func(ch *amqp.Channel, waiting int) error) error {
	var own error // which needs no more context
	err := withChannel(ctx, i.dial, func(ch *amqp.Channel, _ *amqp.Connection) error {
		q, err := ch.QueueDeclarePassive(native, true, false, false, false, nil)
		switch {
		case isCode(err, amqp.NotFound):
			own = fmt.Errorf("airlock: rabbitmq: queue %q: %w", native, inspect.ErrNotFound)
			return nil
		case err != nil:
			return err
		}
		err = fn(ch, q.Messages)
		var answer *amqp.Error
		if err != nil && !errors.As(err, &answer) && !errors.Is(err, amqp.ErrClosed) {
			own, err = err, nil
		}
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return core.ContextError(ctx)
	case err != nil && (errors.Is(err, amqp.ErrClosed) || isCode(err, amqp.ConnectionForced)):
		return fmt.Errorf("%w: %w", err, core.ErrUnavailable)
	case err != nil:
		return err
	}
	return own
}

func isCode(err error, code int) bool {
	var answer *amqp.Error
	return errors.As(err, &answer) && answer.Code == code
}

// native returns the name of a queue in RabbitMQ.
func (i *Inspector) native(ctx context.Context, queue string) (string, error) {
	if err := i.check(ctx); err != nil {
		return "", err
	}
	queue = i.portable(queue)
	if err := validQueue(queue); err != nil {
		return "", err
	}
	if err := i.topology.refuse(&core.Intent{Options: core.Options{Queue: queue}}); err != nil {
		return "", err
	}
	return i.topology.native(queue), nil
}

func (i *Inspector) portable(queue string) string {
	if queue == "" {
		return defaultQueue
	}
	return queue
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.dial == nil:
		return invalid("zero Inspector: inspectors are made by NewInspector")
	case ctx == nil:
		return invalid("nil context")
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

// Pause is refused.
func (i *Inspector) Pause(ctx context.Context, queue string) error { return i.noPause(ctx, "pause") }

// Resume is refused.
func (i *Inspector) Resume(ctx context.Context, queue string) error { return i.noPause(ctx, "resume") }

func (i *Inspector) noPause(ctx context.Context, action string) error {
	if err := i.check(ctx); err != nil {
		return err
	}
	return unsupported(action, "RabbitMQ delivers as long as there is a consumer: stop the workers")
}

func unsupported(action, reason string) error {
	return &inspect.UnsupportedError{Executor: name, Action: action, Reason: reason}
}
