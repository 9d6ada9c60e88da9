package workexec

import (
	"context"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

const (
	recoveryEvery   = 2 * time.Second
	unansweredEvery = 5 * time.Second
	unknownAfter    = 30 * time.Second // a native pool's first heartbeat is never later
)

// recoveryLoop brings jobs back until ctx is done. Errors are logged by outageLog.
func (w *Worker) recoveryLoop(ctx context.Context) {
	scans := make([]deadScan, len(w.spaces))
	idle := map[idleKey]time.Time{}
	logged := map[string]bool{}
	looked := time.Now()
	for {
		for i, s := range w.spaces {
			_ = w.scanDead(ctx, s, &scans[i])
			if w.heartbeats.steady() {
				_ = w.takeBackOfOthers(ctx, s, idle)
			}
		}
		if now := time.Now(); now.Sub(looked) >= unansweredEvery {
			looked = now
			_ = w.putBackUnanswered(ctx, false)
			_ = w.native.putBackIdle(ctx, w, idle)
			for _, s := range w.spaces {
				_ = w.reportUnserved(ctx, s, logged)
			}
		}
		if !sleep(ctx, recoveryEvery) {
			return
		}
	}
}

// idleKey is a job in progress of a pool of which nothing is known.
type idleKey struct {
	list        *list
	owner, text string
}

// takeBackOfOthers takes back the jobs of workers and pools that are dead.
func (w *Worker) takeBackOfOthers(ctx context.Context, s space, idle map[idleKey]time.Time) error {
	var lists []*list
	keys := []string{s.prefix + "worker_pools"}
	for _, l := range w.lists {
		if l.prefix == s.prefix {
			lists, keys = append(lists, l), append(keys, l.lockInfo())
		}
	}
	reply, _, err := w.eval(ctx, "look for dead workers", ownersScript, keys,
		s.prefix+"worker_pools:", w.owner, ownerSuffix, int64(deadAfter/time.Second))
	found, err := redis.Values(reply, err)
	if err != nil {
		return err
	}
	for len(found) > 0 {
		var at, silent int
		var owner string
		if found, err = redis.Scan(found, &at, &owner, &silent); err != nil || at < 1 || at > len(lists) {
			return errAnswer
		}
		l, ours := lists[at-1], strings.HasSuffix(owner, ownerSuffix)
		texts, err := w.jobsInProgress(ctx, l, owner)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !ours && silent == 0 && !idleFor(idle, idleKey{l, owner, text}, unknownAfter) {
				continue // it may have fetched its first job before its first heartbeat
			}
			if err := w.takeBack(ctx, l, owner, text, ours); err != nil {
				return err
			}
		}
	}
	return nil
}

// idleFor reports whether a job has been seen for so long.
func idleFor(idle map[idleKey]time.Time, key idleKey, limit time.Duration) bool {
	now := time.Now()
	for other, since := range idle {
		if now.Sub(since) > 2*limit {
			delete(idle, other)
		}
	}
	since, ok := idle[key]
	if !ok {
		idle[key] = now
	}
	return ok && now.Sub(since) >= limit
}

// takeBack moves a job from an owner's in-progress list to the head of its list. An attempt that
// was begun counts, and the job is dead if it was the last one.
func (w *Worker) takeBack(ctx context.Context, l *list, owner, text string, begun bool) error {
	h := w.read(l, text)
	run := worker.Run{Delivery: h.delivery}
	switch v := &run.Verdict; {
	case h.bad != nil:
		v.Action, v.Err = worker.Dead, h.bad
	case !begun:
		v.Action, v.Err = worker.Interrupted, errUnanswered
	case h.delivery.Attempt >= h.delivery.MaxAttempts:
		v.Action, v.Err = worker.Dead, errUsedUp
	default:
		v.Action, v.Err = worker.Retry, errNeverAnswered
	}
	moved, _, err := w.move(ctx, h, owner, w.takenBack(h, run.Verdict))
	if err != nil || !moved {
		return err
	}
	if w.reg.Handles(h.delivery.Task) { // and not a native handler of the same pool
		w.reg.Report(ctx, run)
	}
	adapter.LogRun(ctx, w.log, run)
	return nil
}

// takenBack returns where a job goes that is taken back. It does not wait for its
// backoff: its own run may have been the least of its worker's troubles.
func (w *Worker) takenBack(h *held, v worker.Verdict) transition {
	f := w.transitionOf(h, v, time.Now())
	m := h.message
	m.Fails, m.FailedAt, m.Err = int64(h.delivery.Attempt), time.Now().Unix(), adapter.ErrorText(v.Err, maxErrorText)
	switch v.Action {
	case worker.Retry:
		return transition{to: first, text: m.encode(), hold: milliseconds(lockFor)}
	case worker.Dead:
		if h.bad == nil {
			f.text = m.encode()
		}
	}
	return f
}

// ownersScript finds the owners of jobs that are silent. KEYS: the set of pools, and
// the library's counts of running jobs for each list. ARGV: what the keys of signs of
// life begin with, the owner who asks, the suffix of our owners, and after how many
// seconds a worker is dead. The answer has three elements for each: the number of its
// list, its name, and 1 if there is an old heartbeat, 0 if there is none.
//
// It also removes counts of zero of owners that are gone, and old heartbeats of our
// own workers. The library's reaper needs those of its pools.
var ownersScript = newScript(`
local now, limit = tonumber(redis.call("TIME")[1]), tonumber(ARGV[4])
local answer = {}

local function seen(id)
	return tonumber(redis.call("HGET", ARGV[1] .. id, "heartbeat_at") or nil)
end

for i = 2, #KEYS do
	local counts = redis.call("HGETALL", KEYS[i])
	for j = 1, #counts, 2 do
		local owner, n = counts[j], tonumber(counts[j + 1]) or 0
		local id = owner
		if string.sub(owner, -#ARGV[3]) == ARGV[3] then
			id = string.sub(owner, 1, -#ARGV[3] - 1)
		end
		local at = seen(id)
		if owner ~= ARGV[2] and (not at or now - at > limit) then
			if n > 0 then
				answer[#answer + 1] = i - 1
				answer[#answer + 1] = owner
				answer[#answer + 1] = at and 1 or 0
			elseif not at then
				redis.call("HDEL", KEYS[i], owner)
			end
		end
	end
end
for _, id in ipairs(redis.call("SMEMBERS", KEYS[1])) do
	local at = seen(id)
	if at and now - at > limit and redis.call("HGET", ARGV[1] .. id, "airlock") then
		redis.call("SREM", KEYS[1], id)
		redis.call("DEL", ARGV[1] .. id)
	end
end
return answer
`)
