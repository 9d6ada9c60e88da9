//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// workAMQP runs a Go worker on RabbitMQ until the test ends.
func workAMQP(t *testing.T, dial celeryexec.Dial, opts celeryexec.WorkerOptions, fn func(ctx context.Context, job worker.Job, args json.RawMessage) error) (stop func()) {
	t.Helper()
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, args json.RawMessage) error {
		job, _ := worker.JobFrom(ctx)
		return fn(ctx, job, args)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	w, err := celeryexec.NewAMQPWorker(dial, reg, &opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waiting returns how many messages of a queue nobody has.
func waiting(t *testing.T, addr, queue string) int {
	t.Helper()
	ch, end, err := servers.WireTo(addr).Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

// deadOf returns the dead jobs of a queue.
func deadOf(t *testing.T, addr, queue string, n int) (dead []amqp.Delivery, reasons string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range n {
		m, err := takeAMQP(ctx, addr, celeryexec.DeadQueue(queue))
		if err != nil {
			t.Fatalf("%d of %d dead jobs: %v", len(dead), n, err)
		}
		why, _ := m.Headers["airlock_dead"].(amqp.Table)
		reason, _ := why["reason"].(string)
		if reason == "" {
			t.Errorf("a dead job without a reason: %v", m.Headers)
		}
		dead, reasons = append(dead, m), reasons+" "+reason
	}
	return dead, reasons
}

// A Go worker runs what Celery's own producer sends to RabbitMQ.
func goRunsTheJobsOfPythonProducers(t *testing.T, server *servers.RabbitMQServer) {
	due := time.Now().Add(3 * time.Second).UTC().Truncate(time.Microsecond)
	send := func(task map[string]any) map[string]any {
		task["name"], task["queue"] = "test.task", "go"
		return task
	}
	produce(t, []string{server.URL() + "/"},
		send(map[string]any{"args": []any{17}, "task_id": "one", "headers": map[string]any{"Color": "red"}}),
		send(map[string]any{"args": []any{17, "x"}, "task_id": "two"}),
		send(map[string]any{"kwargs": map[string]any{"order": 17}, "task_id": "keywords", "expires": 3600}),
		send(map[string]any{"args": []any{"later"}, "task_id": "later", "eta": due.Format("2006-01-02T15:04:05.000000Z")}),
		send(map[string]any{"args": []any{"again"}, "task_id": "again"}),
		send(map[string]any{"args": []any{1}, "kwargs": map[string]any{"b": 2}, "task_id": "both"}),
		send(map[string]any{"args": []any{1}, "task_id": "pickled", "serializer": "pickle"}),
	)
	type ran struct {
		id, args, color string
		attempt         int
		at              time.Time
	}
	runs := make(chan ran, 20)
	workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{"go"}, Concurrency: 1, Backoff: core.Fixed(100 * time.Millisecond)},
		func(_ context.Context, job worker.Job, args json.RawMessage) error {
			if _, ok := job.Native.(*amqp.Delivery); !ok {
				t.Errorf("the native job is %T", job.Native)
			}
			runs <- ran{job.ID, string(args), job.Headers.Get("Color"), job.Attempt, time.Now()}
			if job.ID == "again" && job.Attempt < 3 {
				return errors.New("not yet")
			}
			return nil
		})
	got := map[string][]ran{}
	for range 7 {
		r := receive(t, runs)
		got[r.id] = append(got[r.id], r)
	}
	for id, want := range map[string]string{"one": "17", "two": `[17, "x"]`, "keywords": `{"order": 17}`, "later": `"later"`, "again": `"again"`} {
		attempts := 1
		if id == "again" {
			attempts = 3
		}
		if len(got[id]) != attempts || got[id][attempts-1].attempt != attempts || got[id][0].args != want {
			t.Errorf("%s: %v, want %s in %d attempts", id, got[id], want, attempts)
		}
	}
	if t.Failed() {
		return
	}
	if got["one"][0].color != "red" || got["later"][0].at.Before(due) {
		t.Errorf("header %q; the job of %v ran at %v", got["one"][0].color, due, got["later"][0].at)
	}
	_, reasons := deadOf(t, server.Addr(), "go", 2)
	if !strings.Contains(reasons, "positional and keyword") || !strings.Contains(reasons, "content-type") {
		t.Errorf("dead jobs: %s", reasons)
	}
}

// Jobs that wait for their time leave room for others, as in Celery.
func jobsThatWaitBlockNobody(t *testing.T, server *servers.RabbitMQServer) {
	if err := declareQueues(server.Addr(), false, "waits"); err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var intents []core.Intent
	for range 50 {
		intents = append(intents, job(t, `"later"`, core.Queue("waits"), core.Delay(10*time.Minute)))
	}
	if err := exec.Execute(t.Context(), append(intents, job(t, `"now"`, core.Queue("waits")))...); err != nil {
		t.Fatal(err)
	}
	runs := make(chan string, 100)
	stop := workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{"waits"}, Concurrency: 2},
		func(_ context.Context, job worker.Job, args json.RawMessage) error { runs <- string(args); return nil })
	if got := receive(t, runs); got != `"now"` {
		t.Errorf("%s ran first", got)
	}
	stop() // puts back what waits, without an attempt
	if n := waiting(t, server.Addr(), "waits"); n != len(intents) {
		t.Errorf("%d jobs are in the queue, want %d", n, len(intents))
	}
	seen := map[string]bool{}
	for range intents {
		m, err := takeAMQP(t.Context(), server.Addr(), "waits")
		if err != nil {
			t.Fatal(err)
		}
		if seen[m.CorrelationId] || m.Headers["retries"] != int64(0) || m.Headers["eta"] == nil {
			t.Errorf("a job came back as %v", m.Headers)
		}
		seen[m.CorrelationId] = true
	}
}

