package natsexec

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/core"
)

// What may be under way at a time. The server takes 10 000 messages and 128 MiB
// into its hands for one stream and refuses what is more (v2.15.2,
// server/stream.go, streamDefaultMaxQueueMsgs and streamDefaultMaxQueueBytes),
// and other publishers want their share.
const (
	mostInFlight  = 2048
	bytesInFlight = 16 << 20
)

// A flight is one call's messages and what became of them.
type flight struct {
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
	oldest        int // no intent before it is awaited
	bytes         int // of payload under way
	again         []undecided
}

// An undecided intent is to be sent again.
type undecided struct {
	intent int
	answer answer // if it never is decided
}

type stage uint8

const (
	unsent stage = iota
	awaited
	settled
)

func (e *Executor) newFlight(ctx context.Context, intents []core.Intent, room int) (*flight, *nats.Subscription, error) {
	f := &flight{
		e: e, ctx: ctx, intents: intents, inbox: e.conn.NewInbox(),
		replies: make(chan *nats.Msg, room),
		stage:   make([]stage, len(intents)), sentAt: make([]time.Time, len(intents)), now: time.Now(),
	}
	sub, err := e.conn.ChanSubscribe(f.inbox+".*", f.replies)
	if err != nil {
		return nil, nil, fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, err)
	}
	return f, sub, nil
}

// pipeline publishes everything before it awaits anything, as far as the server
// can take it, with a reply subject for each message.
func (e *Executor) pipeline(ctx context.Context, intents []core.Intent) error {
	f, sub, err := e.newFlight(ctx, intents, min(len(intents), mostInFlight)+1)
	if err != nil {
		return all(intents, core.NotSent, err)
	}
	defer sub.Unsubscribe()
	f.send()
	f.await()
	return f.finish()
}

// send publishes until all are under way, or something says that no more should be.
func (f *flight) send() {
	for i := range f.intents {
		if i%64 == 0 {
			f.now = time.Now()
			if f.ctx.Err() != nil {
				return
			}
		}
		for f.sent-f.settled >= mostInFlight || f.bytes > bytesInFlight {
			if !f.receive(f.sentAt[f.oldestAwaited()].Add(f.e.opts.AckTimeout)) {
				return
			}
		}
		if state, err := f.publish(i); err != nil {
			f.settle(i, state, err)
			return
		}
		f.sent++
	}
}

// publish sends the message of one intent with a reply subject of its own.
func (f *flight) publish(i int) (core.State, error) {
	m := &f.message
	f.e.mapping.fill(m, &f.intents[i], f.now)
	f.address(i)
	if err := f.e.conn.PublishMsg(m); err != nil {
		return publishError(err)
	}
	f.stage[i], f.sentAt[i] = awaited, f.now
	f.bytes += len(m.Data)
	return 0, nil
}

func (f *flight) address(i int) {
	f.reply = append(append(f.reply[:0], f.inbox...), '.')
	f.message.Reply = string(strconv.AppendInt(f.reply, int64(i), 10))
}

func (f *flight) oldestAwaited() int {
	for f.oldest < len(f.stage)-1 && f.stage[f.oldest] != awaited {
		f.oldest++
	}
	return f.oldest
}

// conflictPause is how long a message rests whose ID or key is just being stored.
const conflictPause = 20 * time.Millisecond

// await receives until everything sent is settled, or past its limit.
func (f *flight) await() {
	for f.settled < f.sent {
		last := f.now.Add(f.e.opts.AckTimeout)
		if len(f.again) == 0 {
			if !f.receive(last) {
				return
			}
			continue
		}
		pause := time.Now().Add(conflictPause)
		for time.Now().Before(pause) && f.settled < f.sent && f.receive(pause) {
		}
		if f.ctx.Err() != nil || time.Now().After(last) {
			return
		}
		retry := f.again
		f.again = nil
		for _, u := range retry {
			limit := f.sentAt[u.intent]
			if state, err := f.publish(u.intent); err != nil {
				f.settle(u.intent, state, err)
			}
			f.sentAt[u.intent] = limit
		}
	}
}

// receive takes one reply. It reports false if ctx or the limit was first.
func (f *flight) receive(limit time.Time) bool {
	select {
	case m := <-f.replies:
		f.take(m)
		return true
	default:
	}
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	select {
	case m := <-f.replies:
		f.take(m)
		return true
	case <-f.ctx.Done():
	case <-timer.C:
	}
	return false
}

// take settles the intent that a reply is for.
func (f *flight) take(m *nats.Msg) {
	i, err := strconv.Atoi(m.Subject[len(f.inbox)+1:])
	if err != nil || i < 0 || i >= len(f.stage) || f.stage[i] != awaited {
		return
	}
	a := f.e.answer(m, &f.intents[i])
	if a.conflict {
		f.again = append(f.again, undecided{i, a})
		return
	}
	f.bytes -= len(f.intents[i].Payload())
	f.settle(i, a.state, a.err)
}

func (f *flight) settle(i int, state core.State, err error) {
	if f.stage[i] == awaited {
		f.settled++
	}
	f.stage[i] = settled
	if state == core.Accepted {
		return
	}
	if f.out == nil {
		f.out = core.OutcomesOf(nil, f.intents)
	}
	f.out[i].State, f.out[i].Err = state, err
}

var errAfterFailure = fmt.Errorf("airlock: nats: an earlier intent of the call could not be published: %w", core.ErrNotSent)

// finish says what became of the intents that nobody settled.
func (f *flight) finish() error {
	unanswered, unsentErr := f.e.noAnswer(), error(errAfterFailure)
	if f.ctx.Err() != nil {
		unanswered, unsentErr = contextError(f.ctx), contextError(f.ctx)
	}
	for _, u := range f.again {
		err := u.answer.err
		if f.ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", contextError(f.ctx), err)
		}
		f.settle(u.intent, u.answer.state, err)
	}
	for i, s := range f.stage {
		switch s {
		case awaited:
			f.settle(i, core.Unknown, unanswered)
		case unsent:
			f.settle(i, core.NotSent, unsentErr)
		}
	}
	return core.Combine(f.out)
}

func (e *Executor) noAnswer() error {
	return fmt.Errorf("airlock: nats: no acknowledgement within %v: %w", e.opts.AckTimeout, nats.ErrTimeout)
}
