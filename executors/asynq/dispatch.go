package asynqexec

import (
	"context"
	"os"
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
		state, err := e.sendOne(ctx, &intents[0])
		if state == core.Accepted {
			return nil
		}
		return core.Combine([]core.Outcome{intents[0].Outcome(state, err)})
	}
	out := core.Outcomes(intents, core.NotSent, core.ErrEarlierFailed)
	first := chunk(intents)
	for part, left := e.preparePipeline(intents[:first]), out; ; {
		now, rest := intents[:len(part.steps)], intents[len(part.steps):]
		var next chan *pipeline
		if len(rest) > 0 {
			next = make(chan *pipeline, 1)
			go func() { next <- e.preparePipeline(rest[:chunk(rest)]) }() // while Redis is busy with this one
		}
		goOn := e.sendChunk(ctx, part, now, left[:len(now)])
		if len(rest) == 0 {
			break
		}
		part, intents, left = <-next, rest, left[len(now):]
		if !goOn {
			if ctx.Err() != nil {
				for i := range left {
					left[i].Err = core.ContextError(ctx)
				}
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

// sendOne enqueues one intent as asynq's own client would.
func (e *Executor) sendOne(ctx context.Context, in *core.Intent) (core.State, error) {
	c := &singleCall{Context: ctx}
	params := e.toNative(in, c.options[:0], time.Now())
	c.guard = params.guard
	if ctx.Done() == nil {
		e.enqueue(c, params.task, nil)
	} else {
		end := make(chan struct{})
		go func() {
			growStack()
			e.enqueue(c, params.task, end)
		}()
		if err := wait(ctx, end); err != nil {
			return stateAfter(&c.sent), err
		}
	}
	if c.panicked != nil {
		return core.Unknown, c.panicked
	}
	return e.outcomeOf(ctx, in, c.reply)
}

// growStack makes room for the calls of asynq and go-redis at once. A new goroutine's
// stack would grow three times, and be copied each time: with one intent that takes 14
// of 84 µs.
//
//go:noinline
func growStack() byte {
	var room [8 << 10]byte
	return room[len(os.Args)%len(room)]
}

// enqueue lets asynq enqueue a task, and then closes end unless that is nil. What
// asynq returns has lost its cause on the way, so the call notes it.
func (e *Executor) enqueue(c *singleCall, task *asynq.Task, end chan<- struct{}) {
	if end != nil {
		defer close(end)
	}
	defer contain(&c.panicked)
	if _, err := e.single.EnqueueContext(c, task); !c.reply.called && c.reply.err == nil {
		c.reply.err = err
	}
	closeCondemned(c.Context, e.rdb, c.reply.err)
}

// sendChunk sends one pipeline of a call and sets the outcome of each of its
// intents. It reports whether the next pipeline may be sent.
func (e *Executor) sendChunk(ctx context.Context, p *pipeline, intents []core.Intent, out []core.Outcome) bool {
	all := func(state core.State, err error) bool {
		for i := range out {
			out[i].State, out[i].Err = state, err
		}
		return false
	}
	if ctx.Err() != nil {
		return all(core.NotSent, core.ContextError(ctx))
	}
	if p.err != nil {
		return all(core.NotSent, p.err) // nothing is wrong with the intents
	}
	end := make(chan struct{})
	go e.sendPipeline(ctx, p, end)
	if err := wait(ctx, end); err != nil {
		for i := range out {
			out[i].State, out[i].Err = stateAfter(&p.steps[i].sent), err
		}
		return false
	}
	if p.panicked != nil {
		return all(core.Unknown, p.panicked)
	}
	ok := true
	for i := range out {
		state, err := e.outcomeOf(ctx, &intents[i], p.steps[i].reply())
		out[i].State, out[i].Err = state, err
		ok = ok && (state == core.Accepted || state == core.Duplicate)
	}
	return ok
}

// sendPipeline sends what was prepared, and then closes end.
func (e *Executor) sendPipeline(ctx context.Context, p *pipeline, end chan<- struct{}) {
	defer close(end)
	defer contain(&p.panicked)
	p.send(ctx, e.rdb)
}

// wait waits for the end of I/O that cannot be interrupted. Once ctx is done it
// returns the context's error. The goroutine of the I/O then goes on alone: it
// keeps nothing of the caller's but the context, and ends with the client's own
// time limits.
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
		return core.ContextError(ctx)
	}
}

// stateAfter returns what became of a job whose call has ended before its I/O.
func stateAfter(sent *sentArg) core.State {
	if sent.abandon() {
		return core.NotSent
	}
	return core.Unknown
}

// contain turns a panic, of the client's hooks for example, into an error.
func contain(err *error) {
	if v := recover(); v != nil {
		*err = &core.PanicError{Value: v, Stack: debug.Stack()}
	}
}
