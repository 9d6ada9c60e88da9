package celeryexec

import (
	"context"
	"runtime/debug"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// The bounds of one pipeline. Bytes must get through within the client's write
// time-out.
const (
	chunkIntents = 1000
	chunkBytes   = 8 << 20
)

// dispatch stores the jobs of one call, which adapter.Guard has checked.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	out := core.Outcomes(intents, core.NotSent, core.ErrEarlierFailed)
	for from, ok := 0, true; from < len(intents) && ok; {
		to := from + chunk(intents[from:])
		ok = e.sendChunk(ctx, intents[from:to], out[from:to])
		from = to
	}
	adapter.AddContextError(ctx, out)
	return core.Combine(out)
}

// chunk returns how many of the intents the next pipeline takes.
func chunk(intents []core.Intent) int {
	n, bytes := 0, 0
	for n < len(intents) && n < chunkIntents {
		bytes += len(intents[n].Payload()) + intents[n].Headers().Size()
		if n > 0 && bytes > chunkBytes {
			break
		}
		n++
	}
	return n
}

// push is one LPUSH of messages that follow one another and are for the same list.
type push struct {
	from, to int
	cmd      *redis.IntCmd
}

// sendChunk sends one pipeline and sets the outcomes. It reports whether all jobs
// were accepted.
func (e *Executor) sendChunk(ctx context.Context, intents []core.Intent, out []core.Outcome) bool {
	if ctx.Err() != nil {
		for i := range out {
			out[i].Err = core.ContextError(ctx)
		}
		return false
	}
	sent := make([]sentArg, len(intents))
	var pushes []push
	pipe := e.broker.rdb.Pipeline()
	for from := 0; from < len(intents); {
		list, values := "", make([]any, 0, len(intents)-from)
		to := from
		for ; to < len(intents); to++ {
			m := e.toNative(&intents[to])
			if to > from && m.list != list {
				break
			}
			list, sent[to].data = m.list, m.data
			values = append(values, &sent[to])
		}
		pushes = append(pushes, push{from, to, pipe.LPush(ctx, list, values...)})
		from = to
	}
	ended := make(chan error, 1)
	go func() { ended <- exec(ctx, pipe) }()
	select {
	case err := <-ended:
		return e.outcomesOf(ctx, pushes, sent, err, out)
	case <-ctx.Done():
	}
	select {
	case err := <-ended: // it was in time after all
		return e.outcomesOf(ctx, pushes, sent, err, out)
	default:
	}
	for i := range out {
		out[i].State, out[i].Err = core.Unknown, core.ContextError(ctx)
		if sent[i].abandon() {
			out[i].State = core.NotSent
		}
	}
	return false
}

// exec sends a pipeline. Hooks of the client may panic.
func exec(ctx context.Context, pipe redis.Pipeliner) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	_, err = pipe.Exec(ctx)
	return err
}
