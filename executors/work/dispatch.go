package workexec

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

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
		if to, bytes := chunk(intents); to == len(intents) {
			return core.Combine(e.call(ctx, intents, bytes, nil))
		}
	}
	out := core.OutcomesOf(nil, intents)
	broken := error(nil)
	for from := 0; from < len(intents); {
		n, bytes := chunk(intents[from:])
		part := intents[from : from+n]
		if broken == nil && ctx.Err() != nil {
			broken = contextError(ctx)
		}
		if broken == nil {
			if told := e.call(ctx, part, bytes, out[from:from+n]); failed(told) {
				broken = errAfterError
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

// call stores intents by one script call and writes down in out what became of
// each. It returns out, and nil if all are accepted and out was nil.
func (e *Executor) call(ctx context.Context, intents []core.Intent, bytes int, out []core.Outcome) []core.Outcome {
	now := time.Now()
	req := newRequest(len(intents), bytes)
	for i := range intents {
		req.add(&intents[i], e.mapped(&intents[i], now), now, e.plain)
	}
	req.finish()
	reply, sent, err := e.eval(ctx, req.args)
	if err == nil && reply == int64(1) {
		return out
	}
	if out == nil {
		out = core.OutcomesOf(nil, intents)
	}
	if err != nil {
		state, err := judgeError(ctx, sent, err)
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
		out[i].State, out[i].Err = judge(&intents[i], answer)
	}
	return out
}

// eval runs the script, and tells whether anything of it has been sent.
func (e *Executor) eval(ctx context.Context, args []any) (reply any, sent bool, err error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	if ctx.Done() == nil {
		defer conn.Close()
		reply, err = exchange(args, conn.Do)
		return reply, true, err
	}
	reply, err = exchange(args, func(command string, args ...any) (any, error) {
		return redis.DoContext(conn, ctx, command, args...)
	})
	if err != nil && err.Error() == noContext {
		reply, err = exchangeApart(ctx, conn, args)
		return reply, true, err
	}
	conn.Close() //nolint:errcheck // the pool's business
	return reply, true, err
}

// noContext is redigo's error, which has no name, for a connection of somebody's
// own that knows no context. Nothing has been sent then.
const noContext = "redis: connection does not support ConnWithContext"

// exchange runs the script, with its source if Redis does not know it.
func exchange(args []any, do func(command string, args ...any) (any, error)) (any, error) {
	reply, err := do("EVALSHA", args...)
	if re, ok := err.(redis.Error); ok && strings.HasPrefix(string(re), "NOSCRIPT") {
		args[0] = dispatchLua
		reply, err = do("EVAL", args...)
	}
	return reply, err
}

// exchangeApart is exchange on a connection that cannot be interrupted: once ctx is
// done it goes on by itself, and ends with the connection's own time limits.
func exchangeApart(ctx context.Context, conn redis.Conn, args []any) (reply any, err error) {
	type answer struct {
		reply any
		err   error
	}
	end := make(chan answer, 1)
	go func() {
		var a answer
		defer func() { end <- a }()
		defer contain(&a.err)
		defer conn.Close()
		a.reply, a.err = exchange(args, conn.Do)
	}()
	select {
	case a := <-end:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect takes a connection out of the pool. A pool with a Dial or TestOnBorrow
// that knows no context is waited for by a goroutine that ends with the pool's own
// time limits and gives the connection back.
func (e *Executor) connect(ctx context.Context) (redis.Conn, error) {
	if ctx.Done() == nil || e.pool.DialContext != nil && e.pool.TestOnBorrow == nil {
		return e.pool.GetContext(ctx)
	}
	type dialled struct {
		conn redis.Conn
		err  error
	}
	end := make(chan dialled, 1)
	pool := e.pool
	go func() {
		var d dialled
		defer func() { end <- d }()
		defer contain(&d.err)
		d.conn, d.err = pool.GetContext(ctx)
	}()
	select {
	case d := <-end:
		return d.conn, d.err
	case <-ctx.Done():
		go func() {
			if d := <-end; d.err == nil {
				d.conn.Close() //nolint:errcheck // nothing was done with it
			}
		}()
		return nil, ctx.Err()
	}
}

// contain turns a panic, of the pool's own functions say, into an error.
func contain(err *error) {
	if v := recover(); v != nil {
		*err = &core.PanicError{Value: v, Stack: debug.Stack()}
	}
}
