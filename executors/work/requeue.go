package workexec

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

const (
	requeueEvery = time.Second // like the library's pools
	requeueMost  = 100         // jobs in one script call
)

// requeueLoop moves jobs that are due to their lists until ctx is done.
func (w *Worker) requeueLoop(ctx context.Context) {
	for {
		for _, s := range w.spaces {
			for _, set := range []string{"scheduled", "retry"} {
				for w.requeue(ctx, s, set) {
				}
			}
		}
		if !sleep(ctx, requeueEvery) {
			return
		}
	}
}

// requeue moves jobs of one sorted set and reports whether there may be more.
func (w *Worker) requeue(ctx context.Context, s space, set string) (more bool) {
	reply, _, err := w.eval(ctx, "move jobs that are due", requeueScript, []string{s.prefix + set},
		s.prefix+"jobs:", time.Now().Unix(), requeueMost)
	answer, err := redis.Values(reply, err)
	if err != nil {
		return false
	}
	var moved int
	var unread, stray []string
	if _, err := redis.Scan(answer, &moved, &unread, &stray); err != nil {
		return false
	}
	for _, member := range unread {
		if err := w.moveUnread(ctx, s, set, member); err != nil {
			return false
		}
	}
	for _, member := range stray {
		if err := w.bury(ctx, s, set, member, errListType); err != nil {
			return false
		}
	}
	return moved+len(unread)+len(stray) >= requeueMost && ctx.Err() == nil
}

var errListType = errors.New("airlock: work: the list of the job's name is no list")

// moveUnread moves a member that the script could not read. If it is a job
// nevertheless, since the server's decoder reads less than ours, it goes to its list.
func (w *Worker) moveUnread(ctx context.Context, s space, set, member string) error {
	var m message
	if json.Unmarshal([]byte(member), &m) != nil || m.Name == "" {
		return w.bury(ctx, s, set, member, errNoJob)
	}
	_, err := w.moveMember(ctx, s.prefix+set, s.prefix+"jobs:"+m.Name, member, []byte(member), "")
	if isFinal(err) {
		return w.bury(ctx, s, set, member, errListType)
	}
	return err
}

// bury moves a member of a sorted set that can never run to the dead. It would come
// first at every look, and each of the library's pools would stop there.
func (w *Worker) bury(ctx context.Context, s space, set, member string, why error) error {
	var m message
	if json.Unmarshal([]byte(member), &m) != nil || m.Name == "" {
		m.Name = "unreadable" // the library's scripts fail at a dead job without a name
	}
	moved, err := w.moveMember(ctx, s.prefix+set, s.prefix+"dead", member, deadRecord(m.Name, member, why), time.Now().Unix())
	if err != nil || !moved {
		return err
	}
	run := worker.Run{
		Delivery: buriedDelivery(&list{queue: s.queue, name: m.Name}, member),
		Verdict:  worker.Verdict{Action: worker.Dead, Err: why},
	}
	w.reg.Report(ctx, run)
	adapter.LogRun(ctx, w.log, run)
	return nil
}

// moveMember moves a member of a sorted set to another one with a score, or to a list
// with the score "", and reports whether it was still there.
func (w *Worker) moveMember(ctx context.Context, from, to, member string, text []byte, score any) (bool, error) {
	reply, _, err := w.eval(ctx, "move a job", moveMemberScript, []string{from, to}, member, text, score)
	n, err := redis.Int(reply, err)
	return n == 1, err
}

// requeueScript moves due members of a sorted set to the lists of their names, as they
// are. ARGV: what the lists' keys begin with, the time, how many. The answer is how
// many were moved, those that are no jobs, and those whose list is of another type.
//
// The library's script of this kind decodes and encodes the job, which damages it. It
// ends with an error at the first member that is no job, and buries jobs whose name its
// own pool does not know.
var requeueScript = newScript(`
local moved, unread, stray = 0, {}, {}
for _, member in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[2], "LIMIT", 0, ARGV[3])) do
	local ok, job = pcall(cjson.decode, member)
	if ok and type(job) == "table" and type(job.name) == "string" and job.name ~= "" then
		local pushed = redis.pcall("LPUSH", ARGV[1] .. job.name, member)
		if type(pushed) == "number" then
			redis.call("ZREM", KEYS[1], member)
			moved = moved + 1
		elseif string.find(pushed.err, "WRONGTYPE", 1, true) then
			stray[#stray + 1] = member
		else
			return pushed
		end
	else
		unread[#unread + 1] = member
	end
end
return {moved, unread, stray}
`)

var moveMemberScript = newScript(`
if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
	return 0
elseif ARGV[3] == "" then
	redis.call("LPUSH", KEYS[2], ARGV[2])
else
	redis.call("ZADD", KEYS[2], ARGV[3], ARGV[2])
end
redis.call("ZREM", KEYS[1], ARGV[1])
return 1
`)
