package asynqexec

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
)

// A worker does not run two jobs of one ID at the same time, which can be in two queues.
// asynq v0.26.0's heartbeat knows running tasks by their ID alone (heartbeat.go,
// h.workers): with two of them it soon renews the lease of neither. Then the end of a run
// is not recorded, and the job runs again while its first run may still go on. So the
// second job goes back to its queue for a while.

const (
	// postponeFor is a whole second, since asynq's scores are.
	postponeFor = time.Second
	// rememberFor is the time between the fetch of a job and its handler, and between
	// the end of the handler and the moment at which the heartbeat knows of it.
	rememberFor = time.Second
)

// recentIDs are the IDs of jobs that were fetched, or ended, a moment ago. While a
// handler runs, its ID is among the cancellations.
type recentIDs struct {
	mu     sync.Mutex
	queues map[string]string // guarded by mu; by ID: the portable name of its queue
	older  map[string]string // guarded by mu; queues as it was before turned
	turned time.Time         // guarded by mu
}

// newRecentIDs returns nil, with nothing to remember, for a worker of one queue.
func newRecentIDs(names adapter.QueueNames, natives map[string]int) *recentIDs {
	queues := map[string]bool{}
	for native := range natives { // lanes of one queue share its IDs
		queues[queueOf(names, native)] = true
	}
	if len(queues) < 2 {
		return nil
	}
	return &recentIDs{queues: map[string]string{}, older: map[string]string{}}
}

// note remembers an ID.
func (r *recentIDs) note(queue, id string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	r.queues[id] = queue
}

// noteUnlessElsewhere remembers an ID, unless it is remembered of another queue. Then it
// returns false.
func (r *recentIDs) noteUnlessElsewhere(queue, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	for _, known := range []map[string]string{r.queues, r.older} {
		if other, ok := known[id]; ok && other != queue {
			return false
		}
	}
	r.queues[id] = queue
	return true
}

// turn forgets what is long over. It needs mu.
func (r *recentIDs) turn() {
	if now := time.Now(); now.Sub(r.turned) > rememberFor {
		r.older, r.queues = r.queues, r.older
		clear(r.queues)
		if now.Sub(r.turned) > 2*rememberFor {
			clear(r.older)
		}
		r.turned = now
	}
}

// postponeScript moves an active task to those that are scheduled.
//
//	KEYS  active, lease, scheduled, task
//	ARGV  ID, when in seconds
var postponeScript = redis.NewScript(`
if redis.call("LREM", KEYS[1], 0, ARGV[1]) == 0 then
	return 0
end
redis.call("ZREM", KEYS[2], ARGV[1])
redis.call("ZADD", KEYS[3], ARGV[2], ARGV[1])
redis.call("HSET", KEYS[4], "state", "scheduled")
return 1
`)

// postpone puts a fetched job back, if one of the same ID is in the way, and reports
// whether it has. native is a queue or a lane.
func (c *workerClient) postpone(ctx context.Context, native, raw string) bool {
	if c.recent == nil {
		return false
	}
	queue, id := queueOf(c.names, native), idOf(raw)
	// What ends is remembered first, and then no longer among what runs.
	if id == "" || !c.cancels.runsElsewhere(queue, id) && c.recent.noteUnlessElsewhere(queue, id) {
		return false
	}
	keys := []string{queueKey(native, "active"), queueKey(native, "lease"), queueKey(native, "scheduled"), taskKey(native, id)}
	err := postponeScript.Run(ctx, c.UniversalClient, keys, id, time.Now().Add(postponeFor).Unix()).Err()
	c.noteConnection(err)
	return err == nil // else it runs, and may do so twice
}
