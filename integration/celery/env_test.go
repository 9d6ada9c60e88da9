//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
)

var quiet = slog.New(slog.DiscardHandler)

type cleaner interface{ Cleanup(func()) }

// client connects with a client that does not retry. dial may be nil.
func client(t cleaner, addr string, dial *faultproxy.Dialer) *redis.Client {
	opts := &redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: 10 * time.Second} // the machine may be busy
	if dial != nil {
		opts.Dialer = dial.DialContext
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// stored lists the jobs under a key prefix.
func stored(ctx context.Context, rdb *redis.Client, prefix string) ([]conformance.Record, error) {
	var records []conformance.Record
	add := func(raw string, state conformance.RecordState) {
		var m struct {
			Headers struct{ ID, Task string }
		}
		_ = json.Unmarshal([]byte(raw), &m) // one that cannot be decoded is stored too
		records = append(records, conformance.Record{ID: m.Headers.ID, Task: m.Headers.Task, State: state})
	}
	keys, err := rdb.Keys(ctx, prefix+"*").Result()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, prefix)
		switch {
		case name == "unacked":
			values, err := rdb.HVals(ctx, key).Result()
			if err != nil {
				return nil, err
			}
			for _, v := range values {
				var parts []json.RawMessage
				if err := json.Unmarshal([]byte(v), &parts); err != nil {
					return nil, err
				}
				add(string(parts[0]), conformance.Running)
			}
		case strings.HasSuffix(name, ".dead"):
			dead, err := rdb.LRange(ctx, key, 0, -1).Result()
			if err != nil {
				return nil, err
			}
			for _, v := range dead {
				var d struct{ Message string }
				if err := json.Unmarshal([]byte(v), &d); err != nil {
					return nil, err
				}
				add(d.Message, conformance.Buried)
			}
		case !strings.HasPrefix(name, "unacked") && !strings.HasPrefix(name, "airlock.") && !strings.HasPrefix(name, "_kombu"):
			waiting, err := rdb.LRange(ctx, key, 0, -1).Result()
			if err != nil {
				return nil, err
			}
			for _, raw := range waiting {
				add(raw, conformance.Waiting)
			}
		}
	}
	return records, nil
}

// visibility is short, so that the jobs of killed workers come back soon.
const visibility = 6 * time.Second

func options(namespace string) celeryexec.Options {
	return celeryexec.Options{
		Redis:      celeryexec.RedisOptions{VisibilityTimeout: visibility, KeyPrefix: namespace + ":"},
		Priorities: true, AcksLate: true, Attempts: core.DefaultMaxAttempts,
	}
}
