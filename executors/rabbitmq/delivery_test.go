package rabbitexec

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

var testTask = core.DeclareTask[string]("test.task")

func intent(t *testing.T, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := testTask.Intent("x", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func mapped(t *testing.T, given Topology, in core.Intent) amqplink.Message {
	t.Helper()
	top, err := newTopology(given)
	if err != nil {
		t.Fatal(err)
	}
	return top.toNative(&in, time.Now())
}

func received(p amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{Type: p.Type, MessageId: p.MessageId, Headers: p.Headers, Body: p.Body, Priority: p.Priority}
}

func TestDeliveryHasWhatTheIntentHad(t *testing.T) {
	t.Parallel()
	deadline := time.Now().Add(time.Hour).UTC()
	in := intent(t, core.MaxAttempts(3), core.Backoff(core.Fixed(time.Second)), core.Timeout(time.Minute), core.Deadline(deadline), core.Header("CC", "a,b"), core.Header("x-death", "\x01"))
	d := deliveryOf(received(mapped(t, Topology{}, in).Pub), "default")
	if d.ID != in.ID || d.Task != in.Task || string(d.Payload) != string(in.Payload()) || d.EnvelopeErr != nil {
		t.Errorf("delivery %v with error %v, want that of %v", d, d.EnvelopeErr, in)
	}
	if d.MaxAttempts != 3 || d.Backoff != core.Fixed(time.Second) || d.Timeout != time.Minute || !d.Deadline.Equal(deadline) || d.Attempt != 1 {
		t.Errorf("options differ: %+v", d)
	}
	if d.Headers.Len() != 2 || d.Headers.Get("CC") != "a,b" || d.Headers.Get("x-death") != "\x01" {
		t.Errorf("headers %v", d.Headers)
	}
}

func TestAttemptsAddUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers amqp.Table
		want    int
	}{
		"first":                   {nil, 1},
		"delivered twice before":  {amqp.Table{"x-delivery-count": int64(2)}, 3},
		"copy":                    {amqp.Table{attemptsHeader: int64(4)}, 5},
		"copy of a crashed one":   {amqp.Table{attemptsHeader: int64(4), "x-delivery-count": int32(1)}, 6},
		"negative, another type":  {amqp.Table{attemptsHeader: int64(-9), "x-delivery-count": "7"}, 1},
		"larger than any counter": {amqp.Table{attemptsHeader: int64(1 << 62), "x-delivery-count": int64(1 << 62)}, 1<<31 - 1},
	} {
		if got := attemptOf(&amqp.Delivery{Headers: c.headers}); got != c.want {
			t.Errorf("%s: attempt %d, want %d", name, got, c.want)
		}
	}
}

func TestMessagesThatAreNoJobs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d     amqp.Delivery
		later bool
	}{
		"no task":           {amqp.Delivery{}, false},
		"no JSON":           {amqp.Delivery{Type: "a.b", Headers: amqp.Table{envelopeHeader: "{"}}, false},
		"no string":         {amqp.Delivery{Type: "a.b", Headers: amqp.Table{envelopeHeader: int64(1)}}, false},
		"envelope of later": {amqp.Delivery{Type: "a.b", Headers: amqp.Table{envelopeHeader: `{"v":99}`}}, true},
	} {
		d := deliveryOf(&c.d, "q")
		if d.EnvelopeErr == nil || errors.Is(d.EnvelopeErr, worker.ErrLaterVersion) != c.later {
			t.Errorf("%s: EnvelopeErr %v", name, d.EnvelopeErr)
		}
	}
}

func TestCopiesLeaveOutWhatRabbitMQActsUpon(t *testing.T) {
	t.Parallel()
	p := copyOf(&amqp.Delivery{
		Type: "a.b", UserId: "guest", Expiration: "5", Priority: 7, Body: []byte("x"),
		Headers: amqp.Table{"CC": []any{"other"}, "BCC": []any{"other"}, "x-death": []any{}, "x-delivery-count": int64(3), "mine": "y", markHeader: int64(1), attemptsHeader: int64(1)},
	}, "id", 5)
	if p.UserId != "" || p.Expiration != "" || p.DeliveryMode != amqp.Persistent || p.Priority != 7 {
		t.Errorf("properties: %+v", p)
	}
	if len(p.Headers) != 3 || p.Headers["mine"] != "y" || p.Headers[attemptsHeader] != int64(5) || p.Headers[markHeader] == int64(1) {
		t.Errorf("headers: %v", p.Headers)
	}
}

