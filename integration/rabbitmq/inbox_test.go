//go:build realservers

package rabbitmq_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func redisInbox(t *testing.T) rabbitexec.Inbox {
	t.Helper()
	server := servers.Redis(t, servers.RedisOptions{Private: true})
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	box, err := rabbitexec.NewRedisInbox(func(ctx context.Context, script string, keys []string, args ...any) (any, error) {
		return rdb.Eval(ctx, script, keys, args...).Result()
	}, "{inbox}:")
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func sqlInbox(t *testing.T, driver, source, placeholder string) rabbitexec.Inbox {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if driver == "sqlite" {
		db.SetMaxOpenConns(1)
	}
	if _, err := db.ExecContext(t.Context(), rabbitexec.InboxSchema("seen_jobs")); err != nil {
		t.Fatal(err)
	}
	box, err := rabbitexec.NewSQLInbox(db, "seen_jobs", placeholder)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// TestInboxes tests what every inbox promises.
func TestInboxes(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) rabbitexec.Inbox{
		"redis":  redisInbox,
		"sqlite": func(t *testing.T) rabbitexec.Inbox { return sqlInbox(t, "sqlite", t.TempDir()+"/inbox.db", "?") },
		"postgres": func(t *testing.T) rabbitexec.Inbox {
			return sqlInbox(t, "pgx", servers.Postgres(t, servers.PostgresOptions{}).URL(), "$")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box := open(t)
			swap := func(want []string, changes ...rabbitexec.InboxChange) {
				t.Helper()
				for i := range changes {
					changes[i].Key = strings.Repeat(changes[i].Key, 64)
				}
				before, err := box.Swap(t.Context(), changes)
				if err != nil || !slices.Equal(before, want) {
					t.Fatalf("%v had %q with error %v, want %q", changes, before, err, want)
				}
			}
			swap([]string{""}, rabbitexec.InboxChange{Key: "a", New: "1"})
			swap([]string{"1", ""}, rabbitexec.InboxChange{Key: "a", New: "2"}, rabbitexec.InboxChange{Key: "b", New: "1"})
			swap([]string{"1", "1"}, rabbitexec.InboxChange{Key: "b", Old: "1", New: "2"}, rabbitexec.InboxChange{Key: "a", Old: "2"})
			swap([]string{"1"}, rabbitexec.InboxChange{Key: "a", Old: "?", New: "?"})
			swap([]string{"1"}, rabbitexec.InboxChange{Key: "a", Old: "1"})
			swap([]string{""}, rabbitexec.InboxChange{Key: "a", New: "3", Keep: 50 * time.Millisecond})
			for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				before, err := box.Swap(t.Context(), []rabbitexec.InboxChange{{Key: strings.Repeat("a", 64), New: "4"}})
				if err != nil {
					t.Fatal(err)
				}
				if before[0] == "" {
					break
				}
				if time.Now().After(end) {
					t.Fatal("a value is kept for too long")
				}
			}
			swap(nil)
			var won atomic.Int64
			var wg sync.WaitGroup
			for i := range 20 { // of those who try to make a key, one does
				wg.Go(func() {
					keys := []rabbitexec.InboxChange{{Key: strings.Repeat("c", 64), New: fmt.Sprint(i)}, {Key: strings.Repeat("d", 64), New: fmt.Sprint(i)}}
					if i%2 == 0 {
						slices.Reverse(keys)
					}
					before, err := box.Swap(t.Context(), keys)
					if err != nil {
						t.Error(err)
						return
					}
					if before[0] == "" {
						won.Add(1)
					}
					if before[1] == "" {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if won.Load() != 2 {
				t.Errorf("two keys were made %d times", won.Load())
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := box.Swap(ctx, []rabbitexec.InboxChange{{Key: strings.Repeat("e", 64), New: "1"}}); !errors.Is(err, context.Canceled) {
				t.Errorf("after the end of the context: %v", err)
			}
		})
	}
}

// A job that was sent twice, because the outcome of the first call was unknown, runs
// once.
func onceInSpiteOfTwoMessages(e *testEnv) {
	in := e.intent(core.ID("twice"), core.Unique("key"), core.Backoff(core.Fixed(time.Millisecond)))
	e.must(e.exec.Execute(e.Context(), in))
	ch, end, err := servers.WireTo(e.server.Addr()).Channel()
	e.must(err)
	defer end()
	d, ok, err := ch.Get(e.topology.Prefix+"default", false)
	e.must(err)
	if !ok {
		e.Fatal("no message")
	}
	second := d.Headers
	second["Airlock-Message"], second["Airlock-Job"] = int64(1), "other"
	e.must(d.Nack(false, true))
	e.must(servers.WireTo(e.server.Addr()).Put(e.Context(), e.topology.Prefix+"default", amqpPublishing(d, second)))
	if err := e.exec.Execute(e.Context(), in); !errors.Is(err, core.ErrDuplicate) {
		e.Errorf("the same intent: %v", err)
	}
	if err := e.exec.Execute(e.Context(), e.intent(core.Unique("key"))); !errors.Is(err, core.ErrDuplicate) {
		e.Errorf("the same key: %v", err)
	}
	ran := make(chan int, 10)
	var runs atomic.Int64
	e.work(e.dial(), func(_ context.Context, job worker.Job) error {
		ran <- job.Attempt
		if runs.Add(1) == 1 { // its attempt is 1 or 2: the message that was looked at counts a delivery
			return errors.New("once more")
		}
		return nil
	})
	first, again := next(e, ran), next(e, ran)
	e.awaitEmpty()
	e.must(e.exec.Execute(e.Context(), e.intent(core.Unique("key")))) // the key is free again
	next(e, ran)
	if len(ran) > 0 || again != first+1 {
		e.Errorf("attempts %d and %d, and %d more runs", first, again, len(ran))
	}
}
