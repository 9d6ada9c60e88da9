package celeryexec

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
)

const (
	keepMost    = 30 * time.Second // between two signs of life
	restoreMost = 10 * time.Second // between two looks for jobs of lost workers, as kombu's
	restoreStep = 100              // jobs at a time
)

// keepLoop keeps the jobs in hand from being given to another worker.
func (w *Worker) keepLoop(ctx context.Context) {
	for pauseFor(ctx, min(w.broker.visibility/4, keepMost)) {
		now := score(time.Now())
		for fields := range slices.Chunk(w.inHand.fields(), 1000) {
			members := make([]redis.Z, len(fields))
			for i, field := range fields {
				members[i] = redis.Z{Score: now, Member: field}
			}
			err := w.broker.rdb.ZAddXX(ctx, w.broker.key(unackedIndexKey), members...).Err()
			if ctx.Err() != nil {
				return
			}
			w.link.note(err)
		}
	}
}

// restoreLoop gives the jobs of lost workers to others, as Celery workers do.
func (w *Worker) restoreLoop(ctx context.Context) {
	for first := true; first || pauseFor(ctx, min(w.broker.visibility/2, restoreMost)); first = false {
		w.restore(ctx)
		if ctx.Err() != nil {
			return
		}
	}
}

func (w *Worker) restore(ctx context.Context) {
	b := w.broker
	until := strconv.FormatFloat(score(time.Now().Add(-b.visibility)), 'f', 6, 64)
	for skip := int64(0); ctx.Err() == nil; {
		fields, err := b.rdb.ZRangeByScore(ctx, b.key(unackedIndexKey), &redis.ZRangeBy{Min: "-inf", Max: until, Offset: skip, Count: restoreStep}).Result()
		if err != nil || len(fields) == 0 {
			return
		}
		for _, field := range fields {
			if w.inHand.has(field) || !w.restoreOne(ctx, field) {
				skip++ // it stays
			}
		}
	}
}

// restoreOne reports whether a job is no longer in unacked.
func (w *Worker) restoreOne(ctx context.Context, field string) bool {
	b := w.broker
	value, err := b.rdb.HGet(ctx, b.key(unackedKey), field).Result()
	if err != nil && err != redis.Nil {
		return false
	}
	keys, restored := []string{b.key(unackedKey), b.key(unackedIndexKey)}, []byte(nil)
	if err == nil {
		var parts []json.RawMessage
		if json.Unmarshal([]byte(value), &parts) != nil || len(parts) != 3 {
			return false
		}
		m, err := parseMessage(parts[0])
		queues := w.routed(ctx, parts[1], parts[2])
		if err != nil || len(queues) == 0 {
			return false // a Celery worker knows the type of the exchange
		}
		restored = m.redelivered()
		keys = append(keys, queues...)
	}
	return b.run(ctx, restoreScript, keys, field, value, restored).Err() == nil
}

// routed returns the lists of the queues that an exchange routes a message to.
func (w *Worker) routed(ctx context.Context, exchange, key json.RawMessage) (lists []string) {
	var ex, rk string
	if json.Unmarshal(exchange, &ex) != nil || json.Unmarshal(key, &rk) != nil {
		return nil
	}
	if ex == "" {
		if rk == "" {
			return nil
		}
		return []string{w.broker.key(rk)}
	}
	bindings, err := w.broker.rdb.SMembers(ctx, w.broker.key(bindingPrefix+ex)).Result()
	if err != nil {
		return nil
	}
	for _, binding := range bindings { // routing key, pattern, queue
		if parts := strings.Split(binding, separator); len(parts) == 3 && parts[0] == rk && parts[2] != "" {
			lists = append(lists, w.broker.key(parts[2]))
		}
	}
	return lists
}

// outage logs once that Redis cannot be reached, and once that it can.
type outage struct {
	log *slog.Logger

	mu    sync.Mutex
	down  bool            // guarded by mu
	lists map[string]bool // guarded by mu; keys that are no lists
}

func (o *outage) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil && !o.down:
		o.down = true
		adapter.LogLost(o.log, name, slog.String("error", adapter.RedisErrorText(&backendError{err})))
	case err == nil && o.down:
		o.down = false
		adapter.LogBack(o.log, name)
	}
}

func (o *outage) noteList(list, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lists[list] {
		return
	}
	if o.lists == nil {
		o.lists = map[string]bool{}
	}
	o.lists[list] = true
	o.log.Warn("airlock: celery: queue cannot be read, will try again", slog.String("key", list), slog.String("error", text))
}
