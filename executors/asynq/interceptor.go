package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// clientInterceptor is the caller's client as asynq's client sees it. To enqueue,
// asynq v0.26.0 calls SAdd once for each queue and then EvalSha, and Eval if that
// answers NOSCRIPT: see TestEnqueuingIsOneScript. The interceptor finds its own
// data in the context, which asynq passes on as it is: a *batchCapture keeps the
// script back for a pipeline, a *singleCall sends it and notes the reply.
type clientInterceptor struct {
	redis.UniversalClient
	scripts sync.Map // sha1 of asynq's script → *script
}

// noScript is the answer for a script whose source is not known yet: asynq then
// calls Eval.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT the source is not known yet" }
func (noScript) RedisError()   {}

// Replies for asynq to a command that has not been sent. asynq only reads them.
var (
	captured      = redis.NewCmdResult(int64(1), nil)
	unknownScript = redis.NewCmdResult(nil, noScript{})
	added         = redis.NewIntResult(1, nil)
)

// SAdd announces a queue. A pipeline announces its queues itself.
func (i *clientInterceptor) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	switch c := ctx.(type) {
	case *batchCapture:
		return added
	case *singleCall:
		cmd := i.UniversalClient.SAdd(c.Context, key, members...)
		c.reply.err = cmd.Err()
		return cmd
	}
	return i.UniversalClient.SAdd(ctx, key, members...)
}

// EvalSha sends one of asynq's scripts, or keeps it back.
func (i *clientInterceptor) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch c := ctx.(type) {
	case *batchCapture:
		if s, ok := i.scripts.Load(sha); ok {
			return c.add(s.(*script), keys, args)
		}
		return unknownScript
	case *singleCall:
		if c.guard == nil {
			return c.note(i.UniversalClient.EvalSha(c.Context, sha, keys, c.sent.watch(args)...))
		}
		if s, ok := i.scripts.Load(sha); ok {
			return i.sendGuarded(c, s.(*script), keys, args)
		}
		return unknownScript
	}
	return i.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// Eval is called when EvalSha does not know the script.
func (i *clientInterceptor) Eval(ctx context.Context, source string, keys []string, args ...any) *redis.Cmd {
	switch c := ctx.(type) {
	case *batchCapture:
		return c.add(i.learn(source), keys, args)
	case *singleCall:
		if c.guard == nil {
			return c.note(i.UniversalClient.Eval(c.Context, source, keys, c.sent.watch(args)...))
		}
		return i.sendGuarded(c, i.learn(source), keys, args)
	}
	return i.UniversalClient.Eval(ctx, source, keys, args...)
}

func (i *clientInterceptor) learn(source string) *script {
	s := newScript(source)
	known, _ := i.scripts.LoadOrStore(s.plain.sha, s)
	return known.(*script)
}

// sendGuarded sends a script with the guard in front of it.
func (i *clientInterceptor) sendGuarded(c *singleCall, s *script, keys []string, args []any) *redis.Cmd {
	if err := c.guard.check(keys); err != nil {
		return c.note(redis.NewCmdResult(nil, err))
	}
	keys, args = c.guard.extend(keys, c.sent.watch(args))
	cmd := i.UniversalClient.EvalSha(c.Context, s.guarded.sha, keys, args...)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = i.UniversalClient.Eval(c.Context, s.guarded.source, keys, args...)
	}
	return c.note(cmd)
}

// errLibrary is not ErrInvalid: nothing is wrong with the intent.
var errLibrary = fmt.Errorf("airlock: asynq: this version of asynq enqueues in a way that is not known here")

// reply is the answer to one script. The zero value means that asynq never called
// it.
type reply struct {
	answer  int64 // 1 stored, 0 the ID is there already, -1 the unique key is
	called  bool
	written bool // to a connection, at least in part
	err     error
}

// replyOf reads a command that has been carried out, alone or in a pipeline that
// ended with an error. go-redis v9.14.1 puts the error of a pipeline on commands
// that have been answered, so the answer holds, and leaves commands of a pipeline
// that found no connection without an error.
func replyOf(cmd *redis.Cmd, pipeline error, sent *sentArg) reply {
	if n, ok := cmd.Val().(int64); ok {
		return reply{answer: n, called: true, written: true}
	}
	err := cmd.Err()
	if err == nil {
		err = pipeline
	}
	if err == nil {
		err = errLibrary
	}
	return reply{called: true, written: sent.state.Load() == sentWritten, err: err}
}

// sentArg is an argument of a script that notes when go-redis writes it to a
// connection. As long as it is not written the script has surely not been run. The
// error may come from the dial, the handshake, an exhausted pool or a hook.
type sentArg struct {
	data  []byte
	state atomic.Int32
}

// The states of a sentArg.
const (
	sentNotYet int32 = iota
	sentWritten
	sentAbandoned // and never written
)

var errAbandoned = errors.New("airlock: asynq: the call's context has ended")

// MarshalBinary is called by go-redis as it writes the command. After an error
// go-redis drops the connection with what it has buffered.
func (a *sentArg) MarshalBinary() ([]byte, error) {
	if !a.state.CompareAndSwap(sentNotYet, sentWritten) && a.state.Load() == sentAbandoned {
		return nil, errAbandoned
	}
	return a.data, nil
}

// abandon reports whether the argument has not been written, and then keeps it
// from being written later.
func (a *sentArg) abandon() bool {
	return a.state.CompareAndSwap(sentNotYet, sentAbandoned)
}

// String keeps payloads out of the logs and traces of hooks.
func (a *sentArg) String() string { return fmt.Sprintf("message of %d bytes", len(a.data)) }

// watch puts a in the place of the task's message among a script's arguments.
func (a *sentArg) watch(args []any) []any {
	for i, arg := range args {
		if data, ok := arg.([]byte); ok {
			a.data, args[i] = data, a
			return args
		}
	}
	a.state.CompareAndSwap(sentNotYet, sentWritten) // it cannot be known
	return args
}

// singleCall is the context of one intent that is enqueued alone.
type singleCall struct {
	context.Context
	guard    *guard
	options  [maxOptions]asynq.Option // room for the task's
	sent     sentArg
	reply    reply
	panicked error
}

func (c *singleCall) note(cmd *redis.Cmd) *redis.Cmd {
	c.reply = replyOf(cmd, nil, &c.sent)
	return cmd
}

// batchCapture is the context under which asynq enqueues into a pipeline.
type batchCapture struct {
	context.Context
	next  enqueueParams // of the intent that asynq is called for
	steps []step
}

func (c *batchCapture) add(s *script, keys []string, args []any) *redis.Cmd {
	lua, g := &s.plain, c.next.guard
	if g != nil {
		if err := g.check(keys); err != nil {
			return redis.NewCmdResult(nil, err)
		}
		lua = &s.guarded
	}
	// In place: the argument's address must stay what it is.
	c.steps = c.steps[:len(c.steps)+1]
	st := &c.steps[len(c.steps)-1]
	st.lua, st.queue, st.keys, st.args = lua, c.next.queue, keys, st.sent.watch(args)
	if g != nil {
		st.keys, st.args = g.extend(keys, st.args)
	}
	return captured
}
