package workexec

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"
)

const (
	strandedEvery = 10 * time.Second
	strandedAfter = 30 * time.Second
)

// tidy puts back what is still in the pool's hands though no worker of it runs:
// once its heartbeat is gone nobody else would.
func (w *Worker) tidy() {
	conn := w.conn()
	defer conn.Close()
	for name := range w.in.names {
		w.report("put stranded jobs back", w.inHand(conn, name, w.in.id, func(message string) error {
			return w.release(conn, name, w.in.id, message)
		}))
	}
}

// putBack puts back what has not run for a while though it has been fetched, by this
// pool, or by one that has given no sign of life since: nobody would find that one
// dead. idle says since when, by pool, name and message.
func (w *Worker) putBack(idle map[string]time.Time, now time.Time) error {
	conn := w.conn()
	defer conn.Close()
	known, err := redis.Strings(conn.Do("SMEMBERS", w.in.namespace+"worker_pools"))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for name := range w.names {
		pools, err := w.unknownPools(conn, name, known)
		if err != nil {
			return err
		}
		for _, pool := range append(pools, w.in.id) {
			err := w.inHand(conn, name, pool, func(text string) error {
				var m message
				_ = json.Unmarshal([]byte(text), &m) // what is no job has no ID that runs
				key := pool + " " + name + " " + text
				since, ok := idle[key]
				switch {
				case pool == w.in.id && w.runsHere(m.ID):
				case !ok:
					idle[key], seen[key] = now, true
				case now.Sub(since) < strandedAfter:
					seen[key] = true
				default:
					return w.release(conn, name, pool, text)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	for key := range idle {
		if !seen[key] {
			delete(idle, key)
		}
	}
	return nil
}

// unknownPools are those that have jobs of the name in hand and are not among the
// known. What the library keeps for ever of pools that have none is removed.
func (w *Worker) unknownPools(conn redis.Conn, name string, known []string) ([]string, error) {
	counts := w.in.namespace + "jobs:" + name + ":lock_info"
	inHand, err := redis.IntMap(conn.Do("HGETALL", counts))
	var unknown []string
	gone := redis.Args{counts}
	for pool, n := range inHand {
		switch {
		case pool == w.in.id || slices.Contains(known, pool):
		case n > 0:
			unknown = append(unknown, pool)
		default:
			gone = gone.Add(pool)
		}
	}
	if err == nil && len(gone) > 1 {
		_, err = goneScript.Do(conn, gone...)
	}
	return unknown, err
}

func (w *Worker) runsHere(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[id] > 0
}

// inHand calls fn for each message of the name that a pool has fetched.
func (w *Worker) inHand(conn redis.Conn, name, pool string, fn func(message string) error) error {
	messages, err := redis.Strings(conn.Do("LRANGE", w.inProgress(name, pool), 0, -1))
	for i := 0; err == nil && i < len(messages); i++ {
		err = fn(messages[i])
	}
	return err
}

func (w *Worker) inProgress(name, pool string) string {
	return w.in.namespace + "jobs:" + name + ":" + pool + ":inprogress"
}

// release gives a job out of a pool's hands, to be the next one to run, or among
// the dead if it is none.
func (w *Worker) release(conn redis.Conn, name, pool, text string) error {
	list, what, buried := w.in.namespace+"jobs:"+name, "job put back, no worker has run it", []byte(nil)
	var job work.Job
	if json.Unmarshal([]byte(text), &job) != nil {
		what, buried = "message is dead, it is no job", grave(name, text)
	}
	moved, err := redis.Int(releaseScript.Do(conn, w.inProgress(name, pool), list, list+":lock", list+":lock_info", w.in.namespace+"dead",
		text, pool, buried, time.Now().Unix()))
	if err == nil && moved == 1 {
		w.log.LogAttrs(context.Background(), slog.LevelWarn, "airlock: work: "+what, slog.String("job", job.ID), slog.String("name", name))
	}
	return err
}

// grave is a dead job for a message that is no job, for the library's own tools
// cannot list anything else.
func grave(name, text string) []byte {
	args, _ := json.Marshal(map[string]string{bytesKey: base64.StdEncoding.EncodeToString([]byte(text))})
	now := time.Now().Unix()
	b, _ := json.Marshal(&message{ // strings and numbers
		Name: name, ID: fmt.Sprintf("unreadable-%x", sha256.Sum256([]byte(text)))[:27], T: now, Args: args, Fails: 1, Err: "airlock: work: this message is no job", FailedAt: now,
	})
	return b
}

var (
	// goneScript removes the counts of pools that have no jobs in hand.
	goneScript = redis.NewScript(1, `
for _, pool in ipairs(ARGV) do
	if tonumber(redis.call("HGET", KEYS[1], pool) or 1) <= 0 then
		redis.call("HDEL", KEYS[1], pool)
	end
end
`)
	// releaseScript does what the library's reaper does for the job of a pool that
	// has died, or buries what is no job.
	releaseScript = redis.NewScript(5, `
if redis.call("LREM", KEYS[1], 1, ARGV[1]) == 0 then
	return 0
end
redis.call("DECR", KEYS[3])
redis.call("HINCRBY", KEYS[4], ARGV[2], -1)
if ARGV[3] == "" then
	redis.call("RPUSH", KEYS[2], ARGV[1])
else
	redis.call("ZADD", KEYS[5], ARGV[4], ARGV[3])
end
return 1
`)
)
