//go:build realservers

package inspect_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	goredis "github.com/redis/go-redis/v9"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/integration/servers"
)

// Whoever may not look is told so at once. That there is no such queue or job would be
// wrong.
func TestAUserWithoutRightsIsTold(t *testing.T) {
	t.Parallel()
	for name, strangers := range map[string]func(t *testing.T) inspect.Inspector{
		"asynq": strangerOnAsynq, "work": strangerOnWork, "river": strangerOnRiver, "nats": strangerOnNATS,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, strangers(t))
		})
	}
}

func wantRefused(t *testing.T, v inspect.Inspector) {
	t.Helper()
	for method, err := range each(t.Context(), v) {
		switch {
		case errors.Is(err, core.ErrUnsupported):
		case err == nil, errors.Is(err, inspect.ErrNotFound), errors.Is(err, core.ErrUnavailable),
			!strings.Contains(strings.ToLower(err.Error()), "perm"), // NOPERM, permission denied, permissions violation
			strings.Contains(err.Error(), password), !strings.HasPrefix(err.Error(), "airlock: "):
			t.Errorf("%s: %v, want the server's refusal", method, err)
		}
	}
}

func strangerOnAsynq(t *testing.T) inspect.Inspector {
	addr := withStranger(t)
	send(t, onAsynq(t, addr, false))
	rdb := goredis.NewClient(&goredis.Options{Addr: addr, Username: "stranger", Password: password, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	view, err := asynqexec.NewInspector(rdb, nil)
	must(t, err)
	return view
}

func strangerOnWork(t *testing.T) inspect.Inspector {
	addr := withStranger(t)
	send(t, onWork(t, addr))
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", addr, redis.DialUsername("stranger"), redis.DialPassword(password))
	}}
	t.Cleanup(func() { _ = pool.Close() })
	view, err := workexec.NewInspector(pool, nil)
	must(t, err)
	return view
}

// withStranger starts a Redis with a user who may do nothing but connect.
func withStranger(t *testing.T) (addr string) {
	addr = servers.Redis(t, servers.RedisOptions{Private: true}).Addr()
	rdb := goredis.NewClient(&goredis.Options{Addr: addr})
	defer rdb.Close()
	must(t, rdb.Do(t.Context(), "ACL", "SETUSER", "stranger", "on", ">"+password, "+hello", "+ping", "+client").Err())
	return addr
}

func strangerOnRiver(t *testing.T) inspect.Inspector {
	address := servers.Postgres(t, servers.PostgresOptions{}).Database(t)
	send(t, onPostgres(t, address))
	admin, err := pgxpool.New(t.Context(), address)
	must(t, err)
	t.Cleanup(admin.Close)
	role := "stranger_" + strings.ToLower(rand.Text()) // roles belong to the whole server
	_, err = admin.Exec(t.Context(), "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'")
	must(t, err)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP ROLE "+role) })
	u, err := url.Parse(address)
	must(t, err)
	u.User = url.UserPassword(role, password)
	pool, err := pgxpool.New(t.Context(), u.String())
	must(t, err)
	t.Cleanup(pool.Close)
	view, err := riverexec.NewInspector(riverpgxv5.New(pool), nil)
	must(t, err)
	return view
}

func strangerOnNATS(t *testing.T) inspect.Inspector {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Users: []*server.User{{Username: "admin", Password: password}, {Username: "stranger", Password: password, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.>"}},
		}}},
	})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	u, err := url.Parse(s.ClientURL())
	must(t, err)
	u.User = url.UserPassword("admin", password)
	send(t, onNATSAt(t, u.String()))
	u.User = url.UserPassword("stranger", password)
	conn, err := nats.Connect(u.String())
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	view, err := natsexec.NewInspector(js, "JOBS", nil)
	must(t, err)
	return view
}

// send stores a job.
func send(t *testing.T, s system) {
	t.Helper()
	newEnv(t, s).send(0, "x")
}
