package asynq_test

import (
	"context"
	"errors"
	"log/slog"
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

// Not parallel, because the suite looks for leaked goroutines.
func TestConformance(t *testing.T) {
	m := miniredis.RunT(t)
	conformance.Run(t, harness("asynq-miniredis", func(t trial.Cleaner) connect { return patient(t, m.Addr()) }, asynqexec.Options{}))
}

func TestConformanceWithLanes(t *testing.T) {
	m := miniredis.RunT(t)
	opts := asynqexec.Options{Lanes: true, IDWindow: -1}
	conformance.Run(t, harness("asynq-miniredis-lanes", func(t trial.Cleaner) connect { return patient(t, m.Addr()) }, opts))
}

// patient is plain with longer time limits, for an embedded Redis on a busy machine.
func patient(t trial.Cleaner, addr string) connect {
	return func() redis.UniversalClient {
		rdb := redis.NewClient(&redis.Options{
			Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, ReadTimeout: trial.Patience, WriteTimeout: trial.Patience,
		})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
}

// harness tests the executor with its worker on one Redis.
func harness(name string, open func(trial.Cleaner) connect, opts asynqexec.Options) conformance.Harness {
	space := func(t trial.Cleaner, namespace string) connect { return namespaced(open(t), namespace+":") }
	return conformance.Harness{
		Scale: 10, Settle: 300 * time.Millisecond, // Scale bounds only what a green run does not use up, but for Settle
		Subject: conformance.Subject{
			Name: name, Module: "github.com/goairlock/airlock/executors/asynq", Backend: "redis",
			Settings: map[string]string{"library": "asynq v0.26.0"},
		},
		Golden:   goldenMessages(space),
		Lease:    30 * time.Second,
		ParksFor: 2 * time.Second,
		Inspects: true,
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

// ways lead to one Redis: the executor's, the worker's and that of the suite.
type ways struct{ executor, worker, direct connect }

func system(t conformance.T, w ways, s conformance.Setup, opts asynqexec.Options) conformance.System {
	rdb, working, wire, frozen := w.direct(), w.worker(), newCable(), newGate()
	working.AddHook(wire)
	working.AddHook(frozen)
	opts.QueueNames = s.NativeNames
	if opts.IDWindow == 0 {
		opts.IDWindow = s.IDWindow
	}
	exec, err := asynqexec.New(w.executor(), &opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	view, err := asynqexec.NewInspector(rdb, nil)
	if err != nil {
		t.Fatalf("NewInspector: %v", err)
	}
	weights, queues := map[string]int{}, map[string]int{} // of queues by portable and by native name
	for _, q := range append(s.QueueNames("default"), "default")[:max(1, len(s.Queues))] {
		weights[q] = 1
		if native, ok := s.NativeNames[q]; ok {
			q = native
		}
		queues[q] = 1
	}
	log := &putBackLog{Handler: s.Logger.Handler()}
	base := config(s.Slots)
	work, err := asynqexec.NewWorker(working, s.Registry, &asynqexec.WorkerOptions{
		Weights: weights, QueueNames: s.NativeNames, Lanes: opts.Lanes, Concurrency: base.Concurrency, DrainTimeout: 8 * time.Second, ParkFor: time.Second, Logger: slog.New(log),
		Config: asynq.Config{
			JanitorInterval:   time.Second, // removes what is done, after its retention
			TaskCheckInterval: base.TaskCheckInterval, DelayedTaskCheckInterval: base.DelayedTaskCheckInterval, RetryDelayFunc: base.RetryDelayFunc,
		},
	})
	if err != nil {
		t.Fatalf("NewWorker: %v", err)
	}
	if opts.Lanes {
		queues = asynqexec.Lanes(queues)
	}
	sys := conformance.System{
		Exec: exec.Execute, Caps: exec.Capabilities(), Slots: base.Concurrency, Inspector: view,
		NativeNames: true,
		Freeze: func() (func() error, error) {
			frozen.freeze()
			over := time.Now().Add(ownLease)
			return func() error {
				time.Sleep(time.Until(over)) // the worker goes by its own clock too
				frozen.thaw()
				return nil
			}, expireLeases(t.Context(), rdb, queues)
		},
		Kill: func() error {
			wire.cut()
			return expireLeases(t.Context(), rdb, queues)
		},
		Stored: func(ctx context.Context) ([]conformance.Record, error) {
			return stored(asynq.NewInspectorFromRedisClient(rdb), queues)
		},
		Corrupt: func(ctx context.Context, task string) error {
			bad := asynq.NewTaskWithHeaders(task, []byte("{"), map[string]string{"Airlock-Envelope": "{"})
			_, err := asynq.NewClientFromRedisClient(rdb).EnqueueContext(ctx, bad)
			return err
		},
		Later: func(ctx context.Context, task string) error {
			later := asynq.NewTaskWithHeaders(task, []byte("{}"), map[string]string{"Airlock-Envelope": `{"v":99,"max_attempts":1}`})
			_, err := asynq.NewClientFromRedisClient(rdb).EnqueueContext(ctx, later, asynq.MaxRetry(1))
			return err
		},
	}
	conformance.RunWorker(t, s, &sys, func(ctx context.Context) error { return errors.Join(work.Run(ctx), log.putBack()) })
	letGo, stop := sync.OnceFunc(func() { wire.letGo(); frozen.thaw() }), sys.Stop
	sys.Stop = func(ctx context.Context) error { letGo(); return stop(ctx) }
	t.Cleanup(letGo) // before the worker is stopped
	return sys
}

// ownLease is a little longer than asynq's lease, which cannot be set.
const ownLease = 31 * time.Second

// putBackLog notes that a worker has put a running job back: Run returns no error for a job whose handler obeyed its context.
// One that was fetched as the worker stopped is put back too, at once: it was not running.
type putBackLog struct {
	slog.Handler
	seen atomic.Bool
}

func (*putBackLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *putBackLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "airlock: job put back" {
		r.Attrs(func(a slog.Attr) bool {
			ran := a.Key == "took" && a.Value.Duration() > time.Second // it had run for the whole drain
			l.seen.CompareAndSwap(false, ran)
			return !ran
		})
	}
	return l.Handler.Handle(ctx, r)
}

func (l *putBackLog) putBack() error {
	if l.seen.Load() {
		return errors.New("a running job was put back")
	}
	return nil
}

func config(slots int) asynq.Config {
	if slots == 0 {
		slots = 8
	}
	return asynq.Config{
		Concurrency: slots, LogLevel: asynq.FatalLevel,
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
