package examples

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	asynqstart "github.com/goairlock/airlock/integration/examples/start/asynq"
	celerystart "github.com/goairlock/airlock/integration/examples/start/celery"
	natsstart "github.com/goairlock/airlock/integration/examples/start/nats"
	workstart "github.com/goairlock/airlock/integration/examples/start/work"
	"github.com/goairlock/airlock/integration/servers"
)

const patience = 2 * time.Minute // on a busy machine

// expectRun starts a worker and waits until it runs the job that produce sends.
func expectRun[A comparable](t *testing.T, want A, produce func(context.Context) error, work func(context.Context, func(context.Context, A) error) error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	must(t, produce(ctx))
	var got A
	must(t, work(ctx, func(_ context.Context, args A) error {
		got = args
		stop()
		return nil
	}))
	if got != want {
		t.Errorf("the handler got %v, want %v", got, want)
	}
}

func TestStartAsynq(t *testing.T) {
	t.Parallel()
	rdb := asynqstart.Connect(miniredis.RunT(t).Addr())
	defer rdb.Close()
	expectRun(t, "A-1", func(ctx context.Context) error { return asynqstart.Produce(ctx, rdb, "A-1") },
		func(ctx context.Context, send func(context.Context, string) error) error {
			return asynqstart.Work(ctx, rdb, send)
		})
}

func TestStartWork(t *testing.T) {
	t.Parallel()
	pool := workstart.Connect(miniredis.RunT(t).Addr())
	defer pool.Close()
	expectRun(t, "A-1", func(ctx context.Context) error { return workstart.Produce(ctx, pool, "A-1") },
		func(ctx context.Context, send func(context.Context, string) error) error {
			return workstart.Work(ctx, pool, send)
		})
}

func TestStartCelery(t *testing.T) {
	t.Parallel()
	rdb := celerystart.Connect(miniredis.RunT(t).Addr())
	defer rdb.Close()
	expectRun(t, celerystart.Receipt{Order: "A-1"}, func(ctx context.Context) error { return celerystart.Produce(ctx, rdb, "A-1") },
		func(ctx context.Context, send func(context.Context, celerystart.Receipt) error) error {
			return celerystart.Work(ctx, rdb, send)
		})
}

func TestStartNATS(t *testing.T) {
	t.Parallel()
	js, err := natsstart.Connect(servers.NATS(t, servers.NATSOptions{}).URL())
	must(t, err)
	defer js.Conn().Close()
	expectRun(t, "A-1", func(ctx context.Context) error { return natsstart.Produce(ctx, js, "A-1") },
		func(ctx context.Context, send func(context.Context, string) error) error {
			return natsstart.Work(ctx, js, send)
		})
}
