//go:build realservers

package servers_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/integration/servers"
)

func TestRabbitMQKeepsConfirmedMessages(t *testing.T) {
	t.Parallel()
	s := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	for _, end := range []struct {
		name string
		fn   func() error
	}{
		{"restart", s.Restart},
		{"kill", func() error {
			if err := s.Kill(); err != nil {
				return err
			}
			return s.Restart()
		}},
	} {
		queue := "kept by " + end.name
		withRabbitMQ(t, s, func(ch *amqp.Channel) error {
			if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
				return err
			}
			if err := ch.Confirm(false); err != nil {
				return err
			}
			confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
			if err != nil {
				return err
			}
			_, err = confirm.WaitContext(context.Background())
			return err
		})
		// A quorum queue that was declared just before a kill may not come back: RabbitMQ
		// 3.10 writes the list of its queues to the disk a moment later.
		time.Sleep(2 * time.Second)
		if err := end.fn(); err != nil {
			t.Fatal(err)
		}
		withRabbitMQ(t, s, func(ch *amqp.Channel) error {
			d, ok, err := ch.Get(queue, true)
			if err == nil && (!ok || string(d.Body) != "x") {
				t.Errorf("%s: the message is gone", end.name)
			}
			return err
		})
	}
}

func TestRabbitMQListsWhatItHas(t *testing.T) {
	t.Parallel()
	s := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	withRabbitMQ(t, s, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("a queue", true, false, false, false, nil)
		return errors.Join(err, ch.ExchangeDeclare("an exchange", amqp.ExchangeDirect, true, false, false, false, nil))
	})
	if queues := s.Names(t, "queues"); !slices.Equal(queues, []string{"a queue"}) {
		t.Errorf("queues %q", queues)
	}
	if exchanges := s.Names(t, "exchanges"); !slices.Contains(exchanges, "an exchange") || !slices.Contains(exchanges, "amq.direct") {
		t.Errorf("exchanges %q", exchanges)
	}
}

func withRabbitMQ(t *testing.T, s *servers.RabbitMQServer, use func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := use(ch); err != nil {
		t.Fatal(err)
	}
}
