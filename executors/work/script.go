package workexec

import (
	"strconv"
	"time"

	"github.com/goairlock/airlock/core"
)

// dispatchLua stores jobs. ARGV are runs of intents that differ in nothing but ID
// and message:
//
//	namespace's prefix, job name, milliseconds for which the ID is remembered,
//	due time in seconds or "", unique key or "", milliseconds for which that is
//	locked, number of intents n; then n times ID and message
//
// A run with a unique key has one intent. The answer is 1 if everything is stored,
// else an array with one element for each intent: 1 if it is stored, 0 if its ID is
// known, -1 if its unique key is taken, the text of an error, or nil after an error.
//
// An error leaves nothing of its own run behind: a marker without its job would
// lose the job when it is sent again. Only the first command of a run that writes
// a key can fail, and pcall notices.
//
// A lock names its job and counts while the job is unfinished. Our workers delete
// it. Other workers do not, so the script looks whether the job is still there: in
// progress, waiting, to be retried, or scheduled.
const dispatchLua = unfinishedLua + `
local answers, all = {}, true
local known = {}

local function failed(reply)
	return type(reply) == "table" and reply.err
end

local function announce(ns, name)
	local id = ns .. "\n" .. name
	if known[id] then
		return nil
	end
	known[id] = true
	return failed(redis.pcall("SADD", ns .. "known_jobs", name))
end

local function push(ns, name, due, messages)
	local command, key = "LPUSH", ns .. "jobs:" .. name
	if due ~= "" then
		command, key = "ZADD", ns .. "scheduled"
	end
	for from = 1, #messages, 200 do
		local args = {}
		for i = from, math.min(from + 199, #messages) do
			if due ~= "" then
				args[#args + 1] = due
			end
			args[#args + 1] = messages[i]
		end
		local err = failed(redis.pcall(command, key, unpack(args)))
		if err then
			return err
		end
	end
end

local function answer(a)
	answers[#answers + 1] = a
	all = all and a == 1
end

-- run stores the intents from ARGV[at] on, and returns an error.
local function run(at, n, ns, name, keep, due, unique, hold)
	local err = announce(ns, name)
	local marks, messages = {}, {}
	local lock
	for i = 0, n - 1 do
		if err then
			break
		end
		local id, mark = ARGV[at + 2 * i], ns .. "airlock:id:" .. ARGV[at + 2 * i]
		if unique ~= "" then
			lock = ns .. "airlock:unique:" .. unique
			if redis.call("EXISTS", mark) == 1 then
				answer(0)
				return nil
			elseif unfinished(ns, lock) then
				answer(-1)
				return nil
			end
			redis.call("HMSET", lock, "job", id, "name", name, "due", due)
			redis.call("PEXPIRE", lock, hold)
		end
		local set = redis.pcall("SET", mark, "1", "NX", "PX", keep)
		err = failed(set)
		if not err and set then
			marks[#marks + 1] = mark
			messages[#messages + 1] = ARGV[at + 2 * i + 1]
			answer(1)
		elseif not err then
			answer(0)
		end
	end
	if not err then
		err = push(ns, name, due, messages)
	end
	if err then
		for _, mark in ipairs(marks) do
			redis.pcall("DEL", mark)
		end
		if lock then
			redis.pcall("DEL", lock)
		end
	end
	return err
end

local at, done = 1, 0
while at <= #ARGV do
	local n = tonumber(ARGV[at + 6])
	local err = run(at + 7, n, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
	if err then
		for i = done + 1, #answers do
			answers[i] = nil
		end
		for i = 1, n do
			answers[done + i] = err
		end
		all = false
		break
	end
	done = done + n
	at = at + 7 + 2 * n
end
if all then
	return 1
end
return answers
`

