package workexec

import (
	"context"
	"log/slog"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// mostParked is how many jobs of one list are reported as parked at a time.
const mostParked = 100

// reportUnserved looks for jobs whose list no worker and no pool of the namespace
// takes jobs from. They wait where they are, so that nothing has to bring them back:
// a pool of the library that does not know their name would bury them on their way
// out of the retries. Jobs of a task that nobody knows are reported as parked, the
// oldest of each list once in WorkerOptions.ParkFor by one of the workers. Lanes of a
// task that this worker knows are logged once.
func (w *Worker) reportUnserved(ctx context.Context, s space, logged map[string]bool) error {
	keys := []string{s.prefix + "known_jobs", s.prefix + "worker_pools"}
	reply, _, err := w.eval(ctx, "look for jobs that nobody takes", unservedScript, keys,
		s.prefix, w.jobNames(s), int64(deadAfter/time.Second), milliseconds(w.opts.ParkFor), mostParked)
	found, err := redis.Values(reply, err)
	if err != nil {
		return err
	}
	for len(found) > 0 {
		var name string
		var jobs []string
		if found, err = redis.Scan(found, &name, &jobs); err != nil {
			return errAnswer
		}
		if task := taskOf(name); task != name && w.reg.Handles(task) {
			if key := s.prefix + name; !logged[key] {
				logged[key] = true
				w.log.LogAttrs(ctx, slog.LevelWarn, "airlock: work: jobs wait in a lane that no worker takes jobs from, want WorkerOptions.Lanes",
					slog.String("lane", name), slog.String("queue", s.queue))
			}
			continue
		}
		l := &list{queue: s.queue, prefix: s.prefix, name: name}
		for _, text := range jobs {
			w.reportParked(ctx, w.read(l, text))
		}
	}
	return nil
}

// reportParked reports a job of a task that nobody knows.
func (w *Worker) reportParked(ctx context.Context, h *held) {
	if h.bad != nil {
		return // for a worker that knows the task to bury
	}
	run := worker.Run{
		Delivery: h.delivery,
		Verdict:  worker.Verdict{Action: worker.Parked, After: w.opts.ParkFor, Err: core.NoHandlerError(h.delivery.Task)},
	}
	w.reg.Report(ctx, run)
	adapter.LogRun(ctx, w.log, run)
}

// unservedScript returns the names of lists with jobs that nobody takes, each with its
// oldest jobs. A list is left out for ParkFor once it was returned to a worker.
//
//	KEYS  known names, IDs of pools
//	ARGV  the namespace's prefix, the names of the worker that asks, after how many
//	      seconds without a heartbeat a pool is dead, ParkFor in milliseconds, how many
//	      jobs to return of a list
var unservedScript = newScript(`
local served = {}

local function add(names)
	for name in string.gmatch(names or "", "[^,]+") do
		served[name] = true
	end
end

local now = tonumber(redis.call("TIME")[1])
add(ARGV[2])
for _, id in ipairs(redis.call("SMEMBERS", KEYS[2])) do
	local pool = redis.call("HMGET", ARGV[1] .. "worker_pools:" .. id, "heartbeat_at", "job_names")
	local at = tonumber(pool[1] or nil)
	if at and now - at <= tonumber(ARGV[3]) then
		add(pool[2])
	end
end
local found = {}
for _, name in ipairs(redis.call("SMEMBERS", KEYS[1])) do
	local list = ARGV[1] .. "jobs:" .. name
	if not served[name] and type(redis.pcall("LINDEX", list, -1)) == "string" and type(redis.pcall("GET", list .. ":paused")) ~= "string" and
		redis.call("SET", ARGV[1] .. "airlock:parked:" .. name, "1", "NX", "PX", ARGV[4]) then
		found[#found + 1] = name
		found[#found + 1] = redis.call("LRANGE", list, -ARGV[5], -1)
	end
end
return found
`)
