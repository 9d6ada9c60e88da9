package asynq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/conformance"
	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

// Not parallel: the suite looks for goroutines that are left behind.
func TestConformance(t *testing.T) {
	m := miniredis.RunT(t)
	conformance.Run(t, harness("asynq-miniredis", func(t trial.Cleaner) connect { return patient(t, m.Addr()) }, asynqexec.Options{}))
}

func TestConformanceWithLanes(t *testing.T) {
	m := miniredis.RunT(t)
	opts := asynqexec.Options{Lanes: true, IDWindow: -1}
	conformance.Run(t, harness("asynq-miniredis-lanes", func(t trial.Cleaner) connect { return patient(t, m.Addr()) }, opts))
}

// patient connects as plain does, for a Redis that is slow: an embedded one on a busy machine.
func patient(t trial.Cleaner, addr string) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: trial.Patience, WriteTimeout: trial.Patience,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

// harness tests the executor with a server of asynq's on one Redis.
func harness(name string, open func(trial.Cleaner) connect, opts asynqexec.Options) conformance.Harness {
	space := func(t trial.Cleaner, namespace string) connect { return namespaced(open(t), namespace+":") }
	return conformance.Harness{
		Scale: 10, Settle: 300 * time.Millisecond, // Scale bounds only what a green run does not use up, but for Settle
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/asynq", Backend: "redis",
			Settings: map[string]string{"library": "asynq v0.26.0"},
		},
		Golden: goldenMessages(space),
		Lease:  30 * time.Second,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			c := space(t, s.Namespace)
			return system(t, ways{c, c, c}, s, opts)
		},
		Native: &conformance.Native{
			Produce: func(ctx context.Context, namespace, task string, payload []byte) error {
				var clients cleanups
				defer clients.run()
				client := asynq.NewClientFromRedisClient(space(&clients, namespace)())
				_, err := client.EnqueueContext(ctx, asynq.NewTask(task, payload))
				return err
			},
			Consume: func(ctx context.Context, namespace string) (string, []byte, error) {
				var clients cleanups
				defer clients.run()
				return consume(ctx, space(&clients, namespace))
			},
		},
	}
}

// cleanups is a Cleaner for a function.
type cleanups []func()

func (c *cleanups) Cleanup(f func()) { *c = append(*c, f) }

func (c *cleanups) run() {
	for _, f := range *c {
		f()
	}
}

// ways lead to one Redis: the executor's, the worker's and that of those who look on.
type ways struct{ executor, worker, direct connect }

func system(t conformance.T, w ways, s conformance.Setup, opts asynqexec.Options) conformance.System {
	rdb, working, wire := w.direct(), w.worker(), newCable()
	working.AddHook(wire)
	exec, err := asynqexec.New(w.executor(), &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	cfg := config(s.Slots)
	cfg.Queues = map[string]int{}
	for _, q := range append(s.Queues, "")[:max(len(s.Queues), 1)] {
		if q == "" {
			q = "default"
		}
		cfg.Queues[q] = 1
	}
	if opts.Lanes {
		cfg.Queues = asynqexec.Lanes(cfg.Queues)
	}
	if err := asynqexec.Configure(&cfg); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	log := &shutdownLog{}
	cfg.Logger, cfg.LogLevel = log, asynq.WarnLevel
	srv := asynq.NewServerFromRedisClient(working, cfg)
	start := sync.OnceValue(func() error { return srv.Start(asynqexec.Handler(s.Registry)) })
	stop := sync.OnceFunc(func() {
		wire.letGo()
		if start() == nil {
			srv.Shutdown()
		}
	})
	t.Cleanup(stop)
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: cfg.Concurrency,
		Stop: func(ctx context.Context) error {
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			select {
			case <-stopped:
				return log.cutOff()
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Kill: func() error {
			wire.cut()
			return expireLeases(t.Context(), rdb, cfg.Queues)
		},
		Stored: func(ctx context.Context) ([]conformance.Record, error) {
			return stored(asynq.NewInspectorFromRedisClient(rdb), cfg.Queues)
		},
		Corrupt: func(ctx context.Context, task string) error {
			bad := asynq.NewTaskWithHeaders(task, []byte("{"), map[string]string{"Airlock-Envelope": "{"})
			_, err := asynq.NewClientFromRedisClient(rdb).EnqueueContext(ctx, bad)
			return err
		},
	}
	if s.Paused {
		sys.Start = func(context.Context) error { return start() }
	} else if err := start(); err != nil {
		t.Fatalf("Start: %v", err)
	}
	return sys
}

// shutdownLog notes that a server has given up waiting for a job: Shutdown itself does not say so.
type shutdownLog struct{ left atomic.Bool }

func (l *shutdownLog) Warn(args ...any) {
	if strings.HasPrefix(fmt.Sprint(args...), "Quitting worker") {
		l.left.Store(true)
	}
}

func (*shutdownLog) Debug(...any) {}
func (*shutdownLog) Info(...any)  {}
func (*shutdownLog) Error(...any) {}
func (*shutdownLog) Fatal(...any) {}
func (l *shutdownLog) cutOff() error {
	if l.left.Load() {
		return errors.New("a running job was left, and waits again")
	}
	return nil
}

func config(slots int) asynq.Config {
	if slots == 0 {
		slots = 8
	}
	return asynq.Config{
		Concurrency: slots, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second,
		// An embedded Redis runs some thousand scripts a second, for all checks together.
		TaskCheckInterval: 50 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
		// For jobs without a backoff, and those whose worker has died. asynq's own begins with 15 to 45 seconds.
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
	}
}

// consume takes one job with a server that knows nothing of airlock.
func consume(ctx context.Context, c connect) (task string, payload []byte, err error) {
	got := make(chan *asynq.Task, 1)
	srv := asynq.NewServerFromRedisClient(c(), config(1))
	err = srv.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		select {
		case got <- t:
			return nil
		default:
			return trial.ErrDeclined // it was to be one
		}
	}))
	if err != nil {
		return "", nil, err
	}
	defer srv.Shutdown()
	select {
	case t := <-got:
		return t.Type(), t.Payload(), nil
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

// stored is what asynq's Inspector sees.
func stored(i *asynq.Inspector, queues map[string]int) ([]conformance.Record, error) {
	var records []conformance.Record
	for queue := range queues {
		for _, l := range []struct {
			list  func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)
			state conformance.RecordState
		}{
			{i.ListPendingTasks, conformance.Waiting}, {i.ListScheduledTasks, conformance.Waiting},
			{i.ListRetryTasks, conformance.Waiting}, {i.ListActiveTasks, conformance.Running},
			{i.ListCompletedTasks, conformance.Finished}, {i.ListArchivedTasks, conformance.Buried},
		} {
			tasks, err := l.list(queue, asynq.PageSize(100_000))
			if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
				return nil, err
			}
			for _, t := range tasks {
				records = append(records, conformance.Record{ID: t.ID, Task: t.Type, State: l.state})
			}
		}
	}
	return records, nil
}
