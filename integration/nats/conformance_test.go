package nats_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	natsexec "github.com/goairlock/airlock/executors/nats"
	"github.com/goairlock/airlock/integration/servers"
	"github.com/goairlock/airlock/worker"
)

func TestConformance(t *testing.T) {
	server, opts := servers.NATS(t, ownProcess), options{Lanes: true}
	conformance.Run(t, overLines(harness(t, "nats", server.URL(), 1, opts), server, opts))
}

// ownProcess is for the suite, which counts the goroutines of this one.
var ownProcess = servers.NATSOptions{OwnProcess: true}

func TestConformanceOnThreeReplicas(t *testing.T) {
	h := harness(t, "nats-r3", servers.NATSCluster(t, ownProcess).URL(), 3, options{})
	h.Settle, h.RecoversWithin = 200*time.Millisecond, 15*time.Second
	conformance.Run(t, h)
}

func harness(t *testing.T, name, url string, replicas int, opts options) conformance.Harness {
	opts.AckTimeout, opts.AckWait, opts.DrainTimeout = 30*time.Second, 8*time.Second, 6*time.Second
	opts.ParkFor = time.Second
	shared := connect(t, url) // of the producers: a worker has a connection of its own, which Kill cuts
	// The first request of a connection starts a goroutine that lives as long as the connection. It must not belong to the first check.
	if _, err := shared.AccountInfo(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conformance.Harness{
		Subject: conformance.Subject{Name: name, Module: "github.com/goairlock/airlock/executors/nats", Backend: "nats-server v2.15.2"},
		// A machine may be busy: Scale bounds what a green run does not use up, and is taken back from Settle. A drain must take
		// longer than the 3 seconds after which the suite, at this scale, gives up on one.
		Scale: 12, Settle: 100 * time.Millisecond, RestartSkew: time.Second,
		Native: &conformance.Native{Produce: produce(shared), Consume: consume(shared)},
		Golden: golden(shared), ParksFor: 2 * time.Second, Inspects: true,
		New: func(t conformance.T, s conformance.Setup) conformance.System {
			stream := &natsexec.StreamOptions{Replicas: replicas, Storage: jetstream.MemoryStorage, Window: s.IDWindow}
			own := opts
			own.QueueNames, own.Logger = s.NativeNames, s.Logger
			var exec *natsexec.Executor
			if err := insist(t.Context(), func(ctx context.Context) (err error) {
				if err = natsexec.EnsureStream(ctx, shared, s.Namespace, stream); err == nil {
					exec, err = natsexec.New(ctx, shared, s.Namespace, own.dispatch())
				}
				return err
			}); err != nil {
				t.Fatalf("stream: %v", err)
			}
			view, err := natsexec.NewInspector(shared, s.Namespace, nil)
			if err != nil {
				t.Fatalf("NewInspector: %v", err)
			}
			own.Queues, own.Concurrency = s.QueueNames("default"), max(s.Slots, 1)
			if s.Slots == 0 {
				own.Concurrency = 8
			}
			at := url
			var freeze func() (func() error, error)
			if s.Freezes {
				at, freeze = freezable(t, url)
				own.AckWait = shortLease
			}
			w := newRunner(t, at, s.Namespace, s.Registry, &own)
			if !s.Paused {
				_ = w.start(t.Context())
			}
			return conformance.System{
				Exec: exec.Execute, Caps: exec.Capabilities(), Start: w.start, Stop: w.stop, Kill: w.kill, Slots: own.Concurrency, Inspector: view,
				NativeNames: true, Freeze: freeze,
				Stored:  func(ctx context.Context) ([]conformance.Record, error) { return records(ctx, shared, s.Namespace) },
				Corrupt: withEnvelope(shared, s.Namespace, "{"),
				Later:   withEnvelope(shared, s.Namespace, `{"v":99,"max_attempts":1}`),
			}
		},
	}
}

// withEnvelope stores a job that no worker of this release can read.
func withEnvelope(js jetstream.JetStream, namespace, envelope string) func(ctx context.Context, task string) error {
	return func(ctx context.Context, task string) error {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: namespace + ".job.default." + task, Header: nats.Header{"Airlock-Envelope": {envelope}}})
		return err
	}
}

// A runner runs one worker on a connection of its own.
type runner struct {
	conn   *nats.Conn
	worker *natsexec.Worker
	cancel context.CancelFunc
	ctx    context.Context
	done   chan struct{}
	once   sync.Once
	err    error
}

func newRunner(t conformance.T, url, stream string, reg *worker.Registry, opts *options) *runner {
	r := &runner{done: make(chan struct{})}
	var js jetstream.JetStream
	var err error
	if r.conn, err = nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.IgnoreDiscoveredServers()); err == nil {
		js, err = jetstream.New(r.conn)
	}
	if err == nil {
		r.worker, err = natsexec.NewWorker(js, stream, reg, opts.work())
	}
	if err != nil {
		t.Fatalf("worker: %v", err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		r.cancel()
		r.conn.Close()
	})
	return r
}

