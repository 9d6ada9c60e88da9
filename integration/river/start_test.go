//go:build realservers

package river_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/conformance/faultproxy"
	riverexec "github.com/goairlock/airlock/executors/river"
	"github.com/goairlock/airlock/worker"
)

// breakingDriver is a driver one of whose calls fails once.
type breakingDriver struct {
	riverdriver.Driver[pgx.Tx]
	call  string
	left  *atomic.Int64 // calls before the one that fails
	cause error
}

func (d breakingDriver) fails(call string) error {
	if call == d.call && d.left.Add(-1) == 0 {
		return d.cause
	}
	return nil
}

func (d breakingDriver) GetExecutor() riverdriver.Executor {
	return breakingExecutor{d.Driver.GetExecutor(), d}
}

func (d breakingDriver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return breakingListener{d.Driver.GetListener(params), d}
}

type breakingExecutor struct {
	riverdriver.Executor
	driver breakingDriver
}

func (e breakingExecutor) Ping(ctx context.Context) error {
	if err := e.driver.fails("ping"); err != nil {
		return err
	}
	return e.Executor.Ping(ctx)
}

func (e breakingExecutor) QueueCreateOrSetUpdatedAt(ctx context.Context, params *riverdriver.QueueCreateOrSetUpdatedAtParams) (*rivertype.Queue, error) {
	if err := e.driver.fails("queue"); err != nil {
		return nil, err
	}
	return e.Executor.QueueCreateOrSetUpdatedAt(ctx, params)
}

type breakingListener struct {
	riverdriver.Listener
	driver breakingDriver
}

func (l breakingListener) Connect(ctx context.Context) error {
	if err := l.driver.fails("connect"); err != nil {
		return err
	}
	return l.Listener.Connect(ctx)
}

func (l breakingListener) Listen(ctx context.Context, topic string) error {
	if err := l.driver.fails("listen"); err != nil {
		return err
	}
	return l.Listener.Listen(ctx, topic)
}

// Delayed jobs need a leader, so the elector must start too.
func TestAConnectionThatBreaksDuringAStartDelaysIt(t *testing.T) {
	for _, c := range []struct {
		call string
		nth  int64
	}{{"ping", 1}, {"connect", 1}, {"connect", 2}, {"listen", 1}, {"listen", 2}, {"listen", 3}, {"queue", 1}} {
		for cause, err := range map[string]error{
			"closed": fmt.Errorf("write failed: %w", pgconn.ErrConnClosed), "canceled": fmt.Errorf("dial: %w", context.Canceled),
		} {
			t.Run(fmt.Sprint(c.call, c.nth, cause), func(t *testing.T) {
				t.Parallel()
				w := setup(t, openPostgres(t), nil)
				left := new(atomic.Int64)
				left.Store(c.nth)
				w.store.driver = breakingDriver{w.store.driver, c.call, left, err}
				w.run(w.registry(worker.Handle(raw, w.note)), nil)
				w.send(w.intent("1"))
				w.await(1)
				w.until("a leader is elected", func() bool {
					n, err := w.store.number(t.Context(), "SELECT count(*) FROM river_leader")
					must(t, err)
					return n == 1
				})
				if c.nth == 1 && left.Load() > 0 {
					t.Errorf("%s was not called", c.call)
				}
			})
		}
	}
}

// CONFORMANCE_EFFORT multiplies the starts.
func TestAWorkerStartsWhileConnectionsBreak(t *testing.T) {
	t.Parallel()
	w := setup(t, openPostgres(t), nil)
	effort, _ := strconv.Atoi(os.Getenv("CONFORMANCE_EFFORT"))
	for i := range 5 * max(effort, 1) {
		proxy, err := faultproxy.New(w.store.addr)
		must(t, err)
		log, lines := newJournal()
		one, err := riverexec.NewWorker(w.store.at(t, proxy.Addr()), w.registry(worker.Handle(raw, w.note)),
			&riverexec.WorkerOptions{Logger: log, DrainTimeout: -1, Config: quickConfig()})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- one.Run(ctx) }()
		for range 3 {
			time.Sleep(rand.N(30 * time.Millisecond))
			proxy.Reset()
		}
		w.send(w.intent("1"))
		for end := time.Now().Add(patience); len(w.await(0)) <= i; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("start %d: no job runs:\n%s", i, lines)
			}
		}
		cancel()
		must(t, <-ended)
		proxy.Close()
	}
}
