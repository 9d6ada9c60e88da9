package workexec

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/worker"
)

const (
	clocksApart  = time.Minute      // at the most, those of the namespace's pools
	scanDeadFull = 10 * time.Minute // between two looks at all the dead

	// unknownJob is the error with which the library's requeuer buries a job whose
	// name its own pool does not know.
	unknownJob = "unknown job when requeueing"
)

// deadScan knows how far a worker has looked among the dead of a namespace.
type deadScan struct{ full, latest time.Time }

// scanDead brings back jobs that one of the library's pools has buried because it did
// not know their name: all of them at times, else those that died since the last look.
func (w *Worker) scanDead(ctx context.Context, s space, done *deadScan) error {
	now := time.Now()
	if now.Sub(done.full) >= scanDeadFull {
		if err := w.scanAllDead(ctx, s); err != nil {
			return err
		}
		done.full, done.latest = now, now
		return nil
	}
	reply, _, err := w.eval(ctx, "look among the dead", buriedScript, []string{s.prefix + "dead"},
		done.latest.Add(-clocksApart).Unix(), unknownJob)
	found, err := redis.Strings(reply, err)
	if err != nil {
		return err
	}
	done.latest = now
	return w.requeueDead(ctx, s, found)
}

// scanAllDead looks at all the dead, page by page. Nobody ever removes one.
func (w *Worker) scanAllDead(ctx context.Context, s space) error {
	for cursor := "0"; ; {
		page, err := redis.Values(w.do(ctx, "look among the dead", func(do doer) (any, error) {
			return do("ZSCAN", s.prefix+"dead", cursor, "MATCH", "*"+unknownJob+"*", "COUNT", 500)
		}))
		if err != nil {
			return err
		}
		var withScores, found []string
		if _, err := redis.Scan(page, &cursor, &withScores); err != nil {
			return err
		}
		for i := 0; i < len(withScores); i += 2 {
			found = append(found, withScores[i])
		}
		if err := w.requeueDead(ctx, s, found); err != nil || cursor == "0" {
			return err
		}
	}
}

// requeueDead brings back those of the dead that were buried for their name: the
// registry's, and every job that an [Executor] has stored. Others may be so on purpose.
func (w *Worker) requeueDead(ctx context.Context, s space, found []string) error {
	for _, text := range found {
		var m message
		if json.Unmarshal([]byte(text), &m) != nil || m.Err != unknownJob || m.Name == "" {
			continue
		}
		if !w.reg.Handles(taskOf(m.Name)) && !strings.Contains(string(m.Args), `"`+envelopeKey+`"`) {
			continue
		}
		m.Err, m.FailedAt = "", 0
		moved, err := w.moveMember(ctx, s.prefix+"dead", s.prefix+"jobs:"+m.Name, text, m.encode(), "")
		if err != nil {
			return err
		}
		if moved {
			w.log.LogAttrs(ctx, slog.LevelInfo, "airlock: work: job brought back, a pool of the namespace does not know its name",
				slog.String("id", m.ID), slog.String("name", m.Name), slog.String("queue", s.queue))
		}
	}
	return nil
}

// buriedScript finds the dead since a time whose message contains a text.
var buriedScript = newScript(`
local found = {}
for _, message in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], ARGV[1], "+inf")) do
	if string.find(message, ARGV[2], 1, true) then
		found[#found + 1] = message
	end
end
return found
`)

// deadRecord returns a dead job for a message that is no job: the library's tools
// cannot list anything else. [Payload] returns the message.
func deadRecord(name, text string, why error) []byte {
	args, err := json.Marshal(map[string]string{bytesKey: base64.StdEncoding.EncodeToString([]byte(text))})
	if err != nil {
		panic(err) // it is a string
	}
	now := time.Now().Unix()
	m := message{Name: name, ID: recordID(text), T: now, Args: args, Fails: 1, Err: why.Error(), FailedAt: now}
	return m.encode()
}

func recordID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "unreadable-" + hex.EncodeToString(sum[:8])
}

// buriedDelivery returns what logs and observers see of a message that is no job.
func buriedDelivery(l *list, text string) worker.Delivery {
	return worker.Delivery{ID: recordID(text), Task: taskOf(l.name), Queue: l.queue, Attempt: 1}
}