func (r *runner) start(context.Context) error {
	r.once.Do(func() {
		go func() {
			defer close(r.done)
			r.err = r.worker.Run(r.ctx)
		}()
	})
	return nil
}

func (r *runner) stop(ctx context.Context) error {
	r.once.Do(func() { close(r.done) })
	r.cancel()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) kill() error {
	r.conn.Close()
	r.cancel()
	return nil
}

func records(ctx context.Context, js jetstream.JetStream, name string) ([]conformance.Record, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	var list []conformance.Record
	for seq := uint64(1); ; {
		m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		seq = m.Sequence + 1
		tokens := strings.SplitN(m.Subject, ".", 4)
		if tokens[1] == "claim" { // no job, and there for a moment
			continue
		}
		task, _, _ := strings.Cut(strings.Replace(tokens[3], ".~", ".=", 1), ".=")
		rec := conformance.Record{ID: m.Header.Get(nats.MsgIdHdr), Task: task, State: conformance.Waiting}
		if tokens[1] == "dead" {
			rec.State = conformance.Buried
		}
		if env, err := adapter.DecodeEnvelope([]byte(m.Header.Get("Airlock-Envelope"))); err == nil {
			rec.ID = env.ID
		}
		list = append(list, rec)
	}
}

// golden are messages as v0.1 stores them, and one that a worker put off. What executors/nats/wire_test.go pins is written here
// once more by hand, with fields that a later release may add.
func golden(js jetstream.JetStream) []conformance.Golden {
	put := func(subject string, header nats.Header) func(context.Context, string) error {
		return func(ctx context.Context, namespace string) error {
			m := &nats.Msg{Subject: namespace + subject, Header: nats.Header{}, Data: []byte(`{"n":1}`)}
			for key, values := range header { // a schedule's target is in the stream
				m.Header[key] = []string{strings.ReplaceAll(values[0], "JOBS.", namespace+".")}
			}
			_, err := js.PublishMsg(ctx, m)
			return err
		}
	}
	list := []conformance.Golden{
		{Name: "v0.1", Put: put(".job.default.conformance.golden", nats.Header{
			"Nats-Msg-Id": {"golden-1"}, "Color": {"red"}, "Airlock-New": {"1"},
		})},
		{Name: "v0.1 with an envelope", Put: put(".job.default.conformance.golden", nats.Header{
			"Nats-Msg-Id": {"golden-1"}, "Airlock-Envelope": {`{"v":1,"id":"golden-1","timeout":"1m0s","headers":{"Color":"red"},"new":true}`},
		})},
		{Name: "v0.1 with a unique key", Put: put(".job.default.conformance.golden.=glTDKakoUPbVOd03b0gW7g", nats.Header{
			"Nats-Msg-Id": {"golden-1"}, "Color": {"red"}, "Airlock-Envelope": {`{"v":1,"id":"golden-1","unique":"k"}`},
		})},
		{Name: "v0.1 scheduled", Put: put(".at.default.conformance.golden.~JEL_7t5qsHgfR_sUhF8mgw", nats.Header{
			"Nats-Msg-Id": {"golden-1"}, "Color": {"red"}, "Airlock-Envelope": {`{"v":1,"id":"golden-1"}`},
			"Nats-Schedule": {"@at 2020-01-02T03:04:05.000000006Z"}, "Nats-Schedule-Target": {"JOBS.job.default.conformance.golden"},
		})},
		{Name: "v0.1 put off by a worker", Put: put(".job.default.conformance.golden", nats.Header{
			"Nats-Msg-Id": {"golden-1 17"}, "Airlock-Attempts": {"2"}, "Color": {"red"}, "Airlock-Envelope": {`{"v":1,"id":"golden-1","max_attempts":5}`},
		})},
	}
	for i := range list {
		list[i].ID, list[i].Payload, list[i].Headers = "golden-1", []byte(`{"n":1}`), map[string]string{"Color": "red"}
	}
	return list
}

func produce(js jetstream.JetStream) func(ctx context.Context, namespace, task string, payload []byte) error {
	return func(ctx context.Context, namespace, task string, payload []byte) error {
		_, err := js.Publish(ctx, namespace+".job.default."+task, payload)
		return err
	}
}

func consume(js jetstream.JetStream) func(ctx context.Context, namespace string) (string, []byte, error) {
	return func(ctx context.Context, namespace string) (string, []byte, error) {
		consumer, err := js.CreateOrUpdateConsumer(ctx, namespace, jetstream.ConsumerConfig{
			Durable: "default", FilterSubject: namespace + ".job.default.>", AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			return "", nil, err
		}
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		for errors.Is(err, nats.ErrNoResponders) && ctx.Err() == nil { // of a cluster, where it was made a moment ago
			m, err = consumer.Next(jetstream.FetchContext(ctx))
		}
		if err != nil {
			return "", nil, err
		}
		return strings.TrimPrefix(m.Subject(), namespace+".job.default."), m.Data(), m.DoubleAck(ctx)
	}
}
