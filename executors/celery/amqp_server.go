package celeryexec

import (
	"context"
	"errors"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
)

// checkRabbitMQ is CheckServer for RabbitMQ. It makes a connection of its own.
func (e *Executor) checkRabbitMQ(ctx context.Context, queues []string) error {
	l := newLink(e.dial, nil)
	defer l.Close()
	conn, err := l.Get(ctx)
	if err != nil {
		return err
	}
	return amqplink.Within(ctx, func() error { return e.checkQueues(conn, queues) })
}

func (e *Executor) checkQueues(conn *amqp.Connection, queues []string) error {
	var found []error
	for _, queue := range queues {
		native := e.names.Native(queue)
		err := declare(conn, native, true, nil)
		if err == nil && e.priorities {
			// RabbitMQ does not show the arguments of a queue, but compares them.
			err = declare(conn, native, false, amqp.Table{maxPriorityArg: int32(amqpPriorities)})
		}
		var answer *amqp.Error
		switch refused := errors.As(err, &answer); {
		case err == nil:
		case refused && answer.Code == amqp.NotFound:
			found = append(found, invalid("no queue %q in this virtual host: no Celery worker has consumed it", native))
		case refused && answer.Code == amqp.PreconditionFailed && strings.Contains(answer.Reason, maxPriorityArg):
			found = append(found, invalid("the queue %q was not declared with %s = %d, as Options.Priorities needs", native, maxPriorityArg, amqpPriorities))
		case refused && (answer.Code == amqp.PreconditionFailed || answer.Code == amqp.AccessRefused): // other arguments, or cannot tell
		default:
			return errors.Join(append(found, rabbitName.Unavailable(err))...)
		}
	}
	return errors.Join(found...)
}

const maxPriorityArg = "x-max-priority"

// declare declares a durable queue, or looks whether it exists, on a channel of its
// own: RabbitMQ closes one whose request it refuses.
func declare(conn *amqp.Connection, native string, passive bool, args amqp.Table) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if passive {
		_, err = ch.QueueDeclarePassive(native, true, false, false, false, nil)
	} else {
		_, err = ch.QueueDeclare(native, true, false, false, false, args)
	}
	if err != nil {
		return err
	}
	return ch.Close()
}
