package asynqexec

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/core"
)

// The bounds of one pipeline. Larger ones are not faster, and bytes must get
// through within the client's write time-out.
const (
	chunkIntents = 1000
	chunkBytes   = 8 << 20
)

// dispatch is Execute behind the guard.
func (e *Executor) dispatch(ctx context.Context, intents ...core.Intent) error {
	if len(intents) == 1 {
		state, err := e.one(ctx, &intents[0])
		if state == core.Accepted {
			return nil
		}
		return core.Combine([]core.Outcome{{ID: intents[0].ID, State: state, Err: err}})
	}
	out := core.OutcomesOf(nil, intents)
	broken := error(nil)
	for from := 0; from < len(intents); {
		to := from + chunk(intents[from:])
		if broken == nil && ctx.Err() != nil {
			broken = contextError(ctx)
		}
		if broken != nil {
			for i := from; i < to; i++ {
				out[i].State, out[i].Err = core.NotSent, broken
			}
		} else if !e.many(ctx, intents[from:to], out[from:to]) {
			broken = errAfterError
		}
		from = to
	}
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

// one enqueues an intent by itself, as asynq's own client would.
func (e *Executor) one(ctx context.Context, in *core.Intent) (core.State, error) {
	o := e.order(in, nil, time.Now())
	p := &passage{Context: ctx, guard: o.guard}
	err := finish(ctx, func() (err error) {
		defer contain(&err)
		// What it returns has lost its cause on the way, so that p has noted it.
		if _, err := e.direct.EnqueueContext(p, o.task); !p.reply.sent && p.reply.err == nil {
			p.reply.err = err
		}
		return nil
	})
	if err != nil {
		return core.Unknown, err
	}
	return e.judge(ctx, in, p.reply)
}

// many enqueues intents in one pipeline, writes down what became of each, and
// reports whether more may follow.
func (e *Executor) many(ctx context.Context, intents []core.Intent, out []core.Outcome) (ok bool) {
	state := core.Rejected
	rec, err := e.record(intents)
	if err == nil {
		state = core.Unknown
		err = finish(ctx, func() (err error) {
			defer contain(&err)
			rec.play(ctx, e.rdb)
			return nil
		})
	}
	if err != nil {
		for i := range out {
			out[i].State, out[i].Err = state, err
		}
		return false
	}
	ok = true
	for i := range out {
		out[i].State, out[i].Err = e.judge(ctx, &intents[i], rec.steps[i].reply())
		ok = ok && (out[i].State == core.Accepted || out[i].State == core.Duplicate)
	}
	return ok
}

// record lets asynq enqueue the intents without sending anything.
func (e *Executor) record(intents []core.Intent) (*recording, error) {
	rec := &recording{Context: context.Background(), steps: make([]step, 0, len(intents))}
	buf := make([]asynq.Option, 0, 8)
	now := time.Now()
	for i := range intents {
		rec.next = e.order(&intents[i], buf, now)
		if _, err := e.recorder.EnqueueContext(rec, rec.next.task); err != nil {
			return nil, fmt.Errorf("airlock: asynq: task %s: %w", intents[i].Task, err)
		}
		if len(rec.steps) != i+1 {
			return nil, errLibrary
		}
	}
	return rec, nil
}

// finish runs I/O that cannot be interrupted. Once ctx is done it returns the
// context's error, and a goroutine waits for the rest: that has nothing of the
// caller's but the context, and ends with the client's own time limits.
func finish(ctx context.Context, io func() error) error {
	if ctx.Done() == nil {
		return io()
	}
	end := make(chan error, 1)
	go func() { end <- io() }()
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-end: // it was in time after all
		return err
	default:
		return contextError(ctx)
	}
}

// contain turns a panic, of the client's hooks say, into an error.
func contain(err *error) {
	if v := recover(); v != nil {
		*err = &core.PanicError{Value: v, Stack: debug.Stack()}
	}
}