// A job whose connection is lost runs on, and once.
func jobsRunOnWhenTheConnectionIsLost(t *testing.T, server *servers.RabbitMQServer) {
	if err := declareQueues(server.Addr(), false, "cut"); err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	began, end := make(chan string, 100), make(chan struct{})
	var runs atomic.Int32
	line, log := servers.WireTo(server.Addr()), &lines{seen: map[string]int{}}
	stop := workAMQP(t, line.Dial, celeryexec.WorkerOptions{Queues: []string{"cut"}, Concurrency: 3, Logger: slog.New(log)},
		func(_ context.Context, job worker.Job, _ json.RawMessage) error {
			runs.Add(1)
			began <- job.ID
			<-end
			return nil
		})
	// Two are the same message, as when a producer publishes again: two jobs.
	twin := amqpMessage("test.task", []byte(`1`), nil)
	for _, err := range []error{
		exec.Execute(t.Context(), job(t, `1`, core.Queue("cut"))),
		servers.WireTo(server.Addr()).Put(t.Context(), "cut", twin), servers.WireTo(server.Addr()).Put(t.Context(), "cut", twin),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		receive(t, began)
	}
	for n := range 2 {
		line.Drop()
		await(t, "the worker consumes again", func() bool {
			return log.count("airlock: backend is back") == n+1 && waiting(t, server.Addr(), "cut") == 0 && consumers(t, server.Addr(), "cut") == 1
		})
	}
	close(end)
	if err := exec.Execute(t.Context(), job(t, `1`, core.Queue("cut"))); err != nil {
		t.Fatal(err)
	}
	receive(t, began)
	stop()
	if n := runs.Load(); n != 4 {
		t.Errorf("%d runs of 4 jobs", n)
	}
	if n := waiting(t, server.Addr(), "cut"); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
	if lost, back := log.count("airlock: backend lost, trying again"), log.count("airlock: backend is back"); lost != 2 || back != 2 {
		t.Errorf("logged %d losses and %d returns, want 2 of each", lost, back)
	}
}

func consumers(t *testing.T, addr, queue string) int {
	t.Helper()
	ch, end, err := servers.WireTo(addr).Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Consumers
}

// lines counts the lines of a log.
type lines struct {
	slog.Handler

	mu   sync.Mutex
	seen map[string]int // guarded by mu
}

func (*lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[r.Message]++
	return nil
}

func (l *lines) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[message]
}

// A queue that does not exist is tried again, which is logged once.
func workerWaitsForItsQueue(t *testing.T, server *servers.RabbitMQServer) {
	log := &lines{seen: map[string]int{}}
	runs := make(chan string, 10)
	workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{"soon"}, Logger: slog.New(log)},
		func(_ context.Context, job worker.Job, _ json.RawMessage) error { runs <- job.ID; return nil })
	await(t, "the worker looks for its queue", func() bool {
		return log.count("airlock: celery: rabbitmq: queue cannot be consumed, will try again") == 1
	})
	time.Sleep(500 * time.Millisecond) // it looks again
	produce(t, []string{server.URL() + "/"}, map[string]any{"name": "test.task", "args": []any{1}, "task_id": "first", "queue": "soon"})
	if id := receive(t, runs); id != "first" {
		t.Errorf("%s ran", id)
	}
	for message, want := range map[string]int{"cannot be consumed, will try again": 1, "can be consumed again": 1} {
		if n := log.count("airlock: celery: rabbitmq: queue " + message); n != want {
			t.Errorf("%q was logged %d times", message, n)
		}
	}
}

