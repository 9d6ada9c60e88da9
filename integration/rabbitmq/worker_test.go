//go:build realservers

package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

var testTask = core.DeclareTask[string]("test.task")

const patience = time.Minute

// A testEnv is one server with a topology of the test's own, and an executor on it.
type testEnv struct {
	*testing.T
	server   *servers.RabbitMQServer
	topology rabbitexec.Topology
	exec     *rabbitexec.Executor
	log      *slog.Logger // of workers
}

// TestWorker has one server for all of its tests.
func TestWorker(t *testing.T) {
	t.Parallel()
	server, inbox := servers.RabbitMQ(t, servers.RabbitMQOptions{}), redisInbox(t)
	for _, classic := range []bool{false, true} {
		t.Run(kindOfQueue(classic), func(t *testing.T) {
			t.Parallel()
			for _, test := range []struct {
				name string
				fn   func(*testEnv)
			}{
				{"dead jobs have a reason", deadJobsHaveAReason},
				{"attempts count when they begin", attemptsCountWhenTheyBegin},
				{"a running job survives the loss of its connection", runningJobSurvivesTheLossOfItsConnection},
				{"putting back costs no attempt", puttingBackCostsNoAttempt},
				{"a queue that does not exist", queueThatDoesNotExist},
				{"other arguments", otherArguments},
				{"a message without a task", messageWithoutATask},
				{"more than one batch", moreThanOneBatch},
				{"an outage is logged once", outageIsLoggedOnce},
				{"stopping keeps acknowledgements", stoppingKeepsAcknowledgements},
				{"once in spite of two messages", onceInSpiteOfTwoMessages},
			} {
				t.Run(test.name, func(t *testing.T) {
					test.fn(setup(t, server, rabbitexec.Topology{Classic: classic, Inbox: inbox}))
				})
			}
		})
	}
}

func kindOfQueue(classic bool) string {
	if classic {
		return "classic"
	}
	return "quorum"
}

func setup(t *testing.T, server *servers.RabbitMQServer, topology rabbitexec.Topology) *testEnv {
	t.Helper()
	topology.Prefix = fmt.Sprintf("t%d.", time.Now().UnixNano())
	e := &testEnv{T: t, server: server, topology: topology, log: quiet}
	e.must(ensure(t.Context(), t, server.Addr(), topology, "default"))
	exec, err := rabbitexec.New(e.dial(), &rabbitexec.Options{Topology: topology, Logger: quiet})
	e.must(err)
	t.Cleanup(func() { _ = exec.Close() })
	e.exec = exec
	return e
}

func (e *testEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *testEnv) dial() rabbitexec.Dial { return servers.WireTo(e.server.Addr()).Dial }

func (e *testEnv) intent(opts ...core.Option) core.Intent {
	e.Helper()
	in, err := testTask.Intent("x", opts...)
	e.must(err)
	return in
}

func (e *testEnv) send(opts ...core.Option) {
	e.Helper()
	e.must(e.exec.Execute(e.Context(), e.intent(opts...)))
}

// work runs a worker with two slots until the returned function is called.
func (e *testEnv) work(dial rabbitexec.Dial, fn func(ctx context.Context, job worker.Job) error) (stop func() error) {
	e.Helper()
	return e.workWith(rabbitexec.WorkerOptions{Concurrency: 2, DrainTimeout: -1}, dial, fn)
}

func (e *testEnv) workWith(opts rabbitexec.WorkerOptions, dial rabbitexec.Dial, fn func(ctx context.Context, job worker.Job) error) (stop func() error) {
	e.Helper()
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, _ string) error {
		job, _ := worker.JobFrom(ctx)
		return fn(ctx, job)
	}))
	e.must(err)
	opts.Topology, opts.Logger = e.topology, e.log
	w, err := rabbitexec.NewWorker(dial, reg, &opts)
	e.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- w.Run(ctx) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-result
	}
	e.Cleanup(func() { _ = stop() })
	return stop
}

// next waits for a value.
func next[V any](e *testEnv, c <-chan V) V {
	e.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		e.Fatal("nothing came")
		panic("unreachable")
	}
}

