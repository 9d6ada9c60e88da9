//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	celeryexec "github.com/goairlock/airlock/executors/celery"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func onRabbitMQ(t cleaner, dial celeryexec.Dial, opts celeryexec.Options) (*celeryexec.Executor, error) {
	exec, err := celeryexec.NewAMQP(dial, &opts)
	if err == nil {
		t.Cleanup(func() { _ = exec.Close() })
	}
	return exec, err
}

// TestRabbitMQ runs the tests of one server, whose start takes a while.
func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{})
	for name, test := range map[string]func(*testing.T, *servers.RabbitMQServer){
		"CeleryWorkersRunTheJobs":   celeryWorkersRunTheJobs,
		"Unroutable":                unroutable,
		"WrongVirtualHost":          wrongVirtualHost,
		"WrongCredentials":          wrongCredentials,
		"QueueWithOtherArguments":   queueWithOtherArguments,
		"ConnectionLost":            connectionLost,
		"TooLargeForTheServer":      tooLargeForTheServer,
		"WhatIsNotCelerysIsNoticed": whatIsNotCelerysIsNoticed,
		"SilentServer":              aSilentServerIsLeft,
		"GoRunsTheJobsOfPython":     goRunsTheJobsOfPythonProducers,
		"JobsThatWaitBlockNobody":   jobsThatWaitBlockNobody,
		"WorkerConnectionLost":      jobsRunOnWhenTheConnectionIsLost,
		"WorkerWaitsForItsQueue":    workerWaitsForItsQueue,
		"HostileMessages":           hostileMessagesOnRabbitMQ,
		"BesideCeleryWorkers":       besideCeleryWorkersOnRabbitMQ,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server)
		})
	}
}

