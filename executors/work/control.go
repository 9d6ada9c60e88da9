package workexec

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/inspect"
)

// Get returns a job.
func (i *Inspector) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	s, f, err := i.find(ctx, queue, id)
	if err != nil {
		return inspect.Job{}, err
	}
	return i.jobOf(s, f), nil
}

// find looks for a job in the order in which jobs move, so that it finds one that
// moves meanwhile.
func (i *Inspector) find(ctx context.Context, queue, id string) (s space, f found, err error) {
	if s, err = i.space(ctx, queue); err != nil {
		return s, f, err
	}
	unread := strings.HasPrefix(id, unreadableID)
	for _, state := range []inspect.State{inspect.Delayed, inspect.Waiting, inspect.Running, inspect.Dead} {
		for cursor, ok := "", false; ; {
			cursor, err = i.walk(ctx, s, state, cursor, inspect.MaxLimit, func(at found) bool {
				// An ID with characters that JSON escapes is not in the text.
				if unread || strings.Contains(at.text, id) || strings.ContainsAny(id, `"\<>&/`) {
					ok = i.jobOf(s, at).ID == id
				}
				f = at
				return !ok
			})
			switch {
			case err != nil:
				return s, f, err
			case ok:
				return s, f, nil
			case cursor == "":
			default:
				continue
			}
			break
		}
	}
	return s, f, fmt.Errorf("airlock: work: job %q in queue %q: %w", id, s.queue, inspect.ErrNotFound)
}

// Retry moves a job to the list of its name. See [inspect.Controller].
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	for {
		s, f, err := i.find(ctx, queue, id)
		if err != nil {
			return err
		}
		changed, err := i.retry(ctx, s, f)
		if !changed {
			return err
		}
	}
}

// retry reports whether the job has moved meanwhile, so that nothing was done.
func (i *Inspector) retry(ctx context.Context, s space, f found) (moved bool, err error) {
	job := i.jobOf(s, f)
	refuse := func(why error) (bool, error) {
		return false, fmt.Errorf("airlock: work: retry job %q: %w", job.ID, why)
	}
	var m message
	readable := json.Unmarshal([]byte(f.text), &m) == nil && m.Name != ""
	switch {
	case f.state == inspect.Waiting:
		return false, nil
	case f.state == inspect.Running:
		return refuse(inspect.ErrRunning)
	case !readable || strings.HasPrefix(job.ID, unreadableID) || f.state == inspect.Dead && job.Unreadable != "":
		return refuse(inspect.ErrUnreadable)
	}
	text, lock := []byte(f.text), ""
	if f.state == inspect.Dead {
		m.Fails, m.Err, m.FailedAt, m.T = 0, "", 0, time.Now().Unix()
		text = m.encode()
	}
	if job.Unique != "" {
		lock = s.prefix + "airlock:unique:" + lockName(job.Task, job.Unique)
	}
	answer, err := redis.Int(i.eval(ctx, retryScript, []string{f.set, s.prefix + "jobs:" + m.Name, s.prefix + "known_jobs"},
		f.text, text, s.prefix, m.Name, m.ID, lock, milliseconds(lockFor)))
	switch {
	case err != nil:
		return false, err
	case answer == -1:
		return refuse(errKnownKey)
	}
	return answer == 0, nil
}

// retryScript moves a member of a sorted set to its list, unless it is gone or its
// unique key is held by another unfinished job. The answer is 1, 0 if it is gone, or -1.
//
//	KEYS  sorted set, list, known names
//	ARGV  member, new message, namespace's prefix, name, ID, key of the lock or "",
//	      for how many milliseconds it is locked
var retryScript = newScript(unfinishedLua + `
local lock = ARGV[6]
if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
	return 0
end
if lock ~= "" then
	local holder = redis.call("HGET", lock, "job")
	if holder and holder ~= ARGV[5] and unfinished(ARGV[3], lock) then
		return -1
	end
	redis.call("HMSET", lock, "job", ARGV[5], "name", ARGV[4], "due", "")
	redis.call("PEXPIRE", lock, ARGV[7])
end
redis.call("SADD", KEYS[3], ARGV[4])
redis.call("LPUSH", KEYS[2], ARGV[2])
redis.call("ZREM", KEYS[1], ARGV[1])
return 1
`)