// dead waits for the next dead job.
func (e *testEnv) dead() amqp.Delivery {
	e.Helper()
	ch, end, err := servers.WireTo(e.server.Addr()).Channel()
	e.must(err)
	e.Cleanup(end)
	deliveries, err := ch.Consume(rabbitexec.DeadQueue(e.topology.Prefix+"default"), "", true, false, false, false, nil)
	e.must(err)
	return next(e, deliveries)
}

func reason(d amqp.Delivery) (text string, attempt int64) {
	table, _ := d.Headers["Airlock-Dead"].(amqp.Table)
	text, _ = table["reason"].(string)
	attempt, _ = table["attempt"].(int64)
	return text, attempt
}

func deadJobsHaveAReason(e *testEnv) {
	e.work(e.dial(), func(context.Context, worker.Job) error { return errors.New("no luck") })
	e.send(core.MaxAttempts(2), core.Backoff(core.Fixed(time.Millisecond)), core.Header("Color", "red"))
	d := e.dead()
	if text, attempt := reason(d); !strings.Contains(text, "no luck") || attempt != 2 || d.Type != "test.task" || string(d.Body) != `"x"` {
		e.Errorf("dead job %s %q, attempt %d, reason %q", d.Type, d.Body, attempt, text)
	}
}

// Each crash uses up an attempt, and so the job that crashes its workers ends.
func attemptsCountWhenTheyBegin(e *testEnv) {
	e.send(core.MaxAttempts(3))
	for want := 1; want <= 3; want++ {
		began, crash := make(chan int), servers.WireTo(e.server.Addr())
		stop := e.work(crash.Dial, func(ctx context.Context, job worker.Job) error {
			began <- job.Attempt
			<-ctx.Done()
			return ctx.Err()
		})
		if got := next(e, began); got != want {
			e.Fatalf("attempt %d, want %d", got, want)
		}
		// A copy may begin before its original is acknowledged. A crash in between leaves
		// both, which is not what this test is about.
		time.Sleep(300 * time.Millisecond)
		crash.Cut()
		_ = stop() // it cannot record anything
	}
	e.work(e.dial(), func(_ context.Context, job worker.Job) error {
		e.Errorf("attempt %d began", job.Attempt)
		return nil
	})
	if text, _ := reason(e.dead()); !strings.Contains(text, "used up") {
		e.Errorf("reason %q", text)
	}
}

func runningJobSurvivesTheLossOfItsConnection(e *testEnv) {
	line := servers.WireTo(e.server.Addr())
	began, finish := make(chan int, 10), make(chan error)
	e.work(line.Dial, func(_ context.Context, job worker.Job) error {
		began <- job.Attempt
		return <-finish
	})
	e.send(core.Backoff(core.Fixed(time.Millisecond)))
	if got := next(e, began); got != 1 {
		e.Fatalf("attempt %d", got)
	}
	line.Drop()
	e.awaitConsumer()
	finish <- errors.New("again")
	if got := next(e, began); got != 2 {
		e.Errorf("attempt %d after the first, want 2", got)
	}
	finish <- nil
	e.awaitEmpty()
	if len(began) > 0 {
		e.Errorf("the job ran once more, as attempt %d", <-began)
	}
}

// awaitConsumer waits until a worker consumes the queue.
func (e *testEnv) awaitConsumer() {
	e.Helper()
	e.await(func(q amqp.Queue) bool { return q.Consumers == 1 })
	time.Sleep(time.Second) // RabbitMQ counts the consumer of a lost connection for a moment
	e.await(func(q amqp.Queue) bool { return q.Consumers == 1 && q.Messages == 0 })
}

func (e *testEnv) awaitEmpty() {
	e.Helper()
	e.await(func(q amqp.Queue) bool { return q.Messages == 0 })
}

func (e *testEnv) await(ok func(amqp.Queue) bool) {
	e.Helper()
	ch, end, err := servers.WireTo(e.server.Addr()).Channel()
	e.must(err)
	defer end()
	for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		q, err := ch.QueueDeclarePassive(e.topology.Prefix+"default", true, false, false, false, nil)
		e.must(err)
		if ok(q) {
			return
		}
		if time.Now().After(limit) {
			e.Fatalf("the queue does not become as expected: %+v", q)
		}
	}
}

