package asynqexec

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
)

// A lane is a queue of its own. Its name closes the braces that asynq puts
// around a queue's name in Redis keys, which makes "<queue>" alone the hash tag:
// on a cluster the lanes of a queue share its slot, so that one script can look
// for an ID in all of them. No other queue can have a brace in its name.
const (
	highLane  = "}high"
	lowLane   = "}low"
	laneCount = 3
)

// laneOf returns the queue for a job of this priority, 0 for none.
func laneOf(queue string, priority int) string {
	switch adapter.LaneOf(priority) {
	case adapter.LaneHigh:
		return queue + highLane
	case adapter.LaneLow:
		return queue + lowLane
	}
	return queue
}

// Lanes returns asynq's Config.Queues for servers that work queues with
// priorities: for each queue also its two lanes. It is what WorkerOptions.Lanes
// does, for servers of your own. Names are native.
//
// The weights of the queues are kept. Of a queue's starts the lane for priorities
// 8 to 10 gets six, the queue itself three and the lane for priorities 1 to 3 one,
// as long as jobs wait in each. With Config.StrictPriority a waiting job of a higher
// lane always starts first. Nil queues are the queue "default". Each lane costs the
// server one more call to Redis when it looks for work.
func Lanes(queues map[string]int) map[string]int {
	if len(queues) == 0 {
		queues = map[string]int{defaultQueue: 1}
	}
	all := make(map[string]int, laneCount*len(queues))
	for queue, weight := range queues {
		all[queue+highLane] = 6 * weight
		all[queue] = 3 * weight
		all[queue+lowLane] = weight
	}
	return all
}

const lanesEvery = time.Minute

// laneWatch notices that producers put jobs into lanes that no server works, and
// logs it once.
type laneWatch struct {
	rdb    redis.UniversalClient
	logger *slog.Logger
	queues map[string]int // native
	off    bool           // the worker itself works all lanes
}

// run looks until ctx ends or something was found. Its calls to Redis cannot be
// interrupted.
func (l *laneWatch) run(ctx context.Context) {
	if l.off {
		return
	}
	tick := time.NewTicker(lanesEvery)
	defer tick.Stop()
	for {
		if lanes, jobs := l.unserved(ctx); len(lanes) > 0 {
			l.logger.LogAttrs(ctx, slog.LevelWarn, "airlock: asynq: jobs wait in lanes that no server works, want WorkerOptions.Lanes",
				slog.Any("lanes", lanes), slog.Int64("jobs", jobs))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// unserved returns the lanes of the worker's queues in which jobs wait and that no
// server lists, and how many jobs those are. What cannot be found out is not
// unserved.
func (l *laneWatch) unserved(ctx context.Context) (lanes []string, jobs int64) {
	waiting := map[string]int64{}
	for queue := range l.queues {
		for _, lane := range []string{queue + highLane, queue + lowLane} {
			if n, err := l.rdb.LLen(ctx, queueKey(lane, "pending")).Result(); err == nil && n > 0 {
				waiting[lane] = n
			}
		}
	}
	if len(waiting) == 0 {
		return nil, 0
	}
	servers, err := asynq.NewInspectorFromRedisClient(l.rdb).Servers()
	if err != nil {
		return nil, 0
	}
	for lane, n := range waiting {
		if !slices.ContainsFunc(servers, func(s *asynq.ServerInfo) bool { return s.Queues[lane] > 0 }) {
			lanes, jobs = append(lanes, lane), jobs+n
		}
	}
	slices.Sort(lanes)
	return lanes, jobs
}
