package workexec

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	heartbeatEvery      = 5 * time.Second // like the library's pools
	heartbeatRetryEvery = 500 * time.Millisecond
	deadAfter           = 10 * time.Second // without a heartbeat
)

// heartbeats knows since when this worker sends heartbeats.
type heartbeats struct {
	alive chan struct{} // closed at the first one

	mu    sync.Mutex
	since time.Time // guarded by mu; wall clock, zero before the first one and after a failure
	last  time.Time // guarded by mu; wall clock
}

// note notes an attempt to send a heartbeat.
func (b *heartbeats) note(ok bool) {
	now := time.Now().Round(0) // the other clock stops with the machine
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !ok:
		b.since = time.Time{}
		return
	case b.since.IsZero() || now.Sub(b.last) > deadAfter:
		b.since = now
	}
	b.last = now
	select {
	case <-b.alive:
	default:
		close(b.alive)
	}
}

// steady reports whether this worker has sent heartbeats for as long as others
// may be without one. Only then may it take them for dead: after an outage of Redis,
// or of the whole machine, everybody's heartbeat is late.
func (b *heartbeats) steady() bool {
	now := time.Now().Round(0)
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.since.IsZero() && now.Sub(b.since) >= deadAfter && now.Sub(b.last) < deadAfter
}

// awaitFirstHeartbeat reports whether there was a heartbeat before ctx was done.
// Without one a job in progress would be taken for that of a dead worker.
func (w *Worker) awaitFirstHeartbeat(ctx context.Context) bool {
	select {
	case <-w.heartbeats.alive:
		return true
	case <-ctx.Done():
		return false
	}
}

// heartbeatLoop sends heartbeats until ctx is done.
func (w *Worker) heartbeatLoop(ctx context.Context) {
	started := time.Now().Unix()
	for wait := heartbeatEvery; ; {
		err := w.heartbeat(ctx, started)
		w.heartbeats.note(err == nil)
		if wait = heartbeatEvery; err != nil {
			wait = heartbeatRetryEvery
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// heartbeat sends a heartbeat in every namespace, in the form of the library's pools.
func (w *Worker) heartbeat(ctx context.Context, started int64) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	for _, s := range w.spaces {
		keys := []string{s.prefix + "worker_pools", s.prefix + "worker_pools:" + w.id, s.prefix + "known_jobs"}
		_, _, err := w.eval(ctx, "send a heartbeat", heartbeatScript, keys,
			w.id, started, w.jobNames(s), len(w.observations.slots), host, os.Getpid(), w.slotIDs())
		if err != nil {
			return err
		}
	}
	return nil
}

// jobNames returns the names of the jobs that are worked in a namespace.
func (w *Worker) jobNames(s space) string {
	if w.native != nil {
		return w.native.jobNames()
	}
	var names []string
	for _, l := range w.lists {
		if l.prefix == s.prefix {
			names = append(names, l.name)
		}
	}
	return strings.Join(names, ",")
}

// removeHeartbeats removes the heartbeats. Other workers then know that this one is gone.
func (w *Worker) removeHeartbeats() {
	for _, s := range w.spaces {
		keys := []string{s.prefix + "worker_pools", s.prefix + "worker_pools:" + w.id}
		if _, _, err := w.eval(context.Background(), "remove a heartbeat", removeHeartbeatScript, keys, w.id); err != nil {
			return // it ends after deadAfter
		}
	}
}

// heartbeatScript uses the server's clock, so that no two clocks are compared. The field
// airlock says that our workers may remove the whole when it is old. A registered pool
// writes the same key, and knows best who its workers are. The names are those of the
// queues that the library's client lists.
var heartbeatScript = newScript(`
local now = redis.call("TIME")[1]
redis.call("SADD", KEYS[1], ARGV[1])
redis.call("HMSET", KEYS[2], "heartbeat_at", now, "started_at", ARGV[2], "job_names", ARGV[3], "host", ARGV[5], "pid", ARGV[6])
if ARGV[7] ~= "" then
	redis.call("HMSET", KEYS[2], "concurrency", ARGV[4], "worker_ids", ARGV[7], "airlock", 1)
end
for name in string.gmatch(ARGV[3], "[^,]+") do
	redis.call("SADD", KEYS[3], name)
end
return 1
`)

var removeHeartbeatScript = newScript(`
redis.call("SREM", KEYS[1], ARGV[1])
redis.call("DEL", KEYS[2])
return 1
`)
