package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/conformance/faultproxy"
	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

// lines are what a logger wrote.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // nobody reads them all
	}
	return len(p), nil
}

func (l lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// await waits for a line with the text.
func (l lines) await(w *testEnv, text string) {
	w.Helper()
	for !strings.Contains(next(w, l), text) {
	}
}

const notYet = "trying again" // the connection is lost, or a queue cannot be fetched from

// hear gives the testEnv's workers a logger that can be listened to.
func (w *testEnv) hear() lines {
	l := make(lines, 1000)
	w.opts.Logger = l.logger()
	return l
}

func TestAWorkerThatStartsBeforeItsServerWaitsForIt(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, nil)
	proxy.Down()
	logged := w.hear()
	late := connect(t, "nats://"+proxy.Addr(), nats.RetryOnFailedConnect(true))
	ran := make(chan string, 1)
	w.workOn(late, w.opts, worker.Handle(w.task, func(_ context.Context, arg string) error { ran <- arg; return nil }))
	logged.await(w, notYet)
	w.must(proxy.Up())
	w.must(w.retrying()(w.ctx, w.intent("a")))
	if got := next(w, ran); got != "a" {
		t.Errorf("ran %s", got)
	}
}

func TestAWorkerThatGetsNoAnswerAsksAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*faultproxy.Proxy){
		"the question is lost": (*faultproxy.Proxy).LoseRequests,
		"the answer is lost":   (*faultproxy.Proxy).LoseReplies,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := proxied(t, nil)
			logged := w.hear()
			far := connect(t, "nats://"+proxy.Addr())
			lose(proxy)
			ran := make(chan string, 1)
			w.workOn(far, w.opts, worker.Handle(w.task, func(_ context.Context, arg string) error { ran <- arg; return nil }))
			logged.await(w, notYet)
			w.must(proxy.Heal())
			w.must(w.retrying()(w.ctx, w.intent("a")))
			if got := next(w, ran); got != "a" {
				t.Errorf("ran %s", got)
			}
		})
	}
}

func TestAWorkerThatStartsWithoutAQuorumWaitsForIt(t *testing.T) {
	t.Parallel()
	c := setupCluster(t)
	logged := c.hear()
	stays := connect(t, c.nodes[0].URL())
	for _, node := range c.nodes[1:] {
		c.must(node.Kill())
	}
	ran := make(chan string, 1)
	c.workOn(stays, c.opts, worker.Handle(c.task, func(_ context.Context, arg string) error { ran <- arg; return nil }))
	logged.await(c.testEnv, notYet)
	for _, node := range c.nodes[1:] {
		c.must(node.Restart())
	}
	c.must(c.stubborn()(c.ctx, c.intent("a")))
	if got := next(c.testEnv, ran); got != "a" {
		t.Errorf("ran %s", got)
	}
}

func TestAWorkerThatWaitsCanBeStopped(t *testing.T) {
	t.Parallel()
	w, proxy, _ := proxied(t, nil)
	proxy.Down()
	logged := w.hear()
	stop := w.workOn(connect(t, "nats://"+proxy.Addr(), nats.RetryOnFailedConnect(true)), w.opts)
	logged.await(w, notYet)
	w.must(stop())
}

func TestWhatAWorkerDoesNotWaitFor(t *testing.T) {
	t.Parallel()
	w := bare(t, servers.NATS(t, servers.NATSOptions{Private: true}).URL(), nil)
	reg, err := worker.NewRegistry()
	w.must(err)
	run := func() error {
		worker, err := natsexec.NewWorker(w.js, streamName, reg, w.opts.work())
		w.must(err)
		return worker.Run(w.ctx)
	}
	if err := run(); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	_, err = w.js.CreateStream(w.ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{"JOBS.>"}})
	w.must(err)
	if err := run(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("on a stream that does not fit: %v", err)
	}
	w.must(w.js.DeleteStream(w.ctx, streamName))
	w.must(natsexec.EnsureStream(w.ctx, w.js, streamName, nil))
	_, err = w.js.CreateConsumer(w.ctx, streamName, jetstream.ConsumerConfig{
		Durable: "all", FilterSubject: "JOBS.job.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	w.must(err)
	var api *jetstream.APIError
	if err := run(); !errors.As(err, &api) || api.ErrorCode != 10100 { // jobs belong to one consumer
		t.Errorf("next to a consumer of the same jobs: %v", err)
	}
	w.conn.Close()
	if err := run(); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
}

func TestAWorkerWhoseConnectionIsClosedEnds(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	reg, err := worker.NewRegistry()
	w.must(err)
	js := connect(t, w.conn.ConnectedUrl())
	worker, err := natsexec.NewWorker(js, streamName, reg, w.opts.work())
	w.must(err)
	ended := make(chan error)
	go func() { ended <- worker.Run(w.ctx) }()
	for { // until it works
		if _, err := w.js.Consumer(w.ctx, streamName, "default"); err == nil {
			break
		}
	}
	js.Conn().Close()
	if err := next(w, ended); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error %v", err)
	}
}

func TestAWorkersConsumerThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	ran := make(chan string, 2)
	w.work(func(_ context.Context, arg string) error { ran <- arg; return nil })
	w.send(w.intent("a"))
	next(w, ran)
	w.wantStored("JOBS.>", 0) // the job is acknowledged, else it would run again
	w.must(w.js.DeleteConsumer(w.ctx, streamName, "default"))
	w.send(w.intent("b"))
	if got := next(w, ran); got != "b" {
		t.Errorf("ran %s", got)
	}
}