// unfinishedLua defines unfinished(ns, lock), which reports whether the job that a
// lock names is running or still to be run. It looks at no more than mostLooked
// jobs. If these are not enough it takes the job for unfinished.
const unfinishedLua = `
local looked = 0

-- among looks for a job in messages.
local function among(messages, id)
	looked = looked + #messages
	local plain = not string.find(id, "[^%w%-_.]") and '"id":"' .. id .. '"'
	for _, message in ipairs(messages) do
		if not plain or string.find(message, plain, 1, true) then
			local ok, job = pcall(cjson.decode, message)
			if ok and type(job) == "table" and job.id == id then
				return true
			end
		end
	end
	return false
end

-- listed looks through a list or a sorted set, page by page.
local function listed(command, key, id)
	local page = 500
	for from = 0, 1e9, page do
		local messages
		if command == "LRANGE" then -- the oldest are at the end
			messages = redis.call(command, key, -from - page, -from - 1)
		else
			messages = redis.call(command, key, from, from + page - 1)
		end
		if #messages == 0 then
			return false
		elseif among(messages, id) or looked > ` + mostLooked + ` then
			return true
		end
	end
end

-- pools returns the owners that may have a job of a list in progress. A pool that has
-- just been started, or whose heartbeat is late, is not among the worker_pools.
-- It is in the lock_info, in which each fetch is counted.
local function pools(ns, list)
	local all = {}
	for _, pool in ipairs(redis.call("SMEMBERS", ns .. "worker_pools")) do
		all[pool] = true
	end
	local counts = redis.call("HGETALL", list .. ":lock_info")
	for i = 1, #counts, 2 do
		if tonumber(counts[i + 1]) > 0 then
			all[counts[i]] = true
		end
	end
	return all
end

local function unfinished(ns, lock)
	local held = redis.call("HMGET", lock, "job", "name", "due")
	local id, name, due = held[1], held[2], held[3]
	if not id then
		return false
	end
	local list = ns .. "jobs:" .. name
	for pool in pairs(pools(ns, list)) do
		if among(redis.call("LRANGE", list .. ":" .. pool .. ":inprogress", 0, -1), id) then
			return true
		end
	end
	if due ~= "" and among(redis.call("ZRANGEBYSCORE", ns .. "scheduled", due, due), id) then
		return true
	end
	return listed("LRANGE", list, id) or listed("ZRANGE", ns .. "retry", id)
end
`

// mostLooked bounds how many jobs one script looks at to find out about a unique
// key, which takes a few milliseconds.
const mostLooked = "10000"

var dispatchScript = newScript(dispatchLua)

// runFields is how many arguments a run has before its intents.
const runFields = 7

// run is what the intents of a run have in common.
type run struct {
	namespace string // its prefix
	name      string // the job's: a task, or a lane of it
	keep      int64  // ms
	due       int64  // unix seconds; 0 for at once
	unique    string
	hold      int64 // ms
}

// request collects the arguments of one script call.
type request struct {
	args     []any // of EVALSHA: hash, number of keys, key, then the runs
	buf      []byte
	messages []int // where each message ends in buf
	at       []int // where its argument is
	last     run   // the run that is open
	count    int   // where its number of intents is; 0 if there is none
	n        int   // that number
}

func newRequest(intents, bytes int) *request {
	return &request{
		args: make([]any, 3, 3+runFields+2*intents), buf: make([]byte, 0, bytes+bytes/4+200*intents),
		messages: make([]int, 0, intents), at: make([]int, 0, intents),
	}
}

// add adds one intent.
func (r *request) add(in *core.Intent, to run, now time.Time, plain bool) {
	if r.count == 0 || to != r.last || to.unique != "" {
		r.close()
		due := ""
		if to.due != 0 {
			due = strconv.FormatInt(to.due, 10)
		}
		r.args = append(r.args, to.namespace, to.name, to.keep, due, to.unique, to.hold, nil)
		r.count, r.n, r.last = len(r.args)-1, 0, to
	}
	r.buf = appendMessage(r.buf, in, to.name, now, plain)
	r.messages = append(r.messages, len(r.buf))
	r.args = append(r.args, in.ID, nil)
	r.at = append(r.at, len(r.args)-1)
	r.n++
}

// close sets the length of the open run.
func (r *request) close() {
	if r.count > 0 {
		r.args[r.count] = r.n
	}
}

// finish returns the arguments of EVALSHA. Their one key is for proxies that choose a
// server by it.
func (r *request) finish() []any {
	r.close()
	start := 0
	for i, end := range r.messages {
		r.args[r.at[i]] = r.buf[start:end:end]
		start = end
	}
	r.args[0], r.args[1], r.args[2] = dispatchScript.hash, 1, r.args[3].(string)+"known_jobs"
	return r.args
}