func puttingBackCostsNoAttempt(e *testEnv) {
	e.send(core.MaxAttempts(1))
	for range 3 {
		began := make(chan int)
		stop := e.work(e.dial(), func(ctx context.Context, job worker.Job) error {
			began <- job.Attempt
			<-ctx.Done()
			return ctx.Err()
		})
		if got := next(e, began); got != 1 {
			e.Fatalf("attempt %d, want 1", got)
		}
		e.must(stop())
	}
}

func queueThatDoesNotExist(e *testEnv) {
	for name, opts := range map[string][]core.Option{
		"at once": {core.Queue("missing")},
		"delayed": {core.Queue("missing"), core.Delay(time.Hour)},
	} {
		err := e.exec.Execute(e.Context(), e.intent(), e.intent(opts...), e.intent())
		var failed *core.DispatchError
		if !errors.As(err, &failed) {
			e.Fatalf("%s: %v", name, err)
		}
		for i, want := range []core.State{core.Accepted, core.Rejected, core.Accepted} {
			if got := failed.Outcomes[i]; got.State != want {
				e.Errorf("%s: intent %d is %v with %v, want %v", name, i, got.State, got.Err, want)
			}
		}
	}
	e.must(e.exec.CheckServer(e.Context(), "default"))
	if err := e.exec.CheckServer(e.Context(), "missing"); !errors.Is(err, core.ErrInvalid) {
		e.Errorf("CheckServer: %v, want ErrInvalid", err)
	}
}

func otherArguments(e *testEnv) {
	other := e.topology
	other.Classic = !other.Classic
	var answer *amqp.Error
	if err := rabbitexec.EnsureQueues(e.Context(), e.dial(), &other, "default"); !errors.As(err, &answer) || answer.Code != amqp.PreconditionFailed {
		e.Errorf("EnsureQueues: %v, want 406", err)
	}
	e.must(rabbitexec.EnsureQueues(e.Context(), e.dial(), &e.topology, "default")) // once more
}

func messageWithoutATask(e *testEnv) {
	e.must(servers.WireTo(e.server.Addr()).Put(e.Context(), e.topology.Prefix+"default", amqp.Publishing{Body: []byte("x"), UserId: "guest", Expiration: "600000"}))
	e.work(e.dial(), func(context.Context, worker.Job) error { return nil })
	if text, _ := reason(e.dead()); !strings.Contains(text, "no type") {
		e.Errorf("reason %q", text)
	}
}

func moreThanOneBatch(e *testEnv) {
	intents := make([]core.Intent, 2500)
	for i := range intents {
		intents[i] = e.intent()
	}
	e.must(e.exec.Execute(e.Context(), intents...))
	ran := make(chan string, len(intents))
	e.work(e.dial(), func(_ context.Context, job worker.Job) error { ran <- job.ID; return nil })
	for range intents {
		next(e, ran)
	}
}

// RabbitMQ drops acknowledgements that a quorum queue has not taken when their
// connection ends. Returned messages would run before the last one.
func stoppingKeepsAcknowledgements(e *testEnv) {
	const slots = 1000
	e.topology.Inbox = nil // so that the acknowledgements are sent at once
	intents := make([]core.Intent, slots)
	for i := range intents {
		intents[i] = e.intent()
	}
	e.must(e.exec.Execute(e.Context(), intents...))
	began, end := make(chan string, slots), make(chan struct{})
	stop := e.workWith(rabbitexec.WorkerOptions{Concurrency: slots}, e.dial(), func(_ context.Context, job worker.Job) error {
		began <- job.ID
		<-end
		return nil
	})
	for range intents {
		next(e, began)
	}
	close(end)
	e.must(stop())
	last := e.intent()
	e.must(e.exec.Execute(e.Context(), last))
	e.work(e.dial(), func(_ context.Context, job worker.Job) error { began <- job.ID; return nil })
	again := 0
	for next(e, began) != last.ID {
		again++
	}
	if again > 0 {
		e.Errorf("%d jobs that were done ran again", again)
	}
}
