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

// atomic stores all intents or none. A batch with a job that is known already is
// refused as a whole; then those that are known are told apart, so that sending
// the rest again succeeds, as does sending a batch again whose answer was lost.
func (e *Executor) atomic(ctx context.Context, intents []core.Intent) error {
	limit := time.Now().Add(e.opts.AckTimeout)
	fresh, again := distinct(intents)
	for {
		a := e.batch(ctx, fresh, limit)
		switch {
		case a.conflict && time.Now().Before(limit):
			select {
			case <-time.After(conflictPause):
				continue
			case <-ctx.Done():
				return all(intents, a.state, fmt.Errorf("%w: %w", contextError(ctx), a.err))
			}
		case isKnown(a.err):
			return e.tellApart(ctx, intents)
		case a.state != core.Accepted:
			return all(intents, a.state, a.err)
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

// isKnown reports a refusal because of an ID or key that the stream has. Which
// one, it does not say.
func isKnown(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeDuplicateInBatch || api.ErrorCode == codeWrongSequence && taken(api))
}

// batch publishes one atomic batch. The first message's reply tells that no
// batch was begun, the last one's what became of it.
func (e *Executor) batch(ctx context.Context, intents []core.Intent, limit time.Time) answer {
	f, sub, err := e.newFlight(ctx, intents, len(intents))
	if err != nil {
		return answer{state: core.NotSent, err: err}
	}
	defer sub.Unsubscribe()
	id, last := f.inbox[len(f.inbox)-22:], len(intents)-1
	for i := range intents {
		m := &f.message
		e.mapping.fill(m, &intents[i], f.now)
		m.Header[batchIDHeader] = []string{id}
		m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
		if m.Reply = ""; i == 0 || i == last {
			f.address(i)
		}
		if i == last {
			m.Header[batchCommitHeader] = []string{"1"}
		}
		if err := e.conn.PublishMsg(m); err != nil {
			state, err := publishError(err)
			if i < last && state == core.Unknown {
				state, err = core.NotSent, fmt.Errorf("%w: %w", core.ErrNotSent, err) // without its last message there is no batch
			}
			return answer{state: state, err: err}
		}
	}
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	for {
		select {
		case m := <-f.replies:
			if len(m.Data) == 0 && len(m.Header) == 0 {
				continue // the batch has begun
			}
			var ack pubAck
			if json.Unmarshal(m.Data, &ack) == nil && isKnown(ack.error()) {
				return answer{state: core.NotSent, err: ack.error()}
			}
			return e.answer(m, &intents[last])
		case <-ctx.Done():
			return answer{state: core.Unknown, err: contextError(ctx)}
		case <-timer.C:
			return answer{state: core.Unknown, err: e.noAnswer()}
		}
	}
}

// probesAtOnce bounds how many intents of a refused batch are asked for at a time.
const probesAtOnce = 64

// tellApart finds out which intents of a refused batch the stream knows. The
// others are NotSent.
func (e *Executor) tellApart(ctx context.Context, intents []core.Intent) error {
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
				out[i].State, out[i].Err = core.Unknown, fmt.Errorf("airlock: nats: atomic batch refused: %w", err)
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
	e.mapping.fill(&m, in, time.Now())
	if m.Header.Get(expectSeqHeader) != "" {
		subject := m.Header.Get(expectSubjectHeader)
		if subject == "" {
			subject = m.Subject
		}
		if there, err := e.holds(ctx, subject); there || err != nil {
			return there, err
		}
	}
	probe := nats.Msg{Subject: m.Subject, Header: nats.Header{nats.MsgIdHdr: []string{in.ID}}}
	// The server looks at the ID before the one header and after the other,
	// depending on whether it replicates the stream (v2.15.2, server/stream.go,
	// processJetStreamMsg; server/jetstream_batching.go).
	if e.several {
		probe.Header[nats.ExpectedLastSeqHdr] = []string{strconv.FormatInt(1<<62, 10)}
	} else {
		probe.Header[nats.ExpectedLastMsgIdHdr] = []string{"none has a blank"}
	}
	reply, err := e.conn.RequestMsgWithContext(ctx, &probe)
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

// holds reports whether the stream has a message on a subject, which may have
// wildcards. It asks the leader: other replicas may be behind.
func (e *Executor) holds(ctx context.Context, subject string) (bool, error) {
	body, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return false, err
	}
	reply, err := e.conn.RequestWithContext(ctx, e.api+"STREAM.MSG.GET."+e.stream, body)
	if err != nil {
		return false, err
	}
	var found struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &found); err != nil {
		return false, err
	}
	switch {
	case found.Error == nil:
		return true, nil
	case found.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return false, nil
	}
	return false, found.Error
}