// Messages of anybody stop nothing, and none of them is lost: each is with the dead
// jobs. See TestHostileMessages.
func hostileMessagesOnRabbitMQ(t *testing.T, server *servers.RabbitMQServer) {
	const queue = "hostile"
	if err := declareQueues(server.Addr(), false, queue); err != nil {
		t.Fatal(err)
	}
	with := func(headers amqp.Table) amqp.Publishing { return amqpMessage("test.task", []byte("1"), headers) }
	body := func(b string) amqp.Publishing {
		p := with(nil)
		p.Body = []byte(b)
		return p
	}
	pickle := with(nil)
	pickle.ContentType = "application/x-python-serialize"
	hostile := []amqp.Publishing{
		{}, {Body: []byte("{")}, {Headers: amqp.Table{"task": "test.task"}}, {ContentType: "application/json", Headers: amqp.Table{"task": "test.task"}},
		body(""), body("null"), body("\xff\x00"), body(strings.Repeat("[", 3000) + strings.Repeat("]", 3000)), body(`[1,{},{}]`), body(`[[1],{},{},{}]`),
		body(`[[1],{},{"chord":{}}]`), pickle,
		with(amqp.Table{"task": int32(5)}), with(amqp.Table{"task": ""}), with(amqp.Table{"task": amqp.Table{"a": []any{int32(1)}}}),
		with(amqp.Table{"retries": int32(-1)}), with(amqp.Table{"retries": 1e300}), with(amqp.Table{"retries": "x"}), with(amqp.Table{"retries": int32(99)}),
		with(amqp.Table{"eta": "tomorrow"}), with(amqp.Table{"eta": int32(17)}), with(amqp.Table{"eta": "2026-13-45T00:00:00"}),
		with(amqp.Table{"expires": []any{int32(1)}}), with(amqp.Table{"timelimit": "x"}), with(amqp.Table{"timelimit": []any{"x"}}),
		with(amqp.Table{"compression": "application/x-bz2"}),
	}
	ids := map[string]bool{}
	for i := range hostile {
		hostile[i].MessageId = fmt.Sprintf("hostile-%d", i)
		ids[hostile[i].MessageId] = true
		if err := servers.WireTo(server.Addr()).Put(t.Context(), queue, hostile[i]); err != nil {
			t.Fatal(err)
		}
	}
	good := with(amqp.Table{"id": "good", "bytes": []byte("\xff"), "at": time.Now(), "x-death": "ours", "timelimit": []any{1e300, nil}})
	if err := servers.WireTo(server.Addr()).Put(t.Context(), queue, good); err != nil {
		t.Fatal(err)
	}
	runs := make(chan string, 100)
	workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{queue}},
		func(_ context.Context, job worker.Job, _ json.RawMessage) error { runs <- job.ID; return nil })
	if id := receive(t, runs); id != "good" {
		t.Errorf("%s ran", id)
	}
	dead, _ := deadOf(t, server.Addr(), queue, len(hostile))
	for _, m := range dead {
		delete(ids, m.MessageId)
	}
	if len(ids) > 0 || len(runs) > 0 || waiting(t, server.Addr(), queue) > 0 {
		t.Errorf("not kept: %v; %d further runs", ids, len(runs))
	}
}

