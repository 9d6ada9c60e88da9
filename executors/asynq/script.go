package asynqexec

import (
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

// guardLua runs in front of asynq's own script and may answer in its place: 0 if
// the ID is stored in another lane, -1 if the unique key is taken. KEYS and ARGV
// are asynq's, KEYS[1] being the key of the task, followed by ours:
//
//	KEYS  the task's keys in the other lanes, then the hash of locks
//	ARGV  the lock's field, "" for none; the number of other lanes
//
// A lock holds the key of a job and counts only while that job is unfinished, so
// it needs no release. Each call that takes a lock also drops the finished ones
// among a few others, so that the hash stays about as large as there are unfinished
// jobs.
const guardLua = `do
	local function unfinished(task)
		local state = redis.call("HGET", task, "state")
		return state and state ~= "completed" and state ~= "archived"
	end
	local locks, field, lanes = KEYS[#KEYS], ARGV[#ARGV - 1], tonumber(ARGV[#ARGV])
	for i = #KEYS - lanes, #KEYS - 1 do
		if redis.call("EXISTS", KEYS[i]) == 1 then
			return 0
		end
	end
	if field ~= "" and redis.call("EXISTS", KEYS[1]) == 0 then
		local holder = redis.call("HGET", locks, field)
		if holder and unfinished(holder) then
			return -1
		end
		for _, other in ipairs(redis.call("HRANDFIELD", locks, 4) or {}) do
			if not unfinished(redis.call("HGET", locks, other)) then
				redis.call("HDEL", locks, other)
			end
		end
		redis.call("HSET", locks, field, KEYS[1])
	end
end
`

// guard is what one intent adds to asynq's script.
type guard struct {
	task  string   // the task's key, as asynq should name it
	lanes []string // the same in the other lanes
	locks string   // the hash of locks
	field string   // the lock in it, "" for none
}

// guard returns nil if asynq's own script is enough.
func (e *Executor) guard(in *core.Intent, queue, lane string) *guard {
	if !e.lanes && in.Options.Unique == "" {
		return nil
	}
	g := &guard{task: taskKey(lane, in.ID), locks: queueKey(queue, "airlock:unique")}
	if in.Options.Unique != "" {
		g.field = in.Task + " " + in.Options.Unique // no task has a space
	}
	if e.lanes {
		for _, other := range [...]string{queue, queue + highLane, queue + lowLane} {
			if other != lane {
				g.lanes = append(g.lanes, taskKey(other, in.ID))
			}
		}
	}
	return g
}

// queueKey returns the key of something that asynq keeps for a queue.
func queueKey(queue, thing string) string { return "asynq:{" + queue + "}:" + thing }

// taskKey returns the key under which asynq stores a task.
func taskKey(queue, id string) string { return queueKey(queue, "t:"+id) }

// check makes sure that asynq's keys are what the guard takes them for.
func (g *guard) check(keys []string) error {
	if len(keys) == 0 || keys[0] != g.task {
		return errLibrary
	}
	return nil
}

// extend adds the guard's keys and arguments to those of asynq.
func (g *guard) extend(keys []string, args []any) ([]string, []any) {
	k := make([]string, 0, len(keys)+len(g.lanes)+1)
	k = append(append(append(k, keys...), g.lanes...), g.locks)
	a := make([]any, 0, len(args)+2)
	return k, append(append(a, args...), g.field, strconv.Itoa(len(g.lanes)))
}

// script is one of asynq's scripts, alone and with the guard in front.
type script struct {
	plain, guarded luaSource
}

type luaSource struct{ source, sha string }

func newScript(source string) *script {
	return &script{plain: newLua(source), guarded: newLua(guardLua + source)}
}

func newLua(source string) luaSource { return luaSource{source, redis.NewScript(source).Hash()} }
