package amqplink

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
)

const (
	// maxBatch is how many messages are published before the first confirm is awaited.
	// RabbitMQ sends a message back before it confirms it, and the library blocks its
	// reader if nobody takes that, so this many fit into the channel of returns.
	maxBatch = 1000

	// maxBatchBytes bounds the bodies of a batch, which must get through in the time of
	// one answer.
	maxBatchBytes = 8 << 20
)

// Message is what is published.
type Message struct {
	Exchange, Key string
	Queue         string // that it goes to in the end
	Pub           amqp.Publishing
}

// batchEnd returns the end of the batch that begins at from.
func batchEnd(msgs []Message, from int) int {
	to, size := from+1, len(msgs[from].Pub.Body)
	for to < len(msgs) && to-from < maxBatch && size+len(msgs[to].Pub.Body) <= maxBatchBytes {
		size += len(msgs[to].Pub.Body)
		to++
	}
	return to
}

// PublisherOptions are all required.
type PublisherOptions struct {
	Channels int           // how many calls publish at the same time; further ones wait
	Limit    time.Duration // for an answer of RabbitMQ

	// Mark returns what distinguishes a message from others with the same routing key. A
	// message that RabbitMQ sends back is recognised by it.
	Mark func(headers amqp.Table, correlationID string) string

	// NoQueue returns the error for a message that RabbitMQ sends back, since its queue
	// does not exist.
	NoQueue func(queue string) error
}

// Publisher publishes with confirms, on a bounded number of channels.
type Publisher struct {
	link  *Link
	opts  PublisherOptions
	slots chan struct{} // one for each channel in use

	mu   sync.Mutex
	free []*confirmChannel // guarded by mu
}

type confirmChannel struct {
	*amqp.Channel
	conn    *amqp.Connection
	returns chan amqp.Return
}

// NewPublisher returns a publisher that has the link for itself.
func NewPublisher(l *Link, opts PublisherOptions) *Publisher {
	return &Publisher{link: l, opts: opts, slots: make(chan struct{}, opts.Channels)}
}

// Close closes the link.
func (p *Publisher) Close() { p.link.Close() }

// Publish publishes messages in order, as many as possible before it waits for the
// first confirm, and returns the result of each.
func (p *Publisher) Publish(ctx context.Context, msgs []Message) []Result {
	ch, err := p.acquire(ctx)
	if err != nil {
		return NotSent(ctx, len(msgs), err)
	}
	good := true
	defer func() { p.release(ch, good) }()
	results := make([]Result, len(msgs))
	for from, to := 0, 0; from < len(msgs); from = to {
		if from > 0 && ctx.Err() != nil {
			setAll(results[from:], Result{core.NotSent, core.ContextError(ctx)})
			break
		}
		to = batchEnd(msgs, from)
		b := &batch{p: p, ch: ch, msgs: msgs[from:to], results: results[from:to]}
		if good = b.run(ctx); !good {
			setAll(results[to:], Result{core.NotSent, core.ErrEarlierFailed})
			break
		}
	}
	return results
}

// Ask calls fn with the connection in the place of a call that publishes. The library
// cannot interrupt requests: after ctx or the limit has ended fn goes on alone, until the
// connection ends. fn is called once more if the connection proves dead. Its error comes
// back as [Name.Unavailable].
func (p *Publisher) Ask(ctx context.Context, fn func(*amqp.Connection) error) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	return p.connected(ctx, func(conn *amqp.Connection) error {
		return p.answered(ctx, func() error { return fn(conn) })
	})
}

func (p *Publisher) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return core.ContextError(ctx)
	}
}

func (p *Publisher) leave() { <-p.slots }

// acquire returns a channel.
func (p *Publisher) acquire(ctx context.Context) (ch *confirmChannel, err error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	err = p.connected(ctx, func(conn *amqp.Connection) (err error) {
		if ch = p.idle(conn); ch == nil {
			ch, err = p.open(ctx, conn)
		}
		return err
	})
	if err != nil {
		p.leave()
		return nil, err
	}
	return ch, nil
}

// connected calls fn with the connection. One that proves dead is replaced once.
func (p *Publisher) connected(ctx context.Context, fn func(*amqp.Connection) error) error {
	call := func() error {
		conn, err := p.link.Get(ctx)
		if err != nil {
			return err
		}
		return fn(conn)
	}
	err := call()
	if errors.Is(err, amqp.ErrClosed) {
		err = call()
	}
	return err
}

func (p *Publisher) open(ctx context.Context, conn *amqp.Connection) (*confirmChannel, error) {
	ch := &confirmChannel{conn: conn}
	err := p.answered(ctx, func() (err error) {
		if ch.Channel, err = conn.Channel(); err != nil {
			return err
		}
		ch.returns = ch.NotifyReturn(make(chan amqp.Return, maxBatch))
		return ch.Confirm(false)
	})
	if err != nil {
		return nil, err
	}
	return ch, nil
}

// idle returns an open channel of the connection, or nil. It drops those of others.
func (p *Publisher) idle(conn *amqp.Connection) *confirmChannel {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.free) > 0 {
		ch := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		if ch.conn == conn && !ch.IsClosed() {
			return ch
		}
	}
	return nil
}

// answered waits for fn as long as ctx and the limit allow.
func (p *Publisher) answered(ctx context.Context, fn func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- fn() }()
	timer := time.NewTimer(p.opts.Limit)
	defer timer.Stop()
	select {
	case err := <-ended:
		if err != nil {
			return p.link.name.Unavailable(err)
		}
		return nil
	case <-ctx.Done():
		return core.ContextError(ctx)
	case <-timer.C:
		return p.link.name.errUnanswered()
	}
}

// release gives a channel back. One with confirms outstanding is closed.
func (p *Publisher) release(ch *confirmChannel, good bool) {
	switch {
	case ch.IsClosed():
	case good:
		p.mu.Lock()
		p.free = append(p.free, ch)
		p.mu.Unlock()
	default:
		go func() { _ = ch.Close() }() // ends with the connection at the latest
	}
	p.leave()
}
