// Package nats_test runs natsexec on real JetStream servers, most of them in this process.
package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = 3 * time.Minute

// once bounds one request that is made again: of a cluster's, any may be lost, and one that is lost is never answered.
const once = 5 * time.Second

const streamName = "JOBS"

// options are those of the executor and of the workers.
type options struct {
	Lanes        bool
	QueueNames   map[string]string
	AckTimeout   time.Duration
	Atomic       bool
	Queues       []string
	Concurrency  int
	AckWait      time.Duration
	Backoff      core.BackoffPolicy
	DrainTimeout time.Duration
	ParkFor      time.Duration
	Logger       *slog.Logger
}

func (o *options) dispatch() *natsexec.Options {
	return &natsexec.Options{Lanes: o.Lanes, QueueNames: o.QueueNames, AckTimeout: o.AckTimeout, Atomic: o.Atomic, Logger: o.Logger}
}

func (o *options) work() *natsexec.WorkerOptions {
	return &natsexec.WorkerOptions{
		Lanes: o.Lanes, QueueNames: o.QueueNames, Queues: o.Queues, Concurrency: o.Concurrency, AckWait: o.AckWait, Backoff: o.Backoff,
		DrainTimeout: o.DrainTimeout, ParkFor: o.ParkFor, Logger: o.Logger,
	}
}

// A testEnv is one server with one stream, and a task whose handler each test gives.
type testEnv struct {
	*testing.T
	ctx  context.Context
	js   jetstream.JetStream
	conn *nats.Conn
	task core.Task[string]
	exec *natsexec.Executor
	opts *options

	restless bool // its leader may move at any time, see calmly
}

var quiet = slog.New(slog.DiscardHandler)

func connect(t *testing.T, url string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url, append([]nats.Option{
		nats.ReconnectWait(10 * time.Millisecond), nats.MaxReconnects(-1), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// setup makes a testEnv on a server of its own. Nil options are the zero ones, but for a limit that a busy machine keeps.
func setup(t *testing.T, opts *options) *testEnv {
	t.Helper()
	if opts == nil {
		opts = &options{}
	}
	if opts.AckTimeout == 0 {
		opts.AckTimeout = 30 * time.Second
	}
	return setupOn(t, servers.NATS(t, servers.NATSOptions{Private: true}).URL(), nil, opts)
}

func setupOn(t *testing.T, url string, stream *natsexec.StreamOptions, opts *options) *testEnv {
	t.Helper()
	w := bare(t, url, opts)
	w.insist(func(ctx context.Context) error { return natsexec.EnsureStream(ctx, w.js, streamName, stream) })
	w.open()
	return w
}

// bare is a testEnv without a stream and an executor.
func bare(t *testing.T, url string, opts *options) *testEnv {
	t.Helper()
	if opts == nil {
		opts = &options{}
	}
	o := *opts
	if o.Logger == nil {
		o.Logger = quiet
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w := &testEnv{T: t, ctx: ctx, task: core.DeclareTask[string]("test.work"), opts: &o}
	w.js = connect(t, url)
	w.conn = w.js.Conn()
	return w
}

// open makes the executor anew.
func (w *testEnv) open() {
	w.Helper()
	w.insist(func(ctx context.Context) (err error) {
		w.exec, err = natsexec.New(ctx, w.js, streamName, w.opts.dispatch())
		return err
	})
}

func (w *testEnv) insist(do func(context.Context) error) {
	w.Helper()
	w.must(insist(w.ctx, do))
}

// insist does something until a server that can do it has answered.
func insist(ctx context.Context, do func(context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(ctx, once)
		err := do(limited)
		cancel()
		var api *jetstream.APIError
		busy := errors.As(err, &api) && api.Code >= 500
		if err == nil || ctx.Err() != nil || !busy && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrNoResponders) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *testEnv) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *testEnv) intent(arg string, opts ...core.Option) core.Intent {
	w.Helper()
	in, err := w.task.Intent(arg, opts...)
	w.must(err)
	return in
}

// states dispatches and returns the outcomes' states.
func (w *testEnv) states(intents ...core.Intent) []core.State {
	w.Helper()
	err := w.exec.Execute(w.ctx, intents...)
	var states []core.State
	w.undisturbed(err)
	for _, o := range core.OutcomesOf(err, intents) {
		states = append(states, o.State)
		if o.Err != nil {
			w.Logf("%s: %v: %v", o.ID, o.State, o.Err)
		}
	}
	return states
}

func (w *testEnv) wantStates(got []core.State, want ...core.State) {
	w.Helper()
	if len(got) != len(want) {
		w.Fatalf("states %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			w.Fatalf("states %v, want %v", got, want)
		}
	}
}

// send dispatches and demands that everything is accepted.
func (w *testEnv) send(intents ...core.Intent) {
	w.Helper()
	err := w.exec.Execute(w.ctx, intents...)
	w.undisturbed(err)
	w.must(err)
}

// work runs a worker until the test ends, or the function it returns is called,
// which returns what Run did.
func (w *testEnv) work(handler func(ctx context.Context, arg string) error) (stop func() error) {
	w.Helper()
	return w.workOn(w.js, w.opts, worker.Handle(w.task, handler))
}

func (w *testEnv) workOn(js jetstream.JetStream, opts *options, handlers ...worker.Part) (stop func() error) {
	w.Helper()
	reg, err := worker.NewRegistry(handlers...)
	w.must(err)
	worker, err := natsexec.NewWorker(js, streamName, reg, opts.work())
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	w.Cleanup(func() {
		if err := stop(); err != nil {
			w.Errorf("worker: %v", err)
		}
	})
	return stop
}

// next waits for one value.
func next[A any](w *testEnv, c <-chan A) A {
	w.Helper()
	select {
	case v := <-c:
		return v
	case <-w.ctx.Done():
		w.Fatalf("waited in vain")
		panic("unreachable")
	}
}

// message waits for the first message of a subject, and reads it with the client alone.
func (w *testEnv) message(subject string) *jetstream.RawStreamMsg {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, streamName)
	w.must(err)
	for {
		m, err := stream.GetMsg(w.ctx, 1, jetstream.WithGetMsgSubject(subject))
		if err == nil {
			return m
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			w.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stored counts what the stream holds on the subjects.
func (w *testEnv) stored(subject string) int {
	w.Helper()
	n := 0
	w.insist(func(ctx context.Context) error {
		stream, err := w.js.Stream(ctx, streamName)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return err
		}
		n = 0
		for _, count := range info.State.Subjects {
			n += int(count)
		}
		return nil
	})
	return n
}

// wantStored waits until the stream holds so many.
func (w *testEnv) wantStored(subject string, want int) {
	w.Helper()
	for {
		got := w.stored(subject)
		if got == want {
			return
		}
		if w.ctx.Err() != nil {
			w.Fatalf("%d messages on %s, want %d", got, subject, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func startNATS(t *testing.T) string {
	t.Helper()
	return servers.NATS(t, servers.NATSOptions{Private: true}).URL()
}
