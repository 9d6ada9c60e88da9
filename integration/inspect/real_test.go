//go:build realservers

package inspect_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/outbox"
	"github.com/goairlock/airlock/worker"
)

func onPostgres(t *testing.T, url string) system {
	pool, err := pgxpool.New(context.Background(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	driver := riverpgxv5.New(pool)
	migrate(t, driver)
	return onRiver(t, driver, driver)
}

func TestALargeQueueOnRealServers(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (system, string){
		"asynq": func(t *testing.T) (system, string) {
			addr := servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
			return onAsynq(t, addr, true), addr
		},
		"work": func(t *testing.T) (system, string) {
			addr := servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
			return onWork(t, addr), addr
		},
		"river": func(t *testing.T) (system, string) {
			url := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
			return onPostgres(t, url), url
		},
		"nats": func(t *testing.T) (system, string) {
			url := servers.NATS(t, servers.NATSOptions{Private: true}).URL()
			return onNATSAt(t, url), url
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, address := open(t)
			jobs := 20_000
			switch name {
			case "work":
				jobs = 100_000 // its batches are the fastest to store
			case "nats":
				jobs = 5_000 // each is read by a request of its own
			}
			large(t, s, jobs)
			if name == "nats" {
				conn, err := nats.Connect(address)
				must(t, err)
				defer conn.Close()
				js, err := jetstream.New(conn)
				must(t, err)
				stream, err := js.Stream(t.Context(), "JOBS")
				must(t, err)
				state := stream.CachedInfo().State
				t.Logf("a small delayed job takes %d bytes of the stream", state.Bytes/state.Msgs)
				return
			}
			if strings.HasPrefix(address, "postgres") {
				db, err := sql.Open("pgx", address)
				must(t, err)
				defer db.Close()
				var size int64
				must(t, db.QueryRow("SELECT pg_total_relation_size('river_job')").Scan(&size))
				t.Logf("a small delayed job takes %d bytes in PostgreSQL, with its indexes", size/int64(jobs))
				return
			}
			logSlowest(t, address, jobs)
		})
	}
}

// logSlowest logs which command kept Redis from others for longest, and looks for
// commands that read a whole list or set. It also logs how much memory a job takes.
func logSlowest(t *testing.T, addr string, jobs int) {
	rdb := goredis.NewClient(&goredis.Options{Addr: addr})
	defer rdb.Close()
	stats, err := rdb.Info(t.Context(), "commandstats").Result()
	must(t, err)
	for _, command := range []string{"keys", "hgetall", "sort"} {
		if strings.Contains(stats, "cmdstat_"+command+":") {
			t.Errorf("the inspector uses the command %s, which reads everything", command)
		}
	}
	memory, err := rdb.Info(t.Context(), "memory").Result()
	must(t, err)
	var used int64
	_, err = fmt.Sscanf(memory[strings.Index(memory, "used_memory:"):], "used_memory:%d", &used)
	must(t, err)
	t.Logf("a small delayed job takes %d bytes of Redis", used/int64(jobs))
	slow, err := rdb.SlowLogGet(t.Context(), 128).Result()
	must(t, err)
	for _, entry := range slow {
		if name := strings.ToLower(entry.Args[0]); name == "lrange" || name == "zrange" || name == "zcount" {
			t.Logf("a page took Redis %v: %q", entry.Duration, entry.Args)
		}
	}
}

// A page of RabbitMQ's inspector reads dead jobs only, so there is nothing to list in a large queue.
func TestTheSizeOfAJobOnRabbitMQ(t *testing.T) {
	t.Parallel()
	const jobs = 50_000
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	dial := servers.WireTo(server.Addr()).Dial
	for name, topology := range map[string]rabbitexec.Topology{"quorum": {Prefix: "quorum."}, "classic": {Prefix: "classic.", Classic: true}} {
		t.Run(name, func(t *testing.T) {
			exec, err := rabbitexec.New(dial, &rabbitexec.Options{Topology: topology, Logger: quiet})
			must(t, err)
			t.Cleanup(func() { _ = exec.Close() })
			must(t, rabbitexec.EnsureQueues(t.Context(), dial, &topology, "mail"))
			intents := make([]core.Intent, jobs)
			for n := range intents {
				intents[n], err = tasks[0].Intent("x", core.Queue("mail"))
				must(t, err)
			}
			memory, stored := server.Memory(t), server.Stored(t)
			must(t, exec.Execute(t.Context(), intents...))
			memory, stored = server.Memory(t)-memory, server.Stored(t)-stored
			if memory <= 0 || stored <= 0 {
				t.Errorf("%d jobs take %d bytes of memory and %d of disk", jobs, memory, stored)
			}
			t.Logf("a small waiting job takes %d bytes of RabbitMQ's memory and %d of its disk", memory/jobs, stored/jobs)
		})
	}
}

func TestTheCommandOnRealServers(t *testing.T) {
	t.Parallel()
	t.Run("river", func(t *testing.T) {
		t.Parallel()
		url := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
		command(t, onPostgres(t, url), url, true)
	})
	t.Run("outbox on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		address := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
		db, err := sql.Open("pgx", address)
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		separator := "?"
		if strings.Contains(address, "?") {
			separator = "&"
		}
		onOutbox(t, outbox.Postgres, db, "outbox+"+address+separator+"destination=far")
	})
	t.Run("outbox on MariaDB", func(t *testing.T) {
		t.Parallel()
		dsn := servers.MariaDB(t, servers.MariaDBOptions{}).Database(t)
		config, err := mysql.ParseDSN(dsn)
		must(t, err)
		db, err := sql.Open("mysql", dsn)
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		user := url.UserPassword(config.User, config.Passwd)
		onOutbox(t, outbox.MySQL, db, "outbox+mysql://"+user.String()+"@"+config.Addr+"/"+config.DBName+"?destination=far")
	})
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		url := "amqp://guest:guest@" + servers.RabbitMQ(t, servers.RabbitMQOptions{}).Addr()
		command(t, onRabbitMQ(t, url), url, false)
	})
}

func onRabbitMQ(t *testing.T, url string) system {
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(url) }
	exec, err := rabbitexec.New(dial, &rabbitexec.Options{Logger: quiet})
	must(t, err)
	t.Cleanup(func() { _ = exec.Close() })
	view, err := rabbitexec.NewInspector(dial, nil)
	must(t, err)
	return system{
		inspect: view,
		exec: func(ctx context.Context, intents ...core.Intent) error { // each test has a queue of its own
			if len(intents) > 0 {
				if err := rabbitexec.EnsureQueues(ctx, dial, nil, intents[0].Options.Queue); err != nil {
					return err
				}
			}
			return exec.Execute(ctx, intents...)
		},
		run: func(t reporter, reg *worker.Registry, queue string) func() {
			w, err := rabbitexec.NewWorker(dial, reg, &rabbitexec.WorkerOptions{Queues: []string{queue}, Concurrency: 1, Logger: quiet, DrainTimeout: patience})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return started(t, w)
		},
	}
}
