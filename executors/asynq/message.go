package asynqexec

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// messageType is that of asynq's stored messages, which asynq keeps internal.
var messageType, _ = protoregistry.GlobalTypes.FindMessageByName("asynq.TaskMessage")

// decodable reports whether asynq can decode a stored message.
func decodable(raw string) bool {
	if messageType == nil {
		return true
	}
	message := []byte(raw)
	return wellFormed(message, messageType.Descriptor()) || proto.Unmarshal(message, messageType.New().Interface()) == nil
}

// wellFormed reports that a message can surely be decoded. It decodes nothing: each job
// is looked at, and decoding one takes 14 allocations.
func wellFormed(message []byte, as protoreflect.MessageDescriptor) bool {
	for len(message) > 0 {
		number, kind, value, rest, ok := cutField(message)
		if !ok || number > protowire.MaxValidNumber || kind == protowire.StartGroupType {
			return false
		}
		message = rest
		if field := as.Fields().ByNumber(number); field != nil && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(value)
			switch field.Kind() {
			case protoreflect.StringKind:
				if !utf8.Valid(content) {
					return false
				}
			case protoreflect.BytesKind:
			case protoreflect.MessageKind: // an entry of the headers
				if !wellFormed(content, field.Message()) {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// cutField cuts the first field off a message. ok is false if it cannot be read.
func cutField(message []byte) (number protowire.Number, kind protowire.Type, value, rest []byte, ok bool) {
	number, kind, tag := protowire.ConsumeTag(message)
	if tag < 0 {
		return 0, 0, nil, nil, false
	}
	n := protowire.ConsumeFieldValue(number, kind, message[tag:])
	if n < 0 {
		return 0, 0, nil, nil, false
	}
	return number, kind, message[tag : tag+n], message[tag+n:], true
}

// idOf returns the ID in a stored message, "" if there is none. It decodes nothing else,
// for the reason of wellFormed.
func idOf(raw string) string {
	if messageType == nil {
		return ""
	}
	field := messageType.Descriptor().Fields().ByName("id")
	if field == nil {
		return ""
	}
	id := ""
	for message := []byte(raw); len(message) > 0; {
		number, kind, value, rest, ok := cutField(message)
		if !ok {
			return ""
		}
		message = rest
		if number == field.Number() && kind == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(value)
			id = string(content) // the last one counts
		}
	}
	return id
}

// archiveScript moves the active task with this message to the archive, where it
// stays for people to look at, and returns its ID.
//
//	KEYS  active, lease, archived
//	ARGV  prefix of task keys, message, now in seconds
var archiveScript = redis.NewScript(`
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
	local task = ARGV[1] .. id
	if redis.pcall("HGET", task, "msg") == ARGV[2] then
		redis.call("LREM", KEYS[1], 0, id)
		redis.call("ZREM", KEYS[2], id)
		redis.call("ZADD", KEYS[3], ARGV[3], id)
		redis.call("HSET", task, "state", "archived")
		return id
	end
end
return ""
`)

// archive puts a message away that cannot be decoded, reports it, and returns
// whether it is gone.
func (c *workerClient) archive(ctx context.Context, queue, raw string) bool {
	keys := []string{queueKey(queue, "active"), queueKey(queue, "lease"), queueKey(queue, "archived")}
	id, err := archiveScript.Run(ctx, c.UniversalClient, keys, queueKey(queue, "t:"), raw, time.Now().Unix()).Text()
	c.noteConnection(err)
	if err != nil {
		return false
	}
	run := worker.Run{
		Delivery: worker.Delivery{ID: id, Queue: queueOf(c.names, queue), EnvelopeErr: errUnreadable},
		Verdict:  worker.Verdict{Action: worker.Dead, Err: errUnreadable},
	}
	adapter.LogRun(ctx, c.logger, run)
	c.reg.Report(ctx, run)
	return true
}

// queueOfKey returns the queue, or the lane, of its key for pending or leased tasks.
func queueOfKey(key string) string {
	key = strings.TrimSuffix(strings.TrimSuffix(key, "}:pending"), "}:lease")
	return strings.TrimPrefix(key, "asynq:{")
}
