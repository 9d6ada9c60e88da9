package rabbitexec

import (
	"context"
	"fmt"
)

// RedisEval runs a Lua script on Redis and returns its answer. With go-redis it is
//
//	func(ctx context.Context, script string, keys []string, args ...any) (any, error) {
//		return rdb.Eval(ctx, script, keys, args...).Result()
//	}
type RedisEval func(ctx context.Context, script string, keys []string, args ...any) (any, error)

type redisInbox struct {
	eval   RedisEval
	prefix string
}

// NewRedisInbox returns an inbox in Redis. prefix is before every key; on a cluster it
// needs a hash tag, such as "{inbox}:". Redis must not evict keys, and the client must
// not send a command again: with go-redis, MaxRetries is -1. A nil eval is
// [core.ErrInvalid].
func NewRedisInbox(eval RedisEval, prefix string) (Inbox, error) {
	if eval == nil {
		return nil, invalid("NewRedisInbox: nil function")
	}
	return &redisInbox{eval, prefix}, nil
}

const swapScript = `
local before = {}
for i = 1, #KEYS do
	local old, new, keep = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
	local is = redis.call("GET", KEYS[i]) or ""
	before[i] = is
	if is == old then
		if new == "" then
			redis.call("DEL", KEYS[i])
		elseif keep > 0 then
			redis.call("SET", KEYS[i], new, "PX", keep)
		else
			redis.call("SET", KEYS[i], new)
		end
	end
end
return before
`

func (r *redisInbox) Swap(ctx context.Context, changes []InboxChange) ([]string, error) {
	keys, args := make([]string, len(changes)), make([]any, 0, 3*len(changes))
	for i, c := range changes {
		keys[i] = r.prefix + c.Key
		args = append(args, c.Old, c.New, milliseconds(c.Keep))
	}
	answer, err := r.eval(ctx, swapScript, keys, args...)
	if err != nil {
		return nil, err
	}
	values, ok := answer.([]any)
	if !ok || len(values) != len(changes) {
		return nil, fmt.Errorf("redis inbox: an answer of type %T, want %d values", answer, len(changes))
	}
	before := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case string:
			before[i] = v
		case []byte:
			before[i] = string(v)
		default:
			return nil, fmt.Errorf("redis inbox: a value of type %T", v)
		}
	}
	return before, nil
}
