package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// largestBatch is JetStream's (v2.15.2, server/stream.go, streamMaxAtomicBatchSize).
const largestBatch = 1000

// Headers of an atomic batch, of nats-server 2.12 and later. The client has no
// calls for it.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

var errBatchRefused = fmt.Errorf("airlock: nats: another intent of the atomic batch is known already, nothing was stored: %w", core.ErrNotSent)

// atomic stores all intents or none. JetStream refuses a batch with a known job as
// a whole. Then atomic finds out which ones are known, so that sending the rest
// again succeeds, and also sending a batch again whose answer was lost.
func (e *Executor) atomic(ctx context.Context, intents []core.Intent) error {
	limit := time.Now().Add(e.opts.AckTimeout)
	fresh, again := distinct(intents)
	for {
		o := e.publishAtomically(ctx, fresh, limit)
		if o.foreign != "" {
			e.reportDoubled(ctx, len(fresh), o.foreign)
		}
		switch {
		case o.inDoubt && time.Now().Before(limit):
			select {
			case <-time.After(inDoubtPause):
				continue
			case <-ctx.Done():
				return all(intents, o.state, fmt.Errorf("%w: %w", core.ContextError(ctx), o.err))
			}
		case isKnown(o.err):
			return e.findKnown(ctx, intents)
		case o.state != core.Accepted:
			return all(intents, o.state, o.err)
		}
		if len(again) == 0 {
			return nil
		}
		out := core.OutcomesOf(nil, intents)
		for _, i := range again {
			out[i].State = known(&intents[i], nil).state
		}
		return core.Combine(out)
	}
}

// distinct leaves out the intents whose ID or key an earlier one of the call has.
// JetStream looks for keys in the stream and not in the batch.
func distinct(intents []core.Intent) (fresh []core.Intent, again []int) {
	type key struct{ task, queue, unique string }
	ids, keys := make(map[string]bool, len(intents)), map[key]bool{}
	for i := range intents {
		in := &intents[i]
		k := key{in.Task, in.Options.Queue, in.Options.Unique}
		if ids[in.ID] || k.unique != "" && keys[k] {
			again = append(again, i)
			continue
		}
		ids[in.ID], keys[k] = true, true
		fresh = append(fresh, *in)
	}
	return fresh, again
}

// isKnown reports a refusal because of an ID or key that the stream has. JetStream
// does not say which one.
func isKnown(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeDuplicateInBatch || api.ErrorCode == codeWrongSequence && taken(api))
}

// publishAtomically publishes one atomic batch. The first message's answer says
// that no batch was begun, the last one's what became of it.
func (e *Executor) publishAtomically(ctx context.Context, intents []core.Intent, limit time.Time) outcome {
	b, sub, err := e.newBatchPublish(ctx, intents, 2*len(intents))
	if err != nil {
		return outcome{state: core.NotSent, err: err}
	}
	defer sub.Unsubscribe()
	id, last := b.inbox[len(b.inbox)-22:], len(intents)-1
	for i := range intents {
		m := &b.message
		e.mapping.toNative(m, &intents[i], b.now)
		m.Header[batchIDHeader] = []string{id}
		m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
		if m.Reply = ""; i == 0 || i == last {
			b.address(i)
		}
		if i == last {
			m.Header[batchCommitHeader] = []string{"1"}
		}
		if err := e.conn.PublishMsg(m); err != nil {
			o := publishError(err)
			if i < last && o.state == core.Unknown {
				o.state, o.err = core.NotSent, fmt.Errorf("%w: %w", o.err, core.ErrNotSent) // without its last message there is no batch
			}
			return o
		}
	}
	timer := time.NewTimer(lookAfter)
	defer timer.Stop()
	unanswered := outcome{state: core.Unknown, err: e.noAnswer()}
	for {
		select {
		case m := <-b.replies:
			if len(m.Data) == 0 && len(m.Header) == 0 {
				continue // the batch has begun
			}
			var ack pubAck
			if json.Unmarshal(m.Data, &ack) == nil && ack.Error != nil && isKnown(ack.Error) {
				return outcome{state: core.NotSent, err: fmt.Errorf("airlock: nats: %w", ack.Error)}
			}
			o := e.outcomeOf(m, &intents[last])
			if o.foreign != "" { // and the stream's own answer may still come
				unanswered = o
				continue
			}
			o.foreign = unanswered.foreign
			return o
		case <-ctx.Done():
			return outcome{state: core.Unknown, err: core.ContextError(ctx)}
		case <-timer.C:
			// A batch that misses one message is never stored.
			if v := violation(e.conn, b.lastError); v != nil && b.isAbout(v) {
				return publishError(&deniedError{v})
			}
			left := time.Until(limit)
			if left <= 0 {
				return unanswered
			}
			timer.Reset(min(lookAfter, left))
		}
	}
}

// isAbout reports whether a permissions violation is about one of the messages.
func (b *batchPublish) isAbout(violation error) bool {
	subject := deniedSubject(violation)
	for i := range b.intents {
		b.e.mapping.toNative(&b.message, &b.intents[i], b.now)
		if b.message.Subject == subject {
			return true
		}
	}
	return false
}

// probesAtOnce bounds how many intents of a refused batch are asked for at a time.
const probesAtOnce = 64

// findKnown finds out which intents of a refused batch the stream knows. The
// others are NotSent.
func (e *Executor) findKnown(ctx context.Context, intents []core.Intent) error {
	out := core.OutcomesOf(nil, intents)
	limited, cancel := context.WithTimeout(ctx, e.opts.AckTimeout)
	defer cancel()
	var probes sync.WaitGroup
	room := make(chan struct{}, probesAtOnce)
	for i := range intents {
		room <- struct{}{}
		probes.Go(func() {
			defer func() { <-room }()
			there, err := e.knows(limited, &intents[i])
			switch {
			case err != nil:
				// Not stored by this call, but perhaps by an earlier one.
				out[i].State, out[i].Err = core.Unknown, fmt.Errorf("airlock: nats: atomic batch refused: %w", adapter.Masked(err))
			case there:
				out[i].State = known(&intents[i], nil).state
			default:
				out[i].State, out[i].Err = core.NotSent, errBatchRefused
			}
		})
	}
	probes.Wait()
	return core.Combine(out)
}

// knows asks for a job's ID with a message that can never be stored, and for a
// key or a schedule by its subject.
func (e *Executor) knows(ctx context.Context, in *core.Intent) (bool, error) {
	var m nats.Msg
	e.mapping.toNative(&m, in, time.Now())
	if m.Header.Get(expectSeqHeader) != "" {
		subject := m.Header.Get(expectSubjectHeader)
		if subject == "" {
			subject = m.Subject
		}
		if there, err := holds(ctx, e.conn, e.api, e.target.stream, subject); there || err != nil {
			return there, err
		}
	}
	// The server looks at the ID before the one header and after the other,
	// depending on whether it replicates the stream (v2.15.2, server/stream.go,
	// processJetStreamMsg; server/jetstream_batching.go).
	probe := neverStored(m.Subject)
	if !e.target.several {
		probe.Header = nats.Header{nats.ExpectedLastMsgIdHdr: []string{"none has a blank"}}
	}
	probe.Header[nats.MsgIdHdr] = []string{in.ID}
	reply, err := request(ctx, e.conn, probe, e.opts.AckTimeout)
	if err != nil {
		return false, err
	}
	var ack pubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return false, err
	}
	if ack.Error != nil && ack.Error.ErrorCode == codeIDInProcess {
		return false, ack.Error
	}
	return ack.Duplicate, nil
}