// RetryAll retries dead jobs. See [inspect.Controller].
func (i *Inspector) RetryAll(ctx context.Context, sel inspect.Selection) (inspect.Result, error) {
	if err := sel.Check(); err != nil {
		return inspect.Result{}, err
	}
	s, err := i.space(ctx, sel.Queue)
	if err != nil {
		return inspect.Result{}, err
	}
	var current found // of the job that retry gets: nothing has to look for it
	return inspect.RetryEach(sel, i.dead(ctx, s, &current), func(job inspect.Job) error {
		moved, err := i.retry(ctx, s, current)
		if moved {
			return fmt.Errorf("airlock: work: retry job %q: %w", job.ID, inspect.ErrNotFound)
		}
		return err
	})
}

// dead yields all dead jobs, page by page.
func (i *Inspector) dead(ctx context.Context, s space, current *found) iter.Seq2[inspect.Job, error] {
	return func(yield func(inspect.Job, error) bool) {
		for cursor := ""; ; {
			var page []found
			next, err := i.walk(ctx, s, inspect.Dead, cursor, inspect.MaxLimit, func(f found) bool {
				page = append(page, f)
				return true
			})
			if err != nil {
				yield(inspect.Job{}, err)
				return
			}
			for _, *current = range page {
				if !yield(i.jobOf(s, *current), nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// Discard removes a job. See [inspect.Controller].
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	for {
		s, f, err := i.find(ctx, queue, id)
		if err != nil {
			return err
		}
		if f.state == inspect.Running {
			return fmt.Errorf("airlock: work: discard job %q: %w", id, inspect.ErrRunning)
		}
		job, lock := i.jobOf(s, f), ""
		if job.Unique != "" {
			lock = s.prefix + "airlock:unique:" + lockName(job.Task, job.Unique)
		}
		n, err := redis.Int(i.eval(ctx, discardScript, []string{f.set}, f.text, f.score, lock, id))
		if err != nil || n > 0 {
			return err
		}
	}
}

// discardScript removes a member, and its lock if it holds one. KEYS: the list or
// sorted set. ARGV: the member, its score or "" in a list, the lock's key or "", the ID.
var discardScript = newScript(`
local n
if ARGV[2] == "" then
	n = redis.call("LREM", KEYS[1], -1, ARGV[1])
else
	n = redis.call("ZREM", KEYS[1], ARGV[1])
end
if n > 0 and ARGV[3] ~= "" and redis.call("HGET", ARGV[3], "job") == ARGV[4] then
	redis.call("DEL", ARGV[3])
end
return n
`)

// Pause pauses every task that the queue knows by now: the library pauses tasks, not
// namespaces. A task whose first job comes later is not paused.
func (i *Inspector) Pause(ctx context.Context, queue string) error {
	return i.setPaused(ctx, queue, "1")
}

// Resume ends the pause of every task of the queue.
func (i *Inspector) Resume(ctx context.Context, queue string) error {
	return i.setPaused(ctx, queue, "")
}

func (i *Inspector) setPaused(ctx context.Context, queue, mark string) error {
	s, err := i.space(ctx, queue)
	if err != nil {
		return err
	}
	_, err = i.eval(ctx, pauseScript, []string{s.prefix + "known_jobs"}, s.prefix+"jobs:", mark)
	return err
}

var pauseScript = newScript(`
for _, name in ipairs(redis.call("SMEMBERS", KEYS[1])) do
	if ARGV[2] == "" then
		redis.call("DEL", ARGV[1] .. name .. ":paused")
	else
		redis.call("SET", ARGV[1] .. name .. ":paused", ARGV[2])
	end
end
return 1
`)
