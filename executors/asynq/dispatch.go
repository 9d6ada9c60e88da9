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
	p := &passage{Context: ctx}
	o := e.order(in, p.options[:0], time.Now())
	p.guard = o.guard
	if ctx.Done() == nil {
		e.pass(p, o.task, nil)
	} else {
		end := make(chan struct{})
		go e.pass(p, o.task, end)
		if err := wait(ctx, end); err != nil {
			return core.Unknown, err
		}
	}
	if p.panicked != nil {
		return core.Unknown, p.panicked
	}
	return e.judge(ctx, in, p.reply)
}

// pass has asynq enqueue a task, and then closes end unless that is nil. What
// asynq returns has lost its cause on the way, so that the passage has noted it.
func (e *Executor) pass(p *passage, task *asynq.Task, end chan<- struct{}) {
	if end != nil {
		defer close(end)
	}
	defer contain(&p.panicked)
	if _, err := e.direct.EnqueueContext(p, task); !p.reply.sent && p.reply.err == nil {
		p.reply.err = err
	}
}

// many enqueues intents in one pipeline, writes down what became of each, and
// reports whether more may follow.
func (e *Executor) many(ctx context.Context, intents []core.Intent, out []core.Outcome) (ok bool) {
	state := core.Rejected
	rec, err := e.record(intents)
	if err == nil {
		state = core.Unknown
		end := make(chan struct{})
		go e.play(ctx, rec, end)
		if err = wait(ctx, end); err == nil {
			err = rec.panicked
		}
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
	buf := make([]asynq.Option, 0, mostOptions)
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

// play sends what was recorded, and then closes end.
func (e *Executor) play(ctx context.Context, rec *recording, end chan<- struct{}) {
	defer close(end)
	defer contain(&rec.panicked)
	rec.play(ctx, e.rdb)
}

// wait waits for the end of I/O that cannot be interrupted. Once ctx is done it
// returns the context's error, and the goroutine of the I/O goes on by itself: it
// has nothing of the caller's but the context, and ends with the client's own time
// limits.
func wait(ctx context.Context, end <-chan struct{}) error {
	select {
	case <-end:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-end: // it was in time after all
		return nil
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
