package asynqexec

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// script runs one of asynq v0.26.0's scripts, which it recognizes by their keys.
func (c *workerClient) script(call scriptCall) *redis.Cmd {
	switch {
	case isFetch(call.keys):
		return c.fetch(call)
	case isRecord(call.keys):
		if _, leased := call.ctx.Deadline(); leased { // else it is the recoverer, which looks again anyway
			return c.record(call)
		}
	case isExpired(call.keys):
		return c.expired(call)
	}
	return housekeep(c, newCmd, call.send)
}

// scriptCall is a call of a script. It is no closure: there are two for each job.
type scriptCall struct {
	eval   func(rdb redis.UniversalClient, ctx context.Context, script string, keys []string, args ...any) *redis.Cmd
	rdb    redis.UniversalClient
	ctx    context.Context
	script string // its source or its hash
	keys   []string
	args   []any
}

func (s scriptCall) send() *redis.Cmd { return s.eval(s.rdb, s.ctx, s.script, s.keys, s.args...) }

// isFetch: pending, paused, active, lease.
func isFetch(keys []string) bool {
	return len(keys) == 4 && strings.HasSuffix(keys[0], "}:pending") && strings.HasSuffix(keys[2], "}:active")
}

// isRecord: done, completed and put back begin with active; retry and archive have
// the task before it.
func isRecord(keys []string) bool {
	return len(keys) >= 4 && (strings.HasSuffix(keys[0], "}:active") || strings.HasSuffix(keys[1], "}:active"))
}

// isExpired: lease alone.
func isExpired(keys []string) bool { return len(keys) == 1 && strings.HasSuffix(keys[0], "}:lease") }

// record repeats a script that records the end of a run until it has an answer.
// Its context ends with the lease: until then no other worker can have the job.
func (c *workerClient) record(call scriptCall) *redis.Cmd {
	unanswered := c.retries // then each try may be several
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if c.hasGivenUp() {
			return newCmd(errGivenUp)
		}
		cmd := call.send()
		err := cmd.Err()
		c.note(err)
		switch {
		case unanswered && err != nil && redis.HasErrorPrefix(err, "NOT FOUND"):
			return redis.NewCmdResult("OK", nil) // the try without an answer was carried out
		case !isOutage(err) || errors.Is(err, redis.ErrClosed):
			return cmd
		case !isAnswer(err):
			unanswered = true
		}
		select {
		case <-time.After(pause):
		case <-c.recording:
			return cmd
		case <-call.ctx.Done():
			return cmd
		}
	}
}

// fetch takes the next job of a queue.
func (c *workerClient) fetch(call scriptCall) *redis.Cmd {
	for {
		cmd := call.send()
		c.note(cmd.Err())
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			c.pauseFetching() // asynq tries again at once
			return cmd
		}
		raw, ok := cmd.Val().(string)
		if !ok {
			return cmd
		}
		putAway := c.postpone
		if !decodable(raw) {
			putAway = c.archive
		}
		if !putAway(call.ctx, queueOfKey(call.keys[0]), raw) {
			return cmd
		}
	}
}

func (c *workerClient) pauseFetching() {
	c.mu.Lock()
	c.pause = min(max(2*c.pause, firstPause), maxPause)
	pause := c.pause
	c.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-c.fetching:
	}
}

// expired lists the jobs whose lease is over. asynq drops the whole list if one
// message in it cannot be decoded.
func (c *workerClient) expired(call scriptCall) *redis.Cmd {
	cmd := housekeep(c, newCmd, call.send)
	list, ok := cmd.Val().([]any)
	if !ok {
		return cmd
	}
	var good []any
	for _, message := range list {
		raw, ok := message.(string)
		if ok && !decodable(raw) {
			c.archive(call.ctx, queueOfKey(call.keys[0]), raw)
			continue
		}
		good = append(good, message)
	}
	if len(good) == len(list) {
		return cmd
	}
	return redis.NewCmdResult(good, nil)
}
