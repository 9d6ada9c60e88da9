package workexec

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
)

// The bounds of one script call. Redis does nothing else while it runs, and bytes
// must get through within the client's write time-out.
const (
	chunkIntents = 1000
	chunkBytes   = 8 << 20
)

// dispatch is Execute behind the guard.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	if len(intents) <= chunkIntents {
		if n, bytes := chunk(intents); n == len(intents) {
			return core.Combine(e.call(ctx, intents, bytes, nil))
		}
	}
	out := core.OutcomesOf(nil, intents)
	var broken error
	for from := 0; from < len(intents); {
		n, bytes := chunk(intents[from:])
		part := intents[from : from+n]
		if broken == nil && ctx.Err() != nil {
			broken = core.ContextError(ctx)
		}
		if broken == nil {
			if answers := e.call(ctx, part, bytes, out[from:from+n]); failed(answers) {
				broken = core.ErrEarlierFailed
			}
		} else {
			for i := range part {
				out[from+i].State, out[from+i].Err = core.NotSent, broken
			}
		}
		from += n
	}
	return core.Combine(out)
}

// failed reports whether the rest of a call is to be held back.
func failed(out []core.Outcome) bool {
	for i := range out {
		if s := out[i].State; s != core.Accepted && s != core.Duplicate {
			return true
		}
	}
	return false
}

// chunk returns how many of the intents the next script call takes, and the bytes
// of their payloads and headers.
func chunk(intents []core.Intent) (n, bytes int) {
	for n < len(intents) && n < chunkIntents {
		more := len(intents[n].Payload()) + intents[n].Headers().Size()
		if n > 0 && bytes+more > chunkBytes {
			break
		}
		bytes += more
		n++
	}
	return n, bytes
}

// call stores intents by one script call and writes into out what became of each.
// Without out it makes one if not all are accepted.
func (e *Executor) call(ctx context.Context, intents []core.Intent, bytes int, out []core.Outcome) []core.Outcome {
	now := time.Now()
	req := newRequest(len(intents), bytes)
	for i := range intents {
		req.add(&intents[i], e.toNative(&intents[i], now), now, e.plain)
	}
	reply, sent, err := e.backend.eval(ctx, dispatchScript, req.finish())
	if err == nil && reply == int64(1) {
		return out
	}
	if out == nil {
		out = core.OutcomesOf(nil, intents)
	}
	if err != nil {
		state, err := outcomeOfError(ctx, sent, err)
		for i := range out {
			out[i].State, out[i].Err = state, err
		}
		return out
	}
	answers, _ := reply.([]any)
	for i := range out {
		answer := any(nil)
		if i < len(answers) {
			answer = answers[i]
		} else if answers == nil || len(answers) > len(out) {
			answer = errAnswer
		}
		out[i].State, out[i].Err = outcomeOf(&intents[i], answer)
	}
	return out
}
