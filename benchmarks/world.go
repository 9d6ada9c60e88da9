package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/integration/servers"
)

// errNoServer says that a group needs a server that cannot be started here. Unless the
// group was asked for by name, it is left out.
var errNoServer = errors.New("no server")

// A world is what one group is measured in: it starts the servers that the group asks
// for, and remembers their versions. It is the testing.TB that package servers wants.
type world struct {
	testing.TB
	versions map[string]string // by server
	cleanups []func()
	failed   bool
}

// newWorld returns a world without servers. close stops those that were started.
func newWorld() *world { return &world{versions: map[string]string{}} }

func (w *world) close() {
	for _, f := range slices.Backward(w.cleanups) {
		f()
	}
}

// fatal is what Fatal panics with: package servers expects that it does not return.
type fatal string

func (w *world) Helper()                           {}
func (w *world) Cleanup(f func())                  { w.cleanups = append(w.cleanups, f) }
func (w *world) Failed() bool                      { return w.failed }
func (w *world) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (w *world) Error(args ...any)                 { w.failed = true; w.Logf("%s", fmt.Sprint(args...)) }
func (w *world) Errorf(format string, args ...any) { w.Error(fmt.Sprintf(format, args...)) }
func (w *world) Fatal(args ...any)                 { w.failed = true; panic(fatal(fmt.Sprint(args...))) }
func (w *world) Fatalf(format string, args ...any) { w.Fatal(fmt.Sprintf(format, args...)) }

// start returns the URL of a server that start starts, and asks it for its version.
func (w *world) start(ctx context.Context, name string, start func() (url string), version func(ctx context.Context, url string) (string, error)) (url string, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			err = fmt.Errorf("%s: %w", string(r), errNoServer)
		default:
			panic(r)
		}
	}()
	url = start()
	v, err := version(ctx, url)
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", name, err)
	}
	w.versions[name] = v
	return url, nil
}

// redis returns the options of a Redis that keeps its data in memory alone, or of that
// of AIRLOCK_REDIS_URL.
func (w *world) redis(ctx context.Context) (*redis.Options, error) {
	url, err := w.start(ctx, "Redis", func() string {
		return servers.Redis(w, servers.RedisOptions{}).URL()
	}, func(ctx context.Context, url string) (string, error) {
		opts, err := redis.ParseURL(url)
		if err != nil {
			return "", err
		}
		rdb := redis.NewClient(opts)
		defer rdb.Close()
		info := rdb.InfoMap(ctx, "server")
		return info.Item("Server", "redis_version"), info.Err()
	})
	if err != nil {
		return nil, err
	}
	return redis.ParseURL(url)
}

// postgres returns the URL of a PostgreSQL that does not sync to the disk, whose time is the
// same for all and would hide the rest, or that of AIRLOCK_POSTGRES_URL.
func (w *world) postgres(ctx context.Context) (string, error) {
	return w.start(ctx, "PostgreSQL", func() string {
		return servers.Postgres(w, servers.PostgresOptions{}).URL()
	}, func(ctx context.Context, url string) (version string, err error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return "", err
		}
		defer conn.Close(ctx)
		return version, conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
	})
}

// nats returns the URL of a nats-server in a process of its own, so that its memory is
// not counted with the client's, or that of AIRLOCK_NATS_URL.
func (w *world) nats(ctx context.Context) (string, error) {
	return w.start(ctx, "nats-server", func() string {
		own := os.Getenv("AIRLOCK_NATS_URL") == ""
		return servers.NATS(w, servers.NATSOptions{OwnProcess: own}).URL()
	}, func(_ context.Context, url string) (string, error) {
		conn, err := nats.Connect(url)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return conn.ConnectedServerVersion(), nil
	})
}

// rabbitmq returns the URL of a RabbitMQ, or that of AIRLOCK_RABBITMQ_URL.
func (w *world) rabbitmq(ctx context.Context) (string, error) {
	return w.start(ctx, "RabbitMQ", func() string {
		if url := os.Getenv("AIRLOCK_RABBITMQ_URL"); url != "" {
			return url
		}
		return servers.RabbitMQ(w, servers.RabbitMQOptions{}).URL()
	}, func(_ context.Context, url string) (string, error) {
		conn, err := amqp.Dial(url)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return fmt.Sprint(conn.Properties["version"]), nil
	})
}

// environment describes where a group was measured, with the versions of the libraries
// that it names.
func (w *world) environment(libraries []string) Environment {
	e := newEnvironment(libraries)
	e.Servers = w.versions
	return e
}
