package asynqexec

import (
	"context"
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
	for left, part := out, e.recordNext(intents); ; {
		now, rest := intents[:part.intents], intents[part.intents:]
		var next <-chan recorded
		if len(rest) > 0 {
			next = e.recordAhead(rest) // while Redis is busy with this one
		}
		failed := e.many(ctx, part, now, left[:len(now)])
		if len(rest) == 0 {
			break
		}
		intents, left, part = rest, left[len(now):], <-next
		if failed != nil {
			for i := range left {
				left[i].State, left[i].Err = core.NotSent, failed
			}
			break
		}
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

// many sends a part of a call in one pipeline, writes down what became of each
// intent, and returns an error for those that follow if they must not.
func (e *Executor) many(ctx context.Context, part recorded, intents []core.Intent, out []core.Outcome) error {
	all := func(state core.State, err, following error) error {
		for i := range out {
			out[i].State, out[i].Err = state, err
		}
		return following
	}
	if ctx.Err() != nil {
		err := contextError(ctx)
		return all(core.NotSent, err, err)
	}
	if part.err != nil {
		return all(core.Rejected, part.err, errAfterError)
	}
	end := make(chan struct{})
	go e.play(ctx, part.pipeline, end)
	err := wait(ctx, end)
	if err == nil {
		err = part.panicked
	}
	if err != nil {
		return all(core.Unknown, err, errAfterError)
	}
	var following error
	for i := range out {
		out[i].State, out[i].Err = e.judge(ctx, &intents[i], part.steps[i].reply())
		if out[i].State != core.Accepted && out[i].State != core.Duplicate {
			following = errAfterError
		}
	}
	return following
}

// play sends what was recorded, and then closes end.
func (e *Executor) play(ctx context.Context, p *pipeline, end chan<- struct{}) {
	defer close(end)
	defer contain(&p.panicked)
	p.play(ctx, e.rdb)
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
