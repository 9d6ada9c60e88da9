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
	reviveEvery   = 2 * time.Second
	clocksApart   = time.Minute      // at the most, those of the namespace's pools
	surveyEvery   = 10 * time.Minute // of all the dead
	strandedEvery = 10 * time.Second
	strandedAfter = 30 * time.Second

	// unknownJob is the error with which the library's requeuer buries a job whose
	// name its own pool does not know.
	unknownJob = "unknown job when requeueing"
)

// keep brings jobs back until the worker is stopped.
func (w *Worker) keep() {
	var surveyed, revived, looked time.Time
	idle := map[string]time.Time{}
	tick := time.NewTicker(reviveEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		if now.Sub(surveyed) >= surveyEvery {
			if w.report("survey the dead", w.survey()) {
				surveyed, revived = now, now
			}
		} else if w.report("look among the dead", w.revive(revived.Add(-clocksApart))) {
			revived = now
		}
		if now.Sub(looked) >= strandedEvery {
			looked = now
			w.report("look for stranded jobs", w.putBack(idle, now))
		}
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

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

// report logs an error and says whether there was none.
func (w *Worker) report(what string, err error) bool {
	if err != nil && w.ctx.Err() == nil {
		w.log.LogAttrs(w.ctx, slog.LevelWarn, "airlock: work: "+what, slog.Any("error", &backendError{err}))
	}
	return err == nil
}

// survey goes through all of the dead, which nobody ever removes, page by page.
func (w *Worker) survey() error {
	conn := w.conn()
	defer conn.Close()
	for cursor := "0"; ; {
		page, err := redis.Values(conn.Do("ZSCAN", w.in.namespace+"dead", cursor, "MATCH", "*"+unknownJob+"*", "COUNT", 500))
		if err != nil {
			return err
		}
		var found []string
		if _, err := redis.Scan(page, &cursor, &found); err != nil {
			return err
		}
		for i := 0; i < len(found); i += 2 { // each with its score
			if err := w.reviveOne(conn, found[i]); err != nil {
				return err
			}
		}
		if cursor == "0" {
			return nil
		}
	}
}

// revive brings back those that have died since.
func (w *Worker) revive(since time.Time) error {
	conn := w.conn()
	defer conn.Close()
	found, err := redis.Strings(buriedScript.Do(conn, w.in.namespace+"dead", since.Unix(), unknownJob))
	if err != nil {
		return err
	}
	for _, message := range found {
		if err := w.reviveOne(conn, message); err != nil {
			return err
		}
	}
	return nil
}

// message is a job as it is in Redis, its arguments untouched.
type message struct {
	Name     string          `json:"name,omitempty"`
	ID       string          `json:"id"`
	T        int64           `json:"t"`
	Args     json.RawMessage `json:"args"`
	Unique   bool            `json:"unique,omitempty"`
	Fails    int64           `json:"fails,omitempty"`
	Err      string          `json:"err,omitempty"`
	FailedAt int64           `json:"failed_at,omitempty"`
}

func (w *Worker) reviveOne(conn redis.Conn, text string) error {
	var m message
	if json.Unmarshal([]byte(text), &m) != nil || m.Err != unknownJob || !w.names[m.Name] {
		return nil
	}
	m.Err, m.FailedAt = "", 0
	back, err := json.Marshal(&m)
	if err != nil {
		return err
	}
	moved, err := redis.Int(reviveScript.Do(conn, w.in.namespace+"dead", w.in.namespace+"jobs:"+m.Name, text, back))
	if err == nil && moved == 1 {
		w.log.LogAttrs(w.ctx, slog.LevelInfo, "airlock: work: job brought back, a pool of the namespace does not know its name",
			slog.String("job", m.ID), slog.String("name", m.Name))
	}
	return err
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
		fetchers, err := redis.IntMap(conn.Do("HGETALL", w.in.namespace+"jobs:"+name+":lock_info"))
		if err != nil {
			return err
		}
		fetchers[w.in.id] = 0
		for pool := range fetchers {
			if pool != w.in.id && slices.Contains(known, pool) {
				continue
			}
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
	// buriedScript finds the dead since a time whose message has a text.
	buriedScript = redis.NewScript(1, `
local found = {}
for _, message in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], ARGV[1], "+inf")) do
	if string.find(message, ARGV[2], 1, true) then
		found[#found + 1] = message
	end
end
return found
`)
	// reviveScript moves one of the dead to the waiting.
	reviveScript = redis.NewScript(2, `
if redis.call("ZREM", KEYS[1], ARGV[1]) == 1 then
	redis.call("LPUSH", KEYS[2], ARGV[2])
	return 1
end
return 0
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