// The levels that a key names add up to at least the delay, and less than two steps more.
func TestLadderIsNeverEarly(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{1, time.Millisecond, 99 * time.Millisecond, 100 * time.Millisecond, time.Second, time.Hour, 1000 * time.Hour, longestDelay} {
		exchange, key := waypoint(false, "q", d)
		words := strings.Split(key, ".")
		if len(words) != rungs+1 || words[rungs] != address("q") || len(key) > 255 {
			t.Fatalf("%v: key %s", d, key)
		}
		var total time.Duration
		first := -1
		for i, w := range words[:rungs] {
			if level := rungs - 1 - i; w == "1" {
				total += step << level
				first = max(first, level)
			}
		}
		if total < d+slack || total >= d+slack+step {
			t.Errorf("%v: the levels add up to %v", d, total)
		}
		if want := rungName(false, first); exchange != want {
			t.Errorf("%v: exchange %s, want %s", d, exchange, want)
		}
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	dial := func(context.Context) (*amqp.Connection, error) { return nil, errors.New("no server") }
	for name, opts := range map[string]Options{
		"priorities of quorum queues": {Topology: Topology{Priorities: true}},
		"one native name twice":       {Topology: Topology{QueueNames: map[string]string{"a": "n", "b": "n"}}},
		"empty native name":           {Topology: Topology{QueueNames: map[string]string{"a": " "}}},
		"name of dead jobs":           {Topology: Topology{QueueNames: map[string]string{"a": "b.dead"}}},
		"reserved native name":        {Topology: Topology{QueueNames: map[string]string{"a": "amq.x"}}},
		"long prefix":                 {Topology: Topology{Prefix: strings.Repeat("p", 200)}},
		"negative channels":           {Channels: -1},
		"negative confirm timeout":    {ConfirmTimeout: -1},
		"negative consumer timeout":   {ConsumerTimeout: -1},
	} {
		if _, err := New(dial, &opts); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := New(nil, nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil dial: %v", err)
	}
	var zero *Executor
	if err := zero.Execute(t.Context(), intent(t)); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil executor: %v", err)
	}
	var w *Worker
	if err := w.Run(t.Context()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("nil worker: %v", err)
	}
	if err := new(Worker).Run(t.Context()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("zero worker: %v", err)
	}
	if err := EnsureQueues(t.Context(), dial, nil, "Bad Name"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("bad queue: %v", err)
	}
}

func TestQueueWhoseNativeNameIsTakenIsRefused(t *testing.T) {
	t.Parallel()
	e, err := New(func(context.Context) (*amqp.Connection, error) { return nil, errors.New("no server") },
		&Options{Topology: Topology{QueueNames: map[string]string{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := core.Executor(e.Execute).Check(t.Context(), intent(t, core.Queue("b"))); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("Check: %v, want ErrInvalid", err)
	}
}

func TestServerThatIsAway(t *testing.T) {
	t.Parallel()
	e, err := New(func(context.Context) (*amqp.Connection, error) {
		return nil, errors.New("dial amqp://guest:secret@host/: refused")
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Execute(t.Context(), intent(t))
	if !errors.Is(err, core.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, want ErrUnavailable without the password", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Execute(t.Context(), intent(t)); !errors.Is(err, core.ErrClosed) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

func TestWorkerStopsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	reg, err := worker.NewRegistry(worker.Handle(testTask, func(context.Context, string) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{}, 1)
	w, err := NewWorker(func(context.Context) (*amqp.Connection, error) {
		select {
		case tried <- struct{}{}:
		default:
		}
		return nil, errors.New("no server")
	}, reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-tried; cancel() }()
	if err := w.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := w.Run(ctx); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("second Run: %v, want ErrInvalid", err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{"3.9.29": true, "3.10.8": false, "3.13.0": false, "4.1.0": false, "2.99": true, "?": false, "x.y.z": false} {
		if got := olderThan(version, 3, 10); got != old {
			t.Errorf("%q older than 3.10: %v, want %v", version, got, old)
		}
	}
}

func FuzzDeliveryOf(f *testing.F) {
	f.Add("a.b", `{"v":1,"max_attempts":3}`, int64(1), "x-delivery-count", "v")
	f.Add("", "{", int64(-1), envelopeHeader, "v")
	f.Add("a.b", `{"v":99}`, int64(1<<62), headersHeader, "\xff")
	f.Fuzz(func(t *testing.T, task, envelope string, attempts int64, key, value string) {
		for _, headers := range []amqp.Table{
			{envelopeHeader: envelope, attemptsHeader: attempts, key: value},
			{key: value, attemptsHeader: value, markHeader: attempts},
			{headersHeader: amqp.Table{key: value, "n": attempts}, envelopeHeader: envelope},
		} {
			m := &amqp.Delivery{Type: task, Headers: headers, Body: []byte(value)}
			d := deliveryOf(m, "default")
			if d.Attempt < 1 || d.MaxAttempts < 1 || d.ID == "" {
				t.Errorf("attempt %d of %d", d.Attempt, d.MaxAttempts)
			}
			if d.Task == "" && d.EnvelopeErr == nil {
				t.Error("a message without a task is a job")
			}
			p := copyOf(m, d.ID, d.Attempt)
			if again := attemptOf(received(p)); again != min(d.Attempt+1, 1<<31-1) {
				t.Errorf("the copy is attempt %d, want %d", again, d.Attempt+1)
			}
			if key != envelopeHeader && headers[envelopeHeader] != nil && p.Headers[envelopeHeader] != headers[envelopeHeader] {
				t.Error("the copy has another envelope")
			}
		}
	})
}