// Celery's workers and ours on one queue run each job once, and each gets the job of the
// other one if that is killed.
func besideCeleryWorkersOnRabbitMQ(t *testing.T, server *servers.RabbitMQServer) {
	shop := newWorkshop(t)
	var mu sync.Mutex
	runs, hold := map[string][]string{}, make(chan struct{}) // runs is guarded by mu
	held := make(chan string, 10)
	note := func(who string) func(ctx context.Context, job worker.Job, args json.RawMessage) error {
		return func(ctx context.Context, job worker.Job, args json.RawMessage) error {
			mu.Lock()
			runs[job.ID] = append(runs[job.ID], who)
			first := len(runs[job.ID]) == 1
			mu.Unlock()
			if string(args) == `"hold"` && first {
				held <- job.ID
				select {
				case <-hold:
				case <-ctx.Done():
				}
				return errors.New("the worker was killed")
			}
			time.Sleep(10 * time.Millisecond) // so that both get some
			return nil
		}
	}
	inPython := note("python")
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, args json.RawMessage) error {
		job, _ := worker.JobFrom(ctx)
		return inPython(ctx, job, args)
	}))
	if err != nil {
		t.Fatal(err)
	}
	python, err := newCeleryWorker(t, shop, spec{
		Broker: server.URL() + "/", Queues: []string{"both"}, Tasks: reg.Tasks(), Concurrency: 1, Late: true, Attempts: 25,
	}, map[string]string{"both": "both"}, reg)
	if err == nil {
		err = python.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{AcksLate: true})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the Celery worker declares its queue", func() bool { return exec.CheckServer(t.Context(), "both") == nil })
	sent := map[string]bool{}
	send := func(n int, args string) (last string) {
		t.Helper()
		for range n {
			in := job(t, args, core.Queue("both"))
			if err := exec.Execute(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			last = in.ID
			sent[last] = true
		}
		return last
	}
	// The Go worker gets the job of the Celery worker that is killed, and counts that.
	killed := send(1, `"hold"`)
	receive(t, held)
	line := servers.WireTo(server.Addr())
	workAMQP(t, line.Dial, celeryexec.WorkerOptions{Queues: []string{"both"}, Concurrency: 1, DrainTimeout: -1}, func(ctx context.Context, job worker.Job, args json.RawMessage) error {
		if job.ID == killed && job.Attempt != 2 {
			t.Errorf("the job of the killed worker runs in attempt %d, want 2", job.Attempt)
		}
		return note("go")(ctx, job, args)
	})
	if err := python.kill(); err != nil {
		t.Fatal(err)
	}
	ran := func(id, who string) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(runs[id]) > 0 && runs[id][len(runs[id])-1] == who
	}
	await(t, "the Go worker runs the job of the Celery worker", func() bool { return ran(killed, "go") })
	// The Celery worker gets the job of the Go worker that is killed.
	id := send(1, `"hold"`)
	receive(t, held)
	again, err := newCeleryWorker(t, shop, python.spec, python.portable, reg)
	if err == nil {
		err = again.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the Celery worker works", func() bool { return ran(send(1, `1`), "python") || consumers(t, server.Addr(), "both") == 2 })
	send(40, `1`)
	line.Cut()
	await(t, "the Celery worker runs the job of the Go worker", func() bool { return ran(id, "python") })
	close(hold)
	await(t, "all jobs have run", func() bool { mu.Lock(); defer mu.Unlock(); return len(runs) == len(sent) })
	mu.Lock()
	defer mu.Unlock()
	for id, who := range runs {
		if !sent[id] || len(who) > 2 || len(who) == 2 && who[0] == who[1] {
			t.Errorf("%s ran in %v", id, who)
		}
	}
}

// RabbitMQ takes a job away that a worker has had for consumer_timeout. A job that waits
// goes back before. One that runs for longer runs on, and once.
func TestConsumerTimeoutOfRabbitMQ(t *testing.T) {
	t.Parallel()
	const limit = 4 * time.Second
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{Settings: []string{"consumer_timeout = 4000"}})
	for name, test := range map[string]func(*testing.T, *lines, string){
		"waits": func(t *testing.T, log *lines, queue string) {
			due := time.Now().Add(3 * limit)
			ran := make(chan time.Time, 10)
			workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{queue}, AMQP: celeryexec.AMQPOptions{ConsumerTimeout: limit}, Logger: slog.New(log)},
				func(_ context.Context, job worker.Job, _ json.RawMessage) error {
					if job.Attempt != 1 {
						t.Errorf("attempt %d", job.Attempt)
					}
					ran <- time.Now()
					return nil
				})
			late := amqpMessage("test.task", []byte(`1`), amqp.Table{"eta": due.UTC().Format("2006-01-02T15:04:05.000000Z")})
			if err := servers.WireTo(server.Addr()).Put(t.Context(), queue, late); err != nil {
				t.Fatal(err)
			}
			if at := receive(t, ran); at.Before(due.Truncate(time.Microsecond)) {
				t.Errorf("it ran %v early", due.Sub(at))
			}
			if n := log.count("airlock: celery: rabbitmq: queue cannot be consumed, will try again"); n != 0 {
				t.Error("RabbitMQ took the job away")
			}
		},
		"runs": func(t *testing.T, log *lines, queue string) {
			var runs atomic.Int32
			stop := workAMQP(t, servers.WireTo(server.Addr()).Dial, celeryexec.WorkerOptions{Queues: []string{queue}, Logger: slog.New(log)},
				func(_ context.Context, job worker.Job, _ json.RawMessage) error {
					runs.Add(1)
					time.Sleep(3 * limit)
					return nil
				})
			if err := servers.WireTo(server.Addr()).Put(t.Context(), queue, amqpMessage("test.task", []byte(`1`), nil)); err != nil {
				t.Fatal(err)
			}
			await(t, "the job begins", func() bool { return runs.Load() == 1 })
			await(t, "RabbitMQ takes it away", func() bool {
				return log.count("airlock: celery: rabbitmq: queue cannot be consumed, will try again") == 1
			})
			await(t, "the job is acknowledged", func() bool { return log.count("airlock: job done") == 1 })
			stop()
			if n := runs.Load(); n != 1 || waiting(t, server.Addr(), queue) != 0 {
				t.Errorf("%d runs, %d jobs are left", n, waiting(t, server.Addr(), queue))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := declareQueues(server.Addr(), false, name); err != nil {
				t.Fatal(err)
			}
			test(t, &lines{seen: map[string]int{}}, name)
		})
	}
}
