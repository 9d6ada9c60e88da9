package asynqexec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

var errHeldKey = fmt.Errorf("another unfinished job holds its unique key: %w", core.ErrDuplicate)

// Retry makes a job pending. See [inspect.Controller].
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	for {
		t, err := i.find(ctx, queue, id)
		if err != nil {
			return err
		}
		changed, err := i.retry(ctx, t)
		if !changed {
			return err
		}
	}
}

// retry reports whether the task has changed meanwhile, so that nothing was done.
func (i *Inspector) retry(ctx context.Context, t storedTask) (changed bool, err error) {
	refuse := func(why error) (bool, error) {
		return false, fmt.Errorf("airlock: asynq: retry job %q: %w", t.id, why)
	}
	message := t.raw
	switch state := t.stateOf(); {
	case state == inspect.Waiting:
		return false, nil
	case state == inspect.Running:
		return refuse(inspect.ErrRunning)
	case state == inspect.Done:
		return refuse(inspect.ErrDone)
	case t.message == nil:
		return refuse(inspect.ErrUnreadable)
	case t.state == "aggregating":
		return false, &inspect.UnsupportedError{Executor: name, Action: "retry a job of a group", Reason: "the group decides when its jobs run"}
	case state == inspect.Dead && i.jobOf(t).Unreadable != "":
		return refuse(inspect.ErrUnreadable)
	case state == inspect.Dead:
		if message, err = t.withAllAttempts(); err != nil {
			return refuse(inspect.ErrUnreadable)
		}
	}
	job, lock := i.jobOf(t), ""
	if job.Unique != "" {
		lock = job.Task + " " + job.Unique
	}
	base, _, _ := strings.Cut(t.lane, "}")
	keys := []string{taskKey(t.lane, t.id), queueKey(t.lane, t.state), queueKey(t.lane, "pending"), queueKey(base, "airlock:unique")}
	answer, err := retryScript.Run(ctx, i.rdb, keys, t.id, t.state, t.raw, message, time.Now().UnixNano(), lock).Int()
	switch {
	case err != nil:
		return false, i.failed(ctx, err)
	case answer == -1:
		return refuse(errHeldKey)
	}
	return answer == 0, nil
}

// retryScript moves a task to the pending ones, unless it has changed or its unique
// key is held by another unfinished task. The answer is 1, 0 if it has changed, or -1.
//
//	KEYS  task, sorted set where it is, pending, hash of locks
//	ARGV  ID, state, message, new message, now in nanoseconds, lock's field or ""
var retryScript = redis.NewScript(`
local stored = redis.call("HMGET", KEYS[1], "state", "msg")
if stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3] then
	return 0
end
if ARGV[6] ~= "" then
	local holder = redis.call("HGET", KEYS[4], ARGV[6])
	if holder and holder ~= KEYS[1] then
		local state = redis.call("HGET", holder, "state")
		if state and state ~= "completed" and state ~= "archived" then
			return -1
		end
	end
	redis.call("HSET", KEYS[4], ARGV[6], KEYS[1])
end
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("LPUSH", KEYS[3], ARGV[1])
redis.call("HSET", KEYS[1], "state", "pending", "msg", ARGV[4], "pending_since", ARGV[5])
return 1
`)

// RetryAll retries dead jobs. See [inspect.Controller].
func (i *Inspector) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	q := inspect.Query{Queue: s.Queue, State: inspect.Dead, Task: s.Task, Limit: inspect.MaxLimit}
	return inspect.RetryEach(s, inspect.All(ctx, i, q), func(job inspect.Job) error { return i.Retry(ctx, s.Queue, job.ID) })
}

// Discard deletes a task. See [inspect.Controller].
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	for {
		t, err := i.find(ctx, queue, id)
		if err != nil {
			return err
		}
		if t.state == "active" {
			return fmt.Errorf("airlock: asynq: discard job %q: %w", id, inspect.ErrRunning)
		}
		err = i.inspector().DeleteTask(t.lane, id)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
			return fmt.Errorf("airlock: asynq: job %q in queue %q: %w", id, queue, inspect.ErrNotFound)
		}
		if now, again := i.find(ctx, queue, id); again != nil || now.state == t.state {
			return i.failed(ctx, err)
		}
	}
}

// Pause pauses a queue and its lanes.
func (i *Inspector) Pause(ctx context.Context, queue string) error {
	return i.eachLane(ctx, queue, func(pipe redis.Pipeliner, key string) { pipe.SetNX(ctx, key, time.Now().Unix(), 0) })
}

// Resume ends a pause of a queue and its lanes.
func (i *Inspector) Resume(ctx context.Context, queue string) error {
	return i.eachLane(ctx, queue, func(pipe redis.Pipeliner, key string) { pipe.Del(ctx, key) })
}

// eachLane does something with the mark of a pause of the queue and each lane, as
// asynq does. A lane without jobs may get some later.
func (i *Inspector) eachLane(ctx context.Context, queue string, fn func(pipe redis.Pipeliner, key string)) error {
	lanes, err := i.lanes(ctx, queue)
	if err != nil {
		return err
	}
	base, _, _ := strings.Cut(lanes[0], "}")
	pipe := i.rdb.Pipeline()
	for _, lane := range []string{base, base + highLane, base + lowLane} {
		fn(pipe, queueKey(lane, "paused"))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return i.failed(ctx, err)
	}
	return nil
}
