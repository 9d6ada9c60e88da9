package natsexec

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// How much may be unacknowledged at a time. The server takes 10 000 messages and
// 128 MiB of one stream at a time and refuses more (v2.15.2, server/stream.go,
// streamDefaultMaxQueueMsgs and streamDefaultMaxQueueBytes), and other publishers
// want their share.
const (
	mostInFlight  = 2048
	bytesInFlight = 16 << 20
)

// A batchPublish is one call's messages and what became of them.
type batchPublish struct {
	e       *Executor
	ctx     context.Context
	intents []core.Intent
	out     []core.Outcome // made at the first outcome that is not Accepted

	inbox   string
	replies chan *nats.Msg
	message nats.Msg // filled anew for each intent
	reply   []byte   // scratch
	stage   []stage  // per intent
	sentAt  []time.Time
	now     time.Time

	sent, settled int
	oldest        int // every intent before it is settled
	bytes         int // of payload in flight
	inDoubt       []inDoubt
	sentAgain     map[int]bool    // those that were
	foreign       map[int]outcome // answers of a second stream, by intent
	lastError     error           // of the connection, as far as it was looked at
	look          *time.Timer     // of receive: when to look at the connection and the limit
}

// An inDoubt intent is sent again.
type inDoubt struct {
	intent  int
	outcome outcome // if it is never decided
}

type stage uint8

const (
	unsent stage = iota
	awaited
	settled
	givenUp // no answer came in time
)

func (e *Executor) newBatchPublish(ctx context.Context, intents []core.Intent, room int) (*batchPublish, *nats.Subscription, error) {
	b := &batchPublish{
		e: e, ctx: ctx, intents: intents, inbox: e.conn.NewInbox(), lastError: e.conn.LastError(),
		replies: make(chan *nats.Msg, room),
		stage:   make([]stage, len(intents)), sentAt: make([]time.Time, len(intents)), now: time.Now(),
	}
	sub, err := e.conn.ChanSubscribe(b.inbox+".*", b.replies)
	if err != nil {
		return nil, nil, fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, adapter.Masked(err))
	}
	return b, sub, nil
}

// batch publishes everything before it waits for anything, as far as the server
// can take it, with a reply subject for each message.
func (e *Executor) batch(ctx context.Context, intents []core.Intent) error {
	// Twice the room, for the answers of a second stream.
	b, sub, err := e.newBatchPublish(ctx, intents, 2*min(len(intents), mostInFlight)+1)
	if err != nil {
		return all(intents, core.NotSent, err)
	}
	b.send()
	b.await()
	result := b.finish()
	if e.watchNow() {
		b.watchUntilEnd(sub)
	} else {
		sub.Unsubscribe()
	}
	return result
}

// send publishes until everything is in flight, or nothing more may be sent.
func (b *batchPublish) send() {
	for i := range b.intents {
		if i%64 == 0 {
			b.now = time.Now()
			if b.ctx.Err() != nil {
				return
			}
		}
		for b.sent-b.settled >= mostInFlight || b.bytes > bytesInFlight {
			if !b.receive(b.sentAt[b.oldestAwaited()].Add(b.e.opts.AckTimeout)) {
				return
			}
		}
		if err := b.publish(i); err != nil {
			o := publishError(err)
			b.settle(i, o.state, o.err)
			return
		}
		b.sent++
	}
}

// publish sends the message of one intent with a reply subject of its own.
func (b *batchPublish) publish(i int) error {
	m := &b.message
	b.e.mapping.toNative(m, &b.intents[i], b.now)
	b.address(i)
	if err := b.e.conn.PublishMsg(m); err != nil {
		return err
	}
	b.stage[i], b.sentAt[i] = awaited, b.now
	b.bytes += len(m.Data)
	return nil
}

func (b *batchPublish) address(i int) {
	b.reply = append(append(b.reply[:0], b.inbox...), '.')
	b.message.Reply = string(strconv.AppendInt(b.reply, int64(i), 10))
}

func (b *batchPublish) oldestAwaited() int {
	for b.oldest < len(b.stage)-1 && b.stage[b.oldest] != awaited {
		b.oldest++
	}
	return b.oldest
}

