package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"database/sql"

	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	natsexec "github.com/goairlock/airlock/executors/nats"
	poolexec "github.com/goairlock/airlock/executors/pool"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	riverexec "github.com/goairlock/airlock/executors/river"
	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/inspect"
)

func TestConstructorsRefuseBadInput(t *testing.T) {
	t.Parallel()
	rdb := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	names := map[string]string{"a": "same", "b": "same"}
	var noClient *goredis.Client
	for name, err := range map[string]error{
		"asynq, nil":         second(asynqexec.NewInspector(nil, nil)),
		"asynq, typed nil":   second(asynqexec.NewInspector(noClient, nil)),
		"asynq, names":       second(asynqexec.NewInspector(rdb, &asynqexec.InspectorOptions{QueueNames: names})),
		"work, nil":          second(workexec.NewInspector(nil, nil)),
		"work, names":        second(workexec.NewInspector(&redis.Pool{}, &workexec.InspectorOptions{QueueNames: names})),
		"river, nil":         second(riverexec.NewInspector[*sql.Tx](nil, nil)),
		"river, no pool":     second(riverexec.NewInspector(riversqlite.New(nil), nil)),
		"river, names":       second(riverexec.NewInspector(sqliteDriver(t), &riverexec.InspectorOptions{QueueNames: names})),
		"river, schema":      second(riverexec.NewInspector(sqliteDriver(t), &riverexec.InspectorOptions{Schema: `x"; DROP`})),
		"nats, nil":          second(natsexec.NewInspector(nil, "JOBS", nil)),
		"rabbitmq, nil":      second(rabbitexec.NewInspector(nil, nil)),
		"rabbitmq, names":    second(rabbitexec.NewInspector(noDial, &rabbitexec.InspectorOptions{Topology: rabbitexec.Topology{QueueNames: names}})),
		"pool, nil":          second(poolexec.NewInspector(nil)),
		"pool, not from New": second(poolexec.NewInspector(&poolexec.Executor{})),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want core.ErrInvalid", name, err)
		}
	}
}

func noDial(context.Context) (*amqp.Connection, error) { return nil, errors.New("it never dials") }

func second[T any](_ T, err error) error { return err }

func TestInspectorsThatNoConstructorMadeAreInvalid(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]inspect.Inspector{
		"asynq nil": (*asynqexec.Inspector)(nil), "asynq zero": &asynqexec.Inspector{},
		"work nil": (*workexec.Inspector)(nil), "work zero": &workexec.Inspector{},
		"river nil": (*riverexec.Inspector[*sql.Tx])(nil), "river zero": &riverexec.Inspector[*sql.Tx]{},
		"nats nil": (*natsexec.Inspector)(nil), "nats zero": &natsexec.Inspector{},
		"rabbitmq nil": (*rabbitexec.Inspector)(nil), "rabbitmq zero": &rabbitexec.Inspector{},
		"pool nil": (*poolexec.Inspector)(nil), "pool zero": &poolexec.Inspector{},
	} {
		wantEach(t, name, v, core.ErrInvalid)
	}
}

// wantEach calls every method and looks for an error.
func wantEach(t *testing.T, name string, v inspect.Inspector, want error) {
	t.Helper()
	for method, err := range each(t.Context(), v) {
		switch {
		case want == core.ErrUnavailable && errors.Is(err, core.ErrUnsupported):
		case !errors.Is(err, want) || strings.Contains(err.Error(), password) || !strings.HasPrefix(err.Error(), "airlock: "):
			t.Errorf("%s: %s: %v, want %v", name, method, err, want)
		}
	}
}

// each calls every method, and returns their errors.
func each(ctx context.Context, v inspect.Inspector) map[string]error {
	return map[string]error{
		"Queues":   second(v.Queues(ctx)),
		"Depth":    second(v.Depth(ctx, "q")),
		"List":     second(v.List(ctx, inspect.Query{Queue: "q", State: inspect.Waiting})),
		"Get":      second(v.Get(ctx, "q", "x")),
		"Retry":    v.Retry(ctx, "q", "x"),
		"RetryAll": second(v.RetryAll(ctx, inspect.Selection{Queue: "q", Limit: 1})),
		"Discard":  v.Discard(ctx, "q", "x"),
		"Pause":    v.Pause(ctx, "q"),
		"Resume":   v.Resume(ctx, "q"),
	}
}

// password must not be in an error.
const password = "s3cr3t-pass"

func TestABackendThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := closed.Addr().String()
	must(t, closed.Close())
	rdb := goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	onAsynq, err := asynqexec.NewInspector(rdb, nil)
	must(t, err)
	wantEach(t, "asynq", onAsynq, core.ErrUnavailable)
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) { return redis.DialContext(ctx, "tcp", addr) }}
	onWork, err := workexec.NewInspector(pool, nil)
	must(t, err)
	wantEach(t, "work", onWork, core.ErrUnavailable)
	onRabbit, err := rabbitexec.NewInspector(func(context.Context) (*amqp.Connection, error) {
		conn, err := amqp.Dial("amqp://someone:" + password + "@" + addr)
		if err != nil {
			err = fmt.Errorf("amqp://someone:%s@%s: %w", password, addr, err)
		}
		return conn, err
	}, nil)
	must(t, err)
	wantEach(t, "rabbitmq", onRabbit, core.ErrUnavailable)
}

func TestACursorOfSomethingElseIsInvalid(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]system{"asynq": onAsynq(t, miniRedis(t), true), "work": onWork(t, miniRedis(t)), "river": openSQLite(t), "nats": onNATS(t)} {
		e := newEnv(t, s)
		e.send(0, "x", core.Delay(time.Hour))
		for _, cursor := range []string{"odd!", "eyJyIjotMX0"} {
			_, err := e.inspect.List(e.ctx, inspect.Query{Queue: e.queue, State: inspect.Delayed, Cursor: cursor})
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s: cursor %q: %v, want core.ErrInvalid", name, cursor, err)
			}
		}
	}
}

func TestQueuesHaveTheirPortableNames(t *testing.T) {
	t.Parallel()
	names := map[string]string{"critical": "critical-jobs"}
	addr := miniRedis(t)
	rdb := goredis.NewClient(&goredis.Options{Addr: addr})
	t.Cleanup(func() { _ = rdb.Close() })
	pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) { return redis.DialContext(ctx, "tcp", addr) }}
	t.Cleanup(func() { _ = pool.Close() })
	asynqExec, err := asynqexec.New(rdb, &asynqexec.Options{QueueNames: names})
	must(t, err)
	asynqView, err := asynqexec.NewInspector(rdb, &asynqexec.InspectorOptions{QueueNames: names})
	must(t, err)
	workExec, err := workexec.New(pool, &workexec.Options{QueueNames: names})
	must(t, err)
	workView, err := workexec.NewInspector(pool, &workexec.InspectorOptions{QueueNames: names})
	must(t, err)
	for name, s := range map[string]system{"asynq": {exec: asynqExec.Execute, inspect: asynqView}, "work": {exec: workExec.Execute, inspect: workView}} {
		e := newEnv(t, s)
		e.queue = "critical"
		id := e.send(0, "x", core.Delay(time.Hour))
		queues, err := s.inspect.Queues(e.ctx)
		must(t, err)
		job, err := s.inspect.Get(e.ctx, "critical", id)
		must(t, err)
		if len(queues) != 1 || queues[0] != "critical" || job.Queue != "critical" || e.depth().Queue != "critical" {
			t.Errorf("%s: queues %q, a job of %q", name, queues, job.Queue)
		}
		if _, err := s.inspect.Depth(e.ctx, "critical-jobs"); err == nil {
			t.Errorf("%s: the native name of a queue is one more queue", name)
		}
	}
}

// TestAJobInALaneIsAJobOfItsQueue covers what operators see of core.Priority on asynq.
func TestAJobInALaneIsAJobOfItsQueue(t *testing.T) {
	t.Parallel()
	e := newEnv(t, onAsynq(t, miniRedis(t), true))
	var ids []string
	for _, p := range []int{9, 5, 1} {
		ids = append(ids, e.dead(func() string { return e.send(0, "x", core.Priority(p)) })...)
	}
	e.wantCounts(0, 0, 0, 3)
	if got := e.list(inspect.Dead, ""); len(got) != 3 {
		t.Errorf("dead jobs %q, want 3", got)
	}
	got, err := e.inspect.RetryAll(e.ctx, inspect.Selection{Limit: 10, Queue: e.queue})
	must(t, err)
	if got.Retried != 3 {
		t.Errorf("RetryAll = %+v, want 3", got)
	}
	for _, id := range ids {
		job, err := e.inspect.Get(e.ctx, e.queue, id)
		must(t, err)
		if job.Queue != e.queue || job.State != inspect.Waiting {
			t.Errorf("%s", job)
		}
	}
	queues, err := e.inspect.Queues(e.ctx)
	must(t, err)
	if len(queues) != 1 {
		t.Errorf("queues %q, want one", queues)
	}
}
