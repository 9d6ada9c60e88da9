package celeryexec

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
)

const (
	channels       = 8                // calls that publish at the same time
	confirmTimeout = 10 * time.Second // for an answer of RabbitMQ
)

// rabbitName is what the errors of RabbitMQ begin with.
const rabbitName = amqplink.Name("airlock: celery: rabbitmq")

// Dial makes a new connection to RabbitMQ. It must not share connections, since they
// are closed by the executor or worker that called it. It should return soon after ctx ends.
type Dial func(ctx context.Context) (*amqp.Connection, error)

// newLink returns a link. A nil log means no line.
func newLink(dial Dial, log *slog.Logger) *amqplink.Link { return amqplink.New(dial, rabbitName, log) }

// newPublisher returns a publisher that has a connection of its own. Messages of one job
// for one queue are sent back together.
func newPublisher(dial Dial) *amqplink.Publisher {
	return amqplink.NewPublisher(newLink(dial, nil), amqplink.PublisherOptions{
		Channels: channels, Limit: confirmTimeout, NoQueue: noQueue,
		Mark: func(_ amqp.Table, correlationID string) string { return correlationID },
	})
}

func noQueue(native string) error {
	return fmt.Errorf("airlock: celery: rabbitmq: no queue %q: a Celery worker that consumes it declares it", native)
}

// toQueue is a message for a queue, without an exchange.
func toQueue(native string, pub amqp.Publishing) amqplink.Message {
	return amqplink.Message{Key: native, Queue: native, Pub: pub}
}