// inDoubtPause is how long to wait before a message is sent again whose ID or key
// is just being stored.
const inDoubtPause = 20 * time.Millisecond

// await receives until everything sent is settled, or past its limit.
func (b *batchPublish) await() {
	for b.settled < b.sent {
		last := b.now.Add(b.e.opts.AckTimeout)
		if len(b.inDoubt) == 0 {
			if !b.receive(last) {
				return
			}
			continue
		}
		pause := time.Now().Add(inDoubtPause)
		for time.Now().Before(pause) && b.settled < b.sent && b.receive(pause) {
		}
		if b.ctx.Err() != nil || time.Now().After(last) {
			return
		}
		retry := b.inDoubt
		b.inDoubt = nil
		for _, d := range retry {
			if b.sentAgain == nil {
				b.sentAgain = map[int]bool{}
			}
			b.sentAgain[d.intent] = true
			limit := b.sentAt[d.intent]
			if err := b.publish(d.intent); err != nil {
				o := publishError(err)
				b.settle(d.intent, o.state, o.err)
			}
			b.sentAt[d.intent] = limit
		}
	}
}

// receive takes one answer. It reports false if ctx or the limit was first.
func (b *batchPublish) receive(limit time.Time) bool {
	select {
	case m := <-b.replies:
		b.take(m)
		return true
	default:
	}
	if b.look == nil {
		b.look = time.NewTimer(lookAfter)
	}
	if left := time.Until(limit); left < lookAfter {
		b.look.Reset(left)
	}
	for {
		select {
		case m := <-b.replies:
			b.take(m)
			return true
		case <-b.ctx.Done():
			return false
		case <-b.look.C:
			left := time.Until(limit)
			b.look.Reset(max(min(lookAfter, left), time.Millisecond))
			if b.refused() {
				return true
			}
			if left <= 0 {
				return false
			}
		}
	}
}

// take settles the intent that an answer is for.
func (b *batchPublish) take(m *nats.Msg) {
	i, err := strconv.Atoi(m.Subject[len(b.inbox)+1:])
	if err != nil || i < 0 || i >= len(b.stage) || b.stage[i] == unsent {
		return
	}
	if b.stage[i] != awaited {
		b.noteSecond(i, b.second(m, i))
		return
	}
	o := b.e.outcomeOf(m, &b.intents[i])
	switch {
	case o.foreign != "":
		b.noteSecond(i, o) // and the stream's own answer may still come
	case o.inDoubt:
		b.inDoubt = append(b.inDoubt, inDoubt{i, o})
	default:
		b.settle(i, o.state, o.err)
	}
}

func (b *batchPublish) settle(i int, state core.State, err error) {
	if b.stage[i] == awaited {
		b.settled++
		b.bytes -= len(b.intents[i].Payload())
	}
	b.stage[i] = settled
	if state == core.Accepted {
		return
	}
	if b.out == nil {
		b.out = core.Outcomes(b.intents, core.Accepted, nil)
	}
	b.out[i].State, b.out[i].Err = state, err
}

// finish says what became of the intents that nobody settled.
func (b *batchPublish) finish() error {
	unanswered, unsentErr := b.e.noAnswer(), core.ErrEarlierFailed
	if b.ctx.Err() != nil {
		unanswered, unsentErr = core.ContextError(b.ctx), core.ContextError(b.ctx)
	}
	for _, d := range b.inDoubt {
		err := d.outcome.err
		if b.ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", core.ContextError(b.ctx), err)
		}
		b.settle(d.intent, d.outcome.state, err)
	}
	for i, s := range b.stage {
		switch s {
		case awaited:
			err := unanswered
			if o, ok := b.foreign[i]; ok {
				err = fmt.Errorf("%w: %w", o.err, unanswered)
			}
			b.settle(i, core.Unknown, err)
			b.stage[i] = givenUp
		case unsent:
			b.settle(i, core.NotSent, unsentErr)
		}
	}
	b.reportSecond()
	return core.Combine(b.out)
}
