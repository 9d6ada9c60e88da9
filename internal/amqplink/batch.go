package amqplink

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
)

// batch is some messages that are published before the first confirm is awaited.
type batch struct {
	p       *Publisher
	ch      *confirmChannel
	msgs    []Message
	results []Result

	mu        sync.Mutex
	abandoned bool                         // guarded by mu; nothing more is published
	next      int                          // guarded by mu; the first message that was not begun
	confirms  []*amqp.DeferredConfirmation // guarded by mu; of those published
	failed    map[int]Result               // guarded by mu; of those that could not be published
}

// run publishes the batch and sets its results. It reports whether the channel is
// good for more. The library cannot interrupt a write, so a goroutine publishes.
func (b *batch) run(ctx context.Context) (good bool) {
	written := make(chan struct{})
	go func() { defer close(written); b.write() }()
	timer := time.NewTimer(b.p.opts.Limit)
	defer timer.Stop()
	var ended error // why the batch is not waited for any more
	wait := func(done <-chan struct{}) {
		if ended != nil {
			return
		}
		select {
		case <-done:
		case <-ctx.Done():
			ended = core.ContextError(ctx)
		case <-timer.C:
			ended = errors.New(b.p.link.name.text("no confirm in time"))
		}
	}
	wait(written)
	b.mu.Lock()
	b.abandoned = true
	next, confirms, failed := b.next, b.confirms, b.failed
	b.mu.Unlock()
	for _, c := range confirms {
		wait(c.Done())
	}
	returned := b.returned()
	good = ended == nil
	for i := range b.msgs {
		m := &b.msgs[i]
		switch r, bad := failed[i]; {
		case bad:
			b.results[i] = r
		case i >= next && ended != nil:
			b.results[i] = Result{core.NotSent, ended}
		case i >= next:
			b.results[i] = Result{core.NotSent, core.ErrEarlierFailed}
		case i >= len(confirms) || !isDone(confirms[i].Done()):
			b.results[i] = Result{core.Unknown, ended}
		default:
			b.results[i] = b.p.outcomeOf(confirms[i].Acked(), returned[b.idOf(m)], b.ch.IsClosed(), m.Queue)
		}
		good = good && (b.results[i].State == core.Accepted || b.results[i].State == core.Rejected)
	}
	return good
}

// write publishes the messages, up to the first one that fails.
func (b *batch) write() {
	for i := range b.msgs {
		m := &b.msgs[i]
		b.mu.Lock()
		if b.abandoned {
			b.mu.Unlock()
			return
		}
		b.next = i + 1
		b.mu.Unlock()
		confirm, err := b.ch.PublishWithDeferredConfirm(m.Exchange, m.Key, true, false, m.Pub)
		if err == nil {
			b.add(confirm)
			continue
		}
		b.mu.Lock()
		b.failed = map[int]Result{i: b.p.link.name.outcomeOfWrite(err)}
		b.mu.Unlock()
		return
	}
}

// add notes the confirm of the message that was written last. Once the batch is
// abandoned nobody asks for it.
func (b *batch) add(c *amqp.DeferredConfirmation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.abandoned {
		b.confirms = append(b.confirms, c)
	}
}

// identity is what a message that is sent back is recognised by.
type identity struct{ mark, key string }

func (b *batch) idOf(m *Message) identity {
	return identity{b.p.opts.Mark(m.Pub.Headers, m.Pub.CorrelationId), m.Key}
}

// returned takes the messages that RabbitMQ has sent back. It sends one before it
// confirms it, so all of those that are confirmed are here.
func (b *batch) returned() map[identity]bool {
	var all map[identity]bool
	for {
		select {
		case r, ok := <-b.ch.returns:
			if !ok {
				return all
			}
			if all == nil {
				all = map[identity]bool{}
			}
			all[identity{b.p.opts.Mark(r.Headers, r.CorrelationId), r.RoutingKey}] = true
		default:
			return all
		}
	}
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