// A real Celery worker gets what was sent.
func celeryWorkersRunTheJobs(t *testing.T, server *servers.RabbitMQServer) {
	shop := newWorkshop(t)
	type ran struct {
		job  worker.Job
		args string
		at   time.Time
		soft bool
	}
	runs := make(chan ran, 100)
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(ctx context.Context, args json.RawMessage) error {
		job, _ := worker.JobFrom(ctx)
		_, soft := ctx.Deadline()
		runs <- ran{job, string(args), time.Now(), soft}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	w, err := newCeleryWorker(t, shop, spec{
		Broker: server.URL() + "/", Queues: []string{"shop"}, Tasks: reg.Tasks(), Concurrency: 2, Late: true, Attempts: 25, Priorities: true,
	}, map[string]string{"shop": "default"}, reg)
	if err == nil {
		err = w.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{
		QueueNames: map[string]string{"default": "shop"}, Priorities: true, AcksLate: true, Attempts: 25,
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the Celery worker declares its queue", func() bool { return exec.CheckServer(t.Context(), "default") == nil })
	due := time.Now().Add(3 * time.Second)
	want := map[string]core.Intent{
		"17":              job(t, `17`, core.Header("Color", "red"), core.Timeout(30*time.Second)),
		`[17, "é"]`:       job(t, `[17, "é"]`),
		`{"order": 17}`:   job(t, `{"order": 17}`, core.Priority(9), core.Deadline(time.Now().Add(time.Hour))),
		`[]`:              job(t, `[]`),
		`"later"`:         job(t, `"later"`, core.At(due)),
		`{"empty": [{}]}`: job(t, `{"empty": [{}]}`),
	}
	var intents []core.Intent
	ids := map[string]string{}
	for args, in := range want {
		intents, ids[in.ID] = append(intents, in), args
	}
	late := job(t, `"late"`, core.Deadline(time.Now().Add(time.Millisecond))) // Celery does not run it
	time.Sleep(2 * time.Millisecond)
	if err := exec.Execute(t.Context(), append([]core.Intent{late}, intents...)...); err != nil {
		t.Fatal(err)
	}
	for range want {
		r := receive(t, runs)
		args := ids[r.job.ID]
		if same := jsonEqual(r.args, args); !same {
			t.Errorf("%s got %s, want %s", r.job.ID, r.args, args)
		}
		delete(ids, r.job.ID)
		switch {
		case args == "17" && (r.job.Headers.Get("Color") != "red" || !r.soft):
			t.Errorf("headers %v, soft time limit %v", r.job.Headers, r.soft)
		case args == `"later"` && r.at.Before(due):
			t.Errorf("the job of %v ran at %v", due, r.at)
		}
	}
	if len(ids) > 0 || len(runs) > 0 {
		t.Errorf("not run: %v; %d further runs", ids, len(runs))
	}
}

func jsonEqual(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

// RabbitMQ sends a job back whose queue does not exist. The others of the call are
// stored.
func unroutable(t *testing.T, server *servers.RabbitMQServer) {
	if err := declareQueues(server.Addr(), false, "routed"); err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var intents []core.Intent
	for i := range 6 {
		queue := "routed"
		if i%3 == 1 {
			queue = "nowhere"
		}
		intents = append(intents, job(t, `1`, core.Queue(queue)))
	}
	var failed *core.DispatchError
	if err := exec.Execute(t.Context(), intents...); !errors.As(err, &failed) {
		t.Fatalf("%v, want a DispatchError", err)
	}
	for i, o := range failed.Outcomes {
		want := core.Accepted
		if i%3 == 1 {
			want = core.Rejected
		}
		if o.State != want || want == core.Rejected && !strings.Contains(o.Err.Error(), `no queue "nowhere"`) {
			t.Errorf("intent %d: %v with %v, want %v", i, o.State, o.Err, want)
		}
	}
	for i := range 4 {
		m, err := takeAMQP(t.Context(), server.Addr(), "routed")
		if err != nil {
			t.Fatal(err)
		}
		if want := intents[[]int{0, 2, 3, 5}[i]].ID; m.CorrelationId != want || m.DeliveryMode != amqp.Persistent {
			t.Errorf("message %d is %s with delivery mode %d, want %s", i, m.CorrelationId, m.DeliveryMode, want)
		}
	}
}

// notSent checks that a dispatch fails because there is no connection, and that no
// error shows the password.
func notSent(t *testing.T, url string, code int) {
	t.Helper()
	exec, err := onRabbitMQ(t, func(context.Context) (*amqp.Connection, error) { return amqp.Dial(url) }, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Execute": exec.Execute(t.Context(), job(t, `1`)), "CheckServer": exec.CheckServer(t.Context(), "default")} {
		var refusal *amqp.Error
		if !errors.Is(err, core.ErrUnavailable) || !errors.As(err, &refusal) || refusal.Code != code {
			t.Errorf("%s: %v, want ErrUnavailable and code %d", what, err, code)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s shows the password: %v", what, err)
		}
		if what == "Execute" && !errors.Is(err, core.ErrNotSent) {
			t.Errorf("Execute: %v, want ErrNotSent", err)
		}
	}
}

func wrongVirtualHost(t *testing.T, server *servers.RabbitMQServer) {
	notSent(t, server.URL()+"shop", amqp.NotAllowed)
}

func wrongCredentials(t *testing.T, server *servers.RabbitMQServer) {
	notSent(t, "amqp://guest:s3cret@"+server.Addr()+"/", amqp.AccessRefused)
}

// A queue that exists with other arguments is no obstacle to a dispatch, which declares
// nothing. CheckServer notices one without priorities.
func queueWithOtherArguments(t *testing.T, server *servers.RabbitMQServer) {
	ch, end, err := servers.WireTo(server.Addr()).Channel()
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if _, err := ch.QueueDeclare("other", true, false, false, false, amqp.Table{"x-message-ttl": int32(3_600_000)}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(declareQueues(server.Addr(), true, "ranked"), declareQueues(server.Addr(), false, "unranked")); err != nil {
		t.Fatal(err)
	}
	for _, priorities := range []bool{false, true} {
		exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{Priorities: priorities})
		if err != nil {
			t.Fatal(err)
		}
		if err := exec.Execute(t.Context(), job(t, `1`, core.Queue("other"))); err != nil {
			t.Error(err)
		}
		if err := exec.CheckServer(t.Context(), "ranked"); err != nil {
			t.Errorf("a queue with priorities: %v", err)
		}
		if err := exec.CheckServer(t.Context(), "other"); err != nil { // RabbitMQ names the first difference alone
			t.Errorf("a queue with a time limit: %v", err)
		}
		switch err := exec.CheckServer(t.Context(), "unranked"); {
		case !priorities && err != nil:
			t.Errorf("a queue without priorities, which are not wanted: %v", err)
		case priorities && (!errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "x-max-priority")):
			t.Errorf("a queue without priorities: %v", err)
		}
	}
}

// The executor connects again, and no job is lost that was accepted.
func connectionLost(t *testing.T, server *servers.RabbitMQServer) {
	if err := declareQueues(server.Addr(), false, "lost"); err != nil {
		t.Fatal(err)
	}
	line := servers.WireTo(server.Addr())
	exec, err := onRabbitMQ(t, line.Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]bool{}
	send := func() bool {
		in := job(t, `1`, core.Queue("lost"))
		err := exec.Execute(t.Context(), in)
		if err != nil && !errors.Is(err, core.ErrNotSent) && !errors.Is(err, core.ErrUnknownOutcome) {
			t.Errorf("%v, want ErrNotSent or ErrUnknownOutcome", err)
		}
		if err == nil {
			accepted[in.ID] = true
		}
		return err == nil
	}
	for i := range 40 {
		if i%10 == 9 {
			line.Drop()
		}
		if !send() {
			await(t, "a job is accepted again", send)
		}
	}
	for len(accepted) > 0 {
		m, err := takeAMQP(t.Context(), server.Addr(), "lost")
		if err != nil {
			t.Fatal(err)
		}
		delete(accepted, m.CorrelationId)
	}
	line.Cut()
	if err := exec.Execute(t.Context(), job(t, `1`, core.Queue("lost"))); err == nil {
		t.Error("a dispatch without a connection succeeds")
	}
}

// What is too large for the executor is refused before anything is sent.
func tooLargeForTheServer(t *testing.T, server *servers.RabbitMQServer) {
	if err := declareQueues(server.Addr(), false, "large"); err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	most := exec.Capabilities().MaxPayload
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	if err := exec.Execute(t.Context(), job(t, text(most+1), core.Queue("large"))); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if err := exec.Execute(t.Context(), job(t, text(most), core.Queue("large"))); err != nil {
		t.Error(err)
	}
}

func whatIsNotCelerysIsNoticed(t *testing.T, server *servers.RabbitMQServer) {
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.CheckServer(t.Context(), "unknown"); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "no Celery worker has consumed") {
		t.Errorf("CheckServer: %v", err)
	}
	if err := exec.CheckServer(t.Context()); err != nil {
		t.Errorf("CheckServer without queues: %v", err)
	}
}

// A server that says nothing after the handshake keeps nobody beyond the context.
func aSilentServerIsLeft(t *testing.T, server *servers.RabbitMQServer) {
	proxy, err := faultproxy.New(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	exec, err := onRabbitMQ(t, func(ctx context.Context) (*amqp.Connection, error) {
		conn, err := servers.WireTo(proxy.Addr()).Dial(ctx)
		proxy.LoseReplies()
		return conn, err
	}, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // the library gives a silent connection up after four seconds
	defer cancel()
	if err := exec.CheckServer(ctx, "default"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, amqp.ErrClosed) {
		t.Errorf("CheckServer: %v, want the error of the context", err)
	}
}

// A server with an alarm does not read what is published. The call ends with its
// context.
func TestBlockedRabbitMQ(t *testing.T) {
	t.Parallel()
	server := servers.RabbitMQ(t, servers.RabbitMQOptions{Settings: []string{"vm_memory_high_watermark.absolute = 1MB"}})
	if err := declareQueues(server.Addr(), false, "celery"); err != nil {
		t.Fatal(err)
	}
	exec, err := onRabbitMQ(t, servers.WireTo(server.Addr()).Dial, celeryexec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	intents := make([]core.Intent, 50)
	for i := range intents {
		intents[i] = job(t, `"`+strings.Repeat("x", 1<<20)+`"`) // more than the connection's buffers hold
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	err = exec.Execute(ctx, intents...)
	if took := time.Since(began); took > patience {
		t.Errorf("the call took %v", took)
	}
	var failed *core.DispatchError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &failed) {
		t.Fatalf("%v, want the context's error", err)
	}
	for i, o := range failed.Outcomes {
		if o.State != core.Unknown && o.State != core.NotSent {
			t.Errorf("intent %d is %v", i, o.State)
		}
	}
	if last := failed.Outcomes[len(intents)-1]; last.State != core.NotSent {
		t.Errorf("the last intent, which was not written, is %v", last.State)
	}
}
