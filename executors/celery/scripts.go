package celeryexec

import "github.com/redis/go-redis/v9"

// fetchScript takes messages as kombu's workers do, but for two things. Kombu has a gap
// between BRPOP and the record in unacked, in which a crash loses a message. And it
// records a message under its delivery tag, which is the same when another worker gets
// it: here each fetch has a field of its own, so that a worker which has lost a message
// cannot acknowledge it for the one that has it. To kombu a field is just a name.
//
// A message without a delivery tag goes to the dead jobs. A call with the number of the
// last one answers the same again, since the answer may have been lost.
//
//	KEYS  unacked, unacked_index, the last answer, lists…
//	ARGV  score, how many, number of the call, prefix and time to live of the counters,
//	      now, the worker, and for each list: its dead jobs, its queue
//
// The answer has five elements for each message: its list, its field of unacked, the
// value there, its delivery tag, and how often its run has begun. A message that is due
// later has not begun. The field is "" for a message that is dead, which follows, and
// "!" for the error of a list.
var fetchScript = redis.NewScript(`
local answer, taken = {}, {}

local function add(list, field, value, tag, runs)
	answer[#answer + 1] = list
	answer[#answer + 1] = field
	answer[#answer + 1] = value
	answer[#answer + 1] = tag
	answer[#answer + 1] = runs
end

local last = redis.call("GET", KEYS[3])
if last then
	local was = cjson.decode(last)
	if was.call == ARGV[3] then
		for _, job in ipairs(was.jobs) do
			local value = redis.call("HGET", KEYS[1], job[2])
			if value then
				add(job[1], job[2], value, job[3], tonumber(redis.call("GET", ARGV[4] .. job[3] .. "." .. job[4]) or 0))
			end
		end
		return answer
	end
end

local left = tonumber(ARGV[2])
for i = 4, #KEYS do
	local dead, queue = ARGV[2 * i], ARGV[2 * i + 1]
	while left > 0 do
		local raw = redis.pcall("RPOP", KEYS[i])
		if type(raw) ~= "string" then
			if raw then
				add(KEYS[i], "!", raw.err or "", "", 0)
			end
			break
		end
		left = left - 1
		local ok, m = pcall(cjson.decode, raw)
		local properties = ok and type(m) == "table" and m.properties
		local tag = type(properties) == "table" and properties.delivery_tag
		if type(tag) ~= "string" or tag == "" then
			redis.call("LPUSH", dead, cjson.encode({reason = "no message of kombu's", attempt = 0, queue = queue, at = ARGV[6], message = raw}))
			add(KEYS[i], "", raw, "", 0)
		else
			local field = tag .. "." .. ARGV[7] .. "." .. ARGV[3] .. "." .. left
			local info = properties.delivery_info
			local exchange = type(info) == "table" and type(info.exchange) == "string" and info.exchange or ""
			local key = type(info) == "table" and type(info.routing_key) == "string" and info.routing_key or ""
			if exchange == "" and key == "" then
				key = queue
			end
			local value = "[" .. raw .. "," .. cjson.encode(exchange) .. "," .. cjson.encode(key) .. "]"
			redis.call("HSET", KEYS[1], field, value)
			redis.call("ZADD", KEYS[2], ARGV[1], field)
			local eta, runs = type(m.headers) == "table" and m.headers.eta, 0
			if not eta or eta == cjson.null then
				local counter = ARGV[4] .. tag .. "." .. queue
				runs = redis.call("INCR", counter)
				redis.call("PEXPIRE", counter, ARGV[5])
			end
			add(KEYS[i], field, value, tag, runs)
			taken[#taken + 1] = {KEYS[i], field, tag, queue}
		end
	end
end
if #taken > 0 then
	redis.call("SET", KEYS[3], cjson.encode({call = ARGV[3], jobs = taken}), "PX", ARGV[5])
end
return answer
`)

// beginScript counts the run of a message whose time has come. It answers how often
// its run has begun, 0 if the message was given to another worker.
//
//	KEYS  unacked, unacked_index, counter
//	ARGV  field of unacked, score, time to live of the counter
var beginScript = redis.NewScript(`
if redis.call("HEXISTS", KEYS[1], ARGV[1]) == 0 then
	return 0
end
redis.call("ZADD", KEYS[2], "XX", ARGV[2], ARGV[1])
local runs = redis.call("INCR", KEYS[3])
redis.call("PEXPIRE", KEYS[3], ARGV[3])
return runs
`)

// settleScript acknowledges a message, and stores what takes its place, if anything
// does. It answers 0 if the message was given to another worker, and then does
// nothing.
//
//	KEYS  unacked, unacked_index, counter, list
//	ARGV  field of unacked, what to store or "", the command that stores it,
//	      1 if the counter goes
var settleScript = redis.NewScript(`
if redis.call("HDEL", KEYS[1], ARGV[1]) == 0 then
	return 0
end
redis.call("ZREM", KEYS[2], ARGV[1])
if ARGV[4] == "1" then
	redis.call("DEL", KEYS[3])
end
if ARGV[2] ~= "" then
	redis.call(ARGV[3], KEYS[4], ARGV[2])
end
return 1
`)

// restoreScript gives a message to another worker, unless somebody did so meanwhile.
//
//	KEYS  unacked, unacked_index, queues…
//	ARGV  field of unacked, the value there, the message
var restoreScript = redis.NewScript(`
local value = redis.call("HGET", KEYS[1], ARGV[1])
if not value then
	redis.call("ZREM", KEYS[2], ARGV[1])
	return 0
end
if value ~= ARGV[2] then
	return 0
end
for i = 3, #KEYS do
	redis.call("RPUSH", KEYS[i], ARGV[3])
end
redis.call("HDEL", KEYS[1], ARGV[1])
redis.call("ZREM", KEYS[2], ARGV[1])
return 1
`)
