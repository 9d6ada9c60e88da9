//go:build realservers

package examples

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	asynqstart "github.com/goairlock/airlock/integration/examples/start/asynq"
	outboxstart "github.com/goairlock/airlock/integration/examples/start/outbox"
	rabbitstart "github.com/goairlock/airlock/integration/examples/start/rabbitmq"
	riverstart "github.com/goairlock/airlock/integration/examples/start/river"
	"github.com/goairlock/airlock/integration/servers"
)

func TestStartRiver(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), servers.Postgres(t, servers.PostgresOptions{}).URL())
	must(t, err)
	defer pool.Close()
	must(t, riverstart.Migrate(t.Context(), pool))
	queue, err := riverstart.Connect(pool)
	must(t, err)
	expectRun(t, "A-1", func(ctx context.Context) error { return riverstart.Produce(ctx, pool, queue, "A-1") },
		func(ctx context.Context, send func(context.Context, string) error) error {
			return riverstart.Work(ctx, pool, send)
		})
}

// A relay sends what a process that had no queue has committed.
func TestStartOutbox(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("pgx", servers.Postgres(t, servers.PostgresOptions{}).URL())
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "CREATE TABLE orders (id text PRIMARY KEY, paid bool); INSERT INTO orders VALUES ('A-1', false)")
	must(t, err)
	rdb := asynqstart.Connect(miniredis.RunT(t).Addr())
	defer rdb.Close()
	queue, err := asynqexec.New(rdb, nil)
	must(t, err)
	var away atomic.Bool
	exec := adapter.Each(queue.Capabilities(), func(ctx context.Context, in core.Intent) error {
		if away.Load() {
			return core.ErrUnavailable
		}
		return queue.Execute(ctx, in)
	})
	box, err := outboxstart.Open(t.Context(), db, exec)
	must(t, err)
	expectRun(t, "A-1", func(ctx context.Context) error {
		away.Store(true)
		if err := outboxstart.Produce(ctx, db, box, "A-1"); err != nil {
			return err
		}
		away.Store(false)
		go func() { _ = outboxstart.Relay(ctx, db, box, exec) }()
		return nil
	}, func(ctx context.Context, send func(context.Context, string) error) error {
		return asynqstart.Work(ctx, rdb, send)
	})
	must(t, box.Close(t.Context()))
}

func TestStartRabbitMQ(t *testing.T) {
	t.Parallel()
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(server.URL()) }
	queue, err := rabbitstart.Connect(t.Context(), dial)
	must(t, err)
	defer queue.Close()
	expectRun(t, "A-1", func(ctx context.Context) error { return rabbitstart.Produce(ctx, queue, "A-1") },
		func(ctx context.Context, send func(context.Context, string) error) error {
			return rabbitstart.Work(ctx, dial, send)
		})
}
