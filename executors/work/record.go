package workexec

import (
	"cmp"
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

// result is what became of a verdict.
type result uint8

const (
	recorded   result = iota
	notOwner          // the owner no longer has the job
	unrecorded        // Redis did not answer as long as it was worth trying
)

// record applies a transition. What a handler did is worth many tries, and meanwhile the
// slot is not missed: without Redis there is nothing to fetch. With more the first try
// also fetches the next job for the slot, which is then counted in w.unrecorded.
func (w *Worker) record(h *held, f transition, more bool) (_ result, next *held) {
	sentBefore := false
	for wait, refused := retryFirst, 0; ; wait = min(2*wait, retryMost) {
		var moved, sent bool
		var err error
		if more && w.fetched.fetching.TryRLock() { // else the lists are being compared
			moved, sent, next, err = w.moveAndFetch(h, f)
			w.fetched.fetching.RUnlock()
		} else {
			moved, sent, err = w.move(context.Background(), h, w.owner, f)
		}
		more = false
		switch {
		case err == nil && (moved || sentBefore): // an earlier try may have done it
			return recorded, next
		case err == nil:
			w.remember(h, f)
			return notOwner, next
		}
		w.remember(h, f) // others may put it back meanwhile
		sentBefore = sentBefore || sent
		if isFinal(err) {
			if refused++; refused == 3 {
				return unrecorded, nil
			}
		}
		select {
		case <-w.ended:
			return unrecorded, nil
		case <-time.After(wait):
		}
	}
}

// remember notes a job that succeeded and may come back nevertheless.
func (w *Worker) remember(h *held, f transition) {
	if f.to == nowhere {
		w.remembered.add(h)
	}
}

// move moves a job from an owner's in-progress list and reports whether it was there.
func (w *Worker) move(ctx context.Context, h *held, owner string, f transition) (moved, sent bool, err error) {
	args := make([]any, 2, 2+moveKeys+moveArgs)
	args[0], args[1] = moveScript.hash, moveKeys
	args = appendMoveArgs(appendMoveKeys(args, h, owner, f), h, owner, f)
	reply, sent, err := w.evalArgs(ctx, "record a verdict", moveScript, args)
	n, err := redis.Int(reply, err)
	return n == 1, sent, err
}

// moveAndFetch moves a job of this worker, and fetches one more, which it counts in
// w.unrecorded. The caller has locked w.fetched.fetching.
func (w *Worker) moveAndFetch(h *held, f transition) (moved, sent bool, next *held, err error) {
	order := shuffled(w.lists)
	args := make([]any, 2, 4+moveKeys+moveArgs+7*len(order))
	args[0], args[1] = moveAndFetchScript.hash, moveKeys+6*len(order)
	args = appendMoveKeys(args, h, w.owner, f)
	for _, l := range order {
		args = append(args, l.fetchKeys...)
	}
	args = appendShares(appendMoveArgs(args, h, w.owner, f), order, w.owner, 1)
	reply, sent, err := w.evalArgs(context.Background(), "record a verdict", moveAndFetchScript, args)
	answer, err := redis.Values(reply, err)
	if err != nil || len(answer) != 2 {
		return false, sent, nil, cmp.Or(err, errAnswer)
	}
	found, _ := answer[1].([]any)
	if jobs, err := w.fetchedOf(order, found); err == nil && len(jobs) > 0 {
		w.unrecorded.add(1)
		next = jobs[0]
	}
	return answer[0] == int64(1), sent, next, nil // a job that is not understood is put back later
}

// The numbers of KEYS and ARGV of moveLua.
const moveKeys, moveArgs = 5, 7

func appendMoveKeys(args []any, h *held, owner string, f transition) []any {
	l := h.list
	if owner == l.owner {
		args = append(args, l.fetchKeys[1], l.fetchKeys[3], l.fetchKeys[4])
	} else {
		args = append(args, l.inProgress(owner), l.lock(), l.lockInfo())
	}
	args = append(args, l.prefix+"airlock:unique:"+h.lock)
	switch f.to {
	case retries, dead:
		return append(args, l.prefix+string(f.to))
	}
	return append(args, l.key())
}

func appendMoveArgs(args []any, h *held, owner string, f transition) []any {
	id := ""
	if h.lock != "" {
		id = h.message.ID
	}
	return append(args, h.text, owner, string(f.to), f.text, f.at, id, f.hold)
}

// moveLua defines move(), which moves a job from an owner's in-progress list if it is
// still there, and settles its unique key. KEYS: the in-progress list, the library's two
// counts of running jobs, the unique key's lock, where the job goes. ARGV: the message,
// the owner, the destination, the new message, its score, the job's ID if it has a lock,
// and for how long to keep that.
//
// The job is stored in its new place first: of a script that is cut off in Redis's
// append-only file the beginning remains. The owner's count, by which others find it,
// is set to what it is.
const moveLua = `
local function inProgress()
	for _, message in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
		if message == ARGV[1] then
			return true
		end
	end
	return false
end

local function move()
	if ARGV[3] ~= "" then
		if not inProgress() then
			return 0
		elseif ARGV[3] == "first" then
			redis.call("RPUSH", KEYS[5], ARGV[4])
		else
			redis.call("ZADD", KEYS[5], ARGV[5], ARGV[4])
		end
	end
	if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then
		return 0
	end
	redis.call("DECR", KEYS[2])
	local left = redis.call("LLEN", KEYS[1])
	if left > 0 then
		redis.call("HSET", KEYS[3], ARGV[2], left)
	else
		redis.call("HDEL", KEYS[3], ARGV[2])
	end
	if ARGV[6] ~= "" and redis.call("HGET", KEYS[4], "job") == ARGV[6] then
		if ARGV[7] == "0" then
			redis.call("DEL", KEYS[4])
		else
			redis.call("PEXPIRE", KEYS[4], ARGV[7])
		end
	end
	return 1
end
`

var (
	moveScript         = newScript(moveLua + "return move()")
	moveAndFetchScript = newScript(moveLua + fetchLua + "return {move(), fetch(5, 7)}")
)
