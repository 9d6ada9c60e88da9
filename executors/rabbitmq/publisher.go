package rabbitexec

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

const (
	retryFirst = 100 * time.Millisecond // after something that failed, doubled
	retryMost  = 2 * time.Second
)

// newLink returns a link whose lines in the log say whose it is. A nil log means no line.
func newLink(dial Dial, log *slog.Logger, who string) *amqplink.Link {
	return amqplink.New(dial, fullName, log, slog.String("who", who))
}

// publisher publishes messages whose queues exist.
type publisher struct {
	*amqplink.Publisher

	mu    sync.Mutex
	known map[string]struct{} // guarded by mu; queues that delayed jobs reach
}

func newPublisher(l *amqplink.Link, channels int, limit time.Duration) *publisher {
	return &publisher{known: map[string]struct{}{}, Publisher: amqplink.NewPublisher(l, amqplink.PublisherOptions{
		Channels: channels, Limit: limit, NoQueue: noQueue,
		Mark: func(headers amqp.Table, _ string) string { return markOf(headers) },
	})}
}

// publish publishes messages in order, and returns the result of each.
func (p *publisher) publish(ctx context.Context, msgs []amqplink.Message) []amqplink.Result {
	unreachable, err := p.unreachable(ctx, msgs)
	switch {
	case err != nil:
		return amqplink.NotSent(ctx, len(msgs), err)
	case len(unreachable) == 0:
		return p.Publish(ctx, msgs)
	}
	results := make([]amqplink.Result, len(msgs))
	var rest []amqplink.Message
	var places []int // in msgs, of the rest
	for i, m := range msgs {
		if delayed(&m) && unreachable[m.Queue] {
			results[i] = amqplink.Result{State: core.Rejected, Err: noQueue(m.Queue)}
			continue
		}
		rest, places = append(rest, m), append(places, i)
	}
	if len(rest) > 0 {
		for i, r := range p.Publish(ctx, rest) {
			results[places[i]] = r
		}
	}
	return results
}

func delayed(m *amqplink.Message) bool { return m.Exchange != "" }

// unreachable returns which queues of delayed messages do not exist. RabbitMQ confirms
// such a message as soon as it waits.
func (p *publisher) unreachable(ctx context.Context, msgs []amqplink.Message) (map[string]bool, error) {
	var unreachable map[string]bool
	for i := range msgs {
		m := &msgs[i]
		if !delayed(m) || unreachable[m.Queue] {
			continue
		}
		p.mu.Lock()
		_, ok := p.known[m.Queue]
		p.mu.Unlock()
		if ok {
			continue
		}
		exists := false
		err := p.Ask(ctx, func(conn *amqp.Connection) (err error) { exists, err = probe(conn, m.Exchange, m.Queue); return err })
		switch {
		case err != nil:
			return nil, err
		case exists:
			p.mu.Lock()
			p.known[m.Queue] = struct{}{}
			p.mu.Unlock()
			continue
		case unreachable == nil:
			unreachable = map[string]bool{}
		}
		unreachable[m.Queue] = true
	}
	return unreachable, nil
}

// probe reports whether an exchange and a queue exist, on a channel of its own, which
// RabbitMQ closes if they do not.
func probe(conn *amqp.Connection, exchange, native string) (bool, error) {
	ch, err := conn.Channel()
	if err != nil {
		return false, err
	}
	err = ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
	if err == nil {
		_, err = ch.QueueDeclarePassive(native, true, false, false, false, nil)
	}
	if isCode(err, amqp.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, ch.Close()
}
