package workexec

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	reviveEvery = 2 * time.Second
	clocksApart = time.Minute      // at the most, those of the namespace's pools
	surveyEvery = 10 * time.Minute // of all the dead

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
)
