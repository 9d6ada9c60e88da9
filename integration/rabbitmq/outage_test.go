//go:build realservers

package rabbitmq_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func outageIsLoggedOnce(e *testEnv) {
	line, log := servers.WireTo(e.server.Addr()), &countingLog{Handler: slog.DiscardHandler, seen: map[string]int{}}
	exec, err := rabbitexec.New(func(ctx context.Context) (*amqp.Connection, error) {
		if log.refuse.Load() {
			return nil, errors.New("refused")
		}
		return line.Dial(ctx)
	}, &rabbitexec.Options{Topology: e.topology, Logger: slog.New(log)})
	e.must(err)
	defer exec.Close()
	e.must(exec.Execute(e.Context(), e.intent()))
	log.refuse.Store(true)
	line.Drop()
	for range 3 {
		if err := exec.Execute(e.Context(), e.intent()); err == nil {
			e.Error("a dispatch without a connection succeeds")
		}
	}
	log.refuse.Store(false)
	for range 2 {
		e.must(exec.Execute(e.Context(), e.intent()))
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.seen) != 2 || log.seen["airlock: backend lost, trying again"] != 1 || log.seen["airlock: backend is back"] != 1 {
		e.Errorf("logged %v, want the loss and the return once", log.seen)
	}
}

type countingLog struct {
	slog.Handler
	refuse atomic.Bool

	mu   sync.Mutex
	seen map[string]int // guarded by mu
}

func (*countingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *countingLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[r.Message]++
	return nil
}

func (l *countingLog) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[message]
}

// What is confirmed, jobs that wait for their time too, survives kill -9.
func TestKilledServerKeepsJobs(t *testing.T) {
	t.Parallel()
	e := setup(t, servers.RabbitMQ(t, servers.RabbitMQOptions{}), rabbitexec.Topology{})
	e.send()
	due := time.Now().Add(20 * time.Second)
	e.send(core.At(due))
	time.Sleep(2 * time.Second) // RabbitMQ 3.10 writes the list of its quorum queues to the disk a moment later
	e.must(e.server.Kill())
	if err := e.exec.Execute(e.Context(), e.intent()); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("while the server is down: %v, want ErrUnavailable", err)
	}
	e.must(e.server.Restart())
	ran := make(chan time.Time, 10)
	e.work(e.dial(), func(context.Context, worker.Job) error { ran <- time.Now(); return nil })
	next(e, ran)
	if at := next(e, ran); at.Before(due) {
		t.Errorf("the delayed job ran %v early", due.Sub(at))
	}
	e.send()
	next(e, ran)
}

// A server with an alarm, for memory or for its disk, does not read what is published.
func TestBlockedServer(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]string{
		"memory": "vm_memory_high_watermark.absolute = 1MB",
		"disk":   "disk_free_limit.absolute = 1000000GB",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.RabbitMQ(t, servers.RabbitMQOptions{Settings: []string{setting}})
			e := setup(t, server, rabbitexec.Topology{})
			wire := servers.WireTo(server.Addr())
			conn, err := wire.Dial(t.Context())
			e.must(err)
			defer wire.Cut() // a blocked server does not answer to Close
			alarm := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
			ch, err := conn.Channel()
			e.must(err)
			e.must(ch.PublishWithContext(t.Context(), "", "nowhere", false, false, amqp.Publishing{}))
			if got := next(e, alarm); !strings.Contains(got.Reason, name) {
				t.Fatalf("the alarm is for %s", got.Reason)
			}
			blocked(e)
		})
	}
}

func blocked(e *testEnv) {
	ctx, cancel := context.WithTimeout(e.Context(), time.Second)
	defer cancel()
	intents := make([]core.Intent, 50)
	for i := range intents {
		in, err := testTask.Intent(strings.Repeat("x", 1<<20)) // more than the connection's buffers hold
		e.must(err)
		intents[i] = in
	}
	began := time.Now()
	err := e.exec.Execute(ctx, intents...)
	if took := time.Since(began); took > patience {
		e.Errorf("the call took %v", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Fatalf("%v, want the context's error", err)
	}
	var failed *core.DispatchError
	if !errors.As(err, &failed) {
		e.Fatal(err)
	}
	for i, o := range failed.Outcomes {
		if o.State != core.Unknown && o.State != core.NotSent {
			e.Errorf("intent %d is %v", i, o.State)
		}
	}
	if last := failed.Outcomes[len(intents)-1]; last.State != core.NotSent {
		e.Errorf("the last intent, which was not written, is %v", last.State)
	}
	ctx, cancel = context.WithTimeout(e.Context(), time.Second) // the connection's writer is busy
	defer cancel()
	if err := e.exec.Execute(ctx, e.intent()); !errors.Is(err, context.DeadlineExceeded) {
		e.Errorf("a second call: %v, want the context's error", err)
	}
}

// RabbitMQ takes a job away whose run is longer than consumer_timeout. The worker that
// runs it gets it back, and does not run it again.
func TestJobLongerThanTheConsumerTimeout(t *testing.T) {
	t.Parallel()
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{Settings: []string{"consumer_timeout = 3000"}})
	for _, classic := range []bool{false, true} {
		t.Run(kindOfQueue(classic), func(t *testing.T) {
			t.Parallel()
			longerThanTheConsumerTimeout(setup(t, server, rabbitexec.Topology{Classic: classic}))
		})
	}
}

func longerThanTheConsumerTimeout(e *testEnv) {
	log := &countingLog{Handler: slog.DiscardHandler, seen: map[string]int{}}
	e.log = slog.New(log)
	began, end := make(chan int, 10), make(chan struct{})
	stop := e.work(e.dial(), func(_ context.Context, job worker.Job) error {
		began <- job.Attempt
		<-end
		return nil
	})
	e.send()
	next(e, began)
	time.Sleep(10 * time.Second) // three times as long as RabbitMQ waits
	close(end)
	e.must(stop())
	if log.count("airlock: rabbitmq: queue cannot be consumed, will try again") == 0 {
		e.Error("RabbitMQ did not take the job away")
	}
	e.work(e.dial(), func(_ context.Context, job worker.Job) error {
		began <- -job.Attempt
		return nil
	})
	e.send()
	if got := next(e, began); got != -1 {
		e.Errorf("the job ran again, attempt %d", got)
	}
}
