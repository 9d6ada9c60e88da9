package asynqexec

import (
	"context"
	"fmt"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// tap is the caller's client as asynq sees it. To enqueue, asynq v0.26.0 calls
// SAdd once for each queue and then EvalSha, and Eval if that answers NOSCRIPT:
// see TestEnqueuingIsOneScript. tap gets hold of these by the context, which asynq
// passes on as it is: a *recording keeps the script back for a pipeline, a *passage
// lets it through and notes the reply.
type tap struct {
	redis.UniversalClient
	scripts sync.Map // sha1 of asynq's script → *script
}

// noScript is the answer for a script whose source is still to be learned: asynq
// then calls Eval.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT the source is not known yet" }
func (noScript) RedisError()   {}

var (
	kept    = redis.NewCmdResult(int64(1), nil) // only read by asynq
	unknown = redis.NewCmdResult(nil, noScript{})
	added   = redis.NewIntResult(1, nil)
)

// SAdd announces a queue. A recording announces its queues itself.
func (t *tap) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	switch c := ctx.(type) {
	case *recording:
		return added
	case *passage:
		cmd := t.UniversalClient.SAdd(c.Context, key, members...)
		c.reply.err = cmd.Err()
		return cmd
	}
	return t.UniversalClient.SAdd(ctx, key, members...)
}

// EvalSha runs a script of asynq's, or keeps it back.
func (t *tap) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch c := ctx.(type) {
	case *recording:
		if s, ok := t.scripts.Load(sha); ok {
			return c.add(s.(*script), keys, args)
		}
		return unknown
	case *passage:
		if c.guard == nil {
			return c.note(t.UniversalClient.EvalSha(c.Context, sha, keys, args...))
		}
		if s, ok := t.scripts.Load(sha); ok {
			return t.guarded(c, s.(*script), keys, args)
		}
		return unknown
	}
	return t.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// Eval is called when EvalSha does not know the script.
func (t *tap) Eval(ctx context.Context, source string, keys []string, args ...any) *redis.Cmd {
	switch c := ctx.(type) {
	case *recording:
		return c.add(t.learn(source), keys, args)
	case *passage:
		if c.guard == nil {
			return c.note(t.UniversalClient.Eval(c.Context, source, keys, args...))
		}
		return t.guarded(c, t.learn(source), keys, args)
	}
	return t.UniversalClient.Eval(ctx, source, keys, args...)
}

func (t *tap) learn(source string) *script {
	s := newScript(source)
	known, _ := t.scripts.LoadOrStore(s.plain.sha, s)
	return known.(*script)
}

// guarded runs a script with the guard in front of it.
func (t *tap) guarded(c *passage, s *script, keys []string, args []any) *redis.Cmd {
	if err := c.guard.check(keys); err != nil {
		return c.note(redis.NewCmdResult(nil, err))
	}
	keys, args = c.guard.extend(keys, args)
	cmd := t.UniversalClient.EvalSha(c.Context, s.guarded.sha, keys, args...)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = t.UniversalClient.Eval(c.Context, s.guarded.source, keys, args...)
	}
	return c.note(cmd)
}

// check makes sure that asynq's keys are what the guard takes them for.
func (g *guard) check(keys []string) error {
	if len(keys) == 0 || keys[0] != g.task {
		return errLibrary
	}
	return nil
}

// errLibrary is not ErrInvalid: nothing is wrong with the intent.
var errLibrary = fmt.Errorf("airlock: asynq: this version of asynq enqueues in a way that is not known here")

// reply is what Redis said to one script. The zero value means that the script
// was never sent.
type reply struct {
	answer int64 // 1 stored, 0 the ID is there already, -1 the unique key is
	sent   bool
	err    error
}

// replyOf reads a command that has been carried out, by itself or in a pipeline
// that ended with an error. go-redis v9.14.1 puts the error of a pipeline on
// commands that have been answered, so the answer holds, and leaves commands of a
// pipeline that found no connection without any.
func replyOf(cmd *redis.Cmd, pipeline error) reply {
	if n, ok := cmd.Val().(int64); ok {
		return reply{answer: n, sent: true}
	}
	err := cmd.Err()
	if err == nil {
		err = pipeline
	}
	if err == nil {
		err = errLibrary
	}
	return reply{sent: true, err: err}
}

// passage is the context of one intent that is enqueued by itself.
type passage struct {
	context.Context
	guard    *guard
	options  [mostOptions]asynq.Option // room for the task's
	reply    reply
	panicked error
}

func (p *passage) note(cmd *redis.Cmd) *redis.Cmd {
	p.reply = replyOf(cmd, nil)
	return cmd
}

// recording is the context under which asynq enqueues into a pipeline.
type recording struct {
	context.Context
	next  order // of the intent that asynq is called for
	steps []step
}

func (r *recording) add(s *script, keys []string, args []any) *redis.Cmd {
	h := &s.plain
	if g := r.next.guard; g != nil {
		if err := g.check(keys); err != nil {
			return redis.NewCmdResult(nil, err)
		}
		h = &s.guarded
		keys, args = g.extend(keys, args)
	}
	r.steps = append(r.steps, step{half: h, queue: r.next.queue, keys: keys, args: args})
	return kept
}
