package rabbitexec

import (
	"context"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

// dispatch publishes the jobs of one call, which adapter.Guard has checked.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	out := core.Outcomes(intents, core.Accepted, nil)
	if e.topology.Inbox == nil {
		now := time.Now()
		msgs := make([]amqplink.Message, len(intents))
		for i := range intents {
			msgs[i] = e.topology.toNative(&intents[i], now)
		}
		for i, r := range e.publisher.publish(ctx, msgs) {
			out[i].State, out[i].Err = r.State, r.Err
		}
	} else {
		e.dispatchOnce(ctx, intents, out)
	}
	adapter.AddContextError(ctx, out)
	return core.Combine(out)
}

// dispatchOnce publishes the intents that the inbox does not know.
func (e *Executor) dispatchOnce(ctx context.Context, intents []core.Intent, out []core.Outcome) {
	now := time.Now()
	var msgs []amqplink.Message
	var sent []int // the intents of msgs
	reserved := make([]reservation, len(intents))
	first := map[string]int{} // where an ID or a unique key of the call was first seen
	again := make([]int, len(intents))
	failed := false
	for i := range intents {
		in := &intents[i]
		if again[i] = e.earlier(first, in, i); again[i] >= 0 {
			continue
		}
		if failed {
			out[i].State, out[i].Err = core.NotSent, core.ErrEarlierFailed
			continue
		}
		reserved[i], out[i] = e.reserve(ctx, in)
		if out[i].State != core.NotSent || out[i].Err != nil {
			failed = out[i].State == core.NotSent
			continue
		}
		m := e.topology.toNative(in, now)
		m.Pub.Headers[tokenHeader] = reserved[i].token
		msgs, sent = append(msgs, m), append(sent, i)
	}
	if len(msgs) > 0 {
		for k, r := range e.publisher.publish(ctx, msgs) {
			i := sent[k]
			out[i].State, out[i].Err = r.State, r.Err
			e.conclude(ctx, reserved[i], &intents[i], r.State)
		}
	}
	for i, of := range again {
		if of >= 0 {
			out[i] = repeated(&intents[i], &intents[of], out[of])
		}
	}
}

// earlier returns the intent of the same call with the ID or the unique key of this
// one, or -1.
func (e *Executor) earlier(first map[string]int, in *core.Intent, i int) int {
	keys := []string{e.topology.idKey(in.ID)}
	if in.Options.Unique != "" {
		keys = append(keys, e.topology.uniqueKey(in.Task, in.Options.Queue, in.Options.Unique))
	}
	for _, key := range keys {
		if of, ok := first[key]; ok {
			return of
		}
	}
	for _, key := range keys {
		first[key] = i
	}
	return -1
}

// repeated returns the outcome of an intent that a call had before, as the first one's
// outcome decides.
func repeated(in, before *core.Intent, first core.Outcome) core.Outcome {
	switch first.State {
	case core.Accepted, core.Duplicate:
		if in.ID == before.ID {
			return known(in)
		}
		return in.Outcome(core.Duplicate, core.ErrDuplicate)
	case core.Unknown:
		return in.Outcome(core.Unknown, first.Err)
	}
	return in.Outcome(core.NotSent, core.ErrEarlierFailed)
}
