package amqplink

import (
	"context"
	"errors"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
)

const consumerTag = "airlock"

// Consumer takes the messages of a queue.
type Consumer struct {
	Queue string // its name in RabbitMQ
	Name  string // its portable name, for the log

	// Open returns a new channel with a prefetch limit.
	Open func(*amqp.Connection) (*amqp.Channel, error)

	Take func(*amqp.Delivery)
}

// Consume takes messages until ctx ends. What fails is tried again, and a refusal of
// RabbitMQ is logged once.
func (l *Link) Consume(ctx context.Context, c Consumer) {
	pause, logged := firstPause, false
	for ctx.Err() == nil {
		err := l.consume(ctx, c, func() {
			pause = firstPause
			if logged {
				logged = false
				l.log.Info(l.name.text("queue can be consumed again"), slog.String("queue", c.Name))
			}
		})
		if ctx.Err() != nil {
			return
		}
		// The loss of the connection is logged by the link.
		var refusal *amqp.Error
		if !logged && errors.As(err, &refusal) && refusal.Server && refusal.Code != amqp.ConnectionForced {
			logged = true
			l.log.Warn(l.name.text("queue cannot be consumed, will try again"),
				slog.String("queue", c.Name), slog.String("error", adapter.ErrorText(err, maxErrorText)))
		}
		Sleep(ctx, pause)
		pause = min(2*pause, longPause)
	}
}

// consume takes messages until the channel or ctx ends. When ctx ends it leaves the
// channel open, for the acknowledgements, and Take gets what had come already.
func (l *Link) consume(ctx context.Context, c Consumer, started func()) error {
	conn, err := l.Get(ctx)
	if err != nil {
		return err
	}
	ch, err := c.Open(conn)
	if err != nil {
		return err
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	deliveries, err := ch.Consume(c.Queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return err
	}
	started()
	stop := context.AfterFunc(ctx, func() { _ = ch.Cancel(consumerTag, false) })
	defer stop()
	for d := range deliveries {
		c.Take(&d)
	}
	if ctx.Err() != nil {
		return nil
	}
	select {
	case err := <-closed:
		if err != nil {
			return err
		}
	case <-time.After(closeLimit): // the queue was deleted: RabbitMQ ended the consumer alone
	}
	if !ch.IsClosed() {
		_ = ch.Close()
	}
	return nil
}

// ChannelOf returns the channel that a message came on.
func ChannelOf(d *amqp.Delivery) *amqp.Channel {
	ch, ok := d.Acknowledger.(*amqp.Channel)
	if !ok {
		panic("amqplink: a delivery without a channel") // the library sets it
	}
	return ch
}
