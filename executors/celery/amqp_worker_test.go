package celeryexec

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
	"github.com/goairlock/airlock/worker"
)

func testRabbitWorker(t testing.TB) *rabbitWorker {
	t.Helper()
	reg, err := worker.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewAMQPWorker(noDial, reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.rabbit
}

func (w *rabbitWorker) testJob(d *amqp.Delivery) *rabbitJob {
	return w.newRabbitJob(d, &rabbitQueue{source: source{"default", "celery"}})
}

// asDelivery is a published message as a worker gets it.
func asDelivery(p amqplink.Message) *amqp.Delivery {
	return &amqp.Delivery{
		RoutingKey: p.Queue, Headers: p.Pub.Headers, Body: p.Pub.Body, ContentType: p.Pub.ContentType, ContentEncoding: p.Pub.ContentEncoding,
		CorrelationId: p.Pub.CorrelationId, Priority: p.Pub.Priority, DeliveryMode: p.Pub.DeliveryMode,
	}
}

func TestMessagesOfPythonProducersOnRabbitMQ(t *testing.T) {
	t.Parallel()
	w := testRabbitWorker(t)
	for name, want := range recordedMessages {
		j := w.testJob(recorded(t, name))
		d := j.delivery
		if want.err != "" {
			if d.EnvelopeErr == nil || !strings.Contains(d.EnvelopeErr.Error(), want.err) {
				t.Errorf("%s: error %v, want %q in it", name, d.EnvelopeErr, want.err)
			}
			continue
		}
		if d.EnvelopeErr != nil || d.Task != "golden.task" || d.ID != "golden-"+name || string(d.Payload) != want.payload || d.Native != j.current {
			t.Errorf("%s: %v with %s and error %v, want %s", name, d, d.Payload, d.EnvelopeErr, want.payload)
		}
		when := time.Date(2026, 1, 2, 15, 4, 5, 6000, time.UTC)
		switch {
		case name == "options":
			if !j.due.Equal(when) || !d.Deadline.Equal(when.Add(time.Hour)) || d.Timeout != 30*time.Second || d.Attempt != 3 {
				t.Errorf("due %v, deadline %v, time limit %v, attempt %d", j.due, d.Deadline, d.Timeout, d.Attempt)
			}
			if d.Headers.Len() != 1 || d.Headers.Get("Color") != "red" {
				t.Errorf("headers %v", d.Headers)
			}
		case !j.due.IsZero() || !d.Deadline.IsZero() || d.Timeout != 0 || d.Attempt != 1:
			t.Errorf("%s: due %v, deadline %v, time limit %v, attempt %d", name, j.due, d.Deadline, d.Timeout, d.Attempt)
		}
	}
}

func TestOptionsComeBackOnRabbitMQ(t *testing.T) {
	t.Parallel()
	e, w := testAMQPExecutor(t, nil), testRabbitWorker(t)
	at := time.Now().Add(time.Minute)
	for _, payload := range []string{`null`, `"x"`, `[]`, `[[1]]`, `{}`, `{"a":1}`, `[{}]`} {
		in, err := testTask.Intent(json.RawMessage(payload), core.At(at), core.Deadline(at.Add(time.Hour)), core.Timeout(1500*time.Millisecond), core.Header("Color", "red"))
		if err != nil {
			t.Fatal(err)
		}
		j := w.testJob(asDelivery(e.toAMQP(&in)))
		d := j.delivery
		if d.EnvelopeErr != nil || string(d.Payload) != payload || d.ID != in.ID || d.Timeout != 2*time.Second || d.Headers.Get("Color") != "red" || d.Attempt != 1 {
			t.Errorf("%s comes back as %v with %s, error %v", payload, d, d.Payload, d.EnvelopeErr)
		}
		if late := j.due.Sub(at); late < 0 || late >= time.Microsecond {
			t.Errorf("due %v for %v", j.due, at)
		}
	}
}

func TestCopiesOnRabbitMQ(t *testing.T) {
	t.Parallel()
	w := testRabbitWorker(t)
	d := recorded(t, "options")
	maps.Copy(d.Headers, amqp.Table{"x-death": int64(1), "CC": []any{"other"}, "redelivered": true})
	j := w.testJob(d) // its third attempt
	soon := time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		v       worker.Verdict
		queue   string
		retries any
		later   bool
	}{
		"retry":       {worker.Verdict{Action: worker.Retry, After: time.Minute}, "celery", int64(3), true},
		"snooze":      {worker.Verdict{Action: worker.Snoozed, After: time.Minute}, "celery", int64(2), true},
		"park":        {worker.Verdict{Action: worker.Parked, After: time.Minute}, "celery", int64(2), true},
		"interrupted": {worker.Verdict{Action: worker.Interrupted}, "celery", int64(2), false},
		"dead":        {worker.Verdict{Action: worker.Dead, Err: errors.New("no")}, "celery.dead", int32(2), false},
	} {
		m, again := j.copyFor(c.v, d)
		if !again || m.Queue != c.queue || m.Pub.Headers["retries"] != c.retries {
			t.Errorf("%s: %v for %q with retries %v", name, again, m.Queue, m.Pub.Headers["retries"])
		}
		for _, gone := range []string{"x-death", "CC", "redelivered"} {
			if _, ok := m.Pub.Headers[gone]; ok {
				t.Errorf("%s: the copy has the header %s", name, gone)
			}
		}
		if m.Pub.Headers["number"] != int32(5) || m.Pub.DeliveryMode != amqp.Persistent || m.Pub.ReplyTo != d.ReplyTo || string(m.Pub.Body) != string(d.Body) {
			t.Errorf("%s: the copy is %+v", name, m.Pub)
		}
		if m.Pub.Headers.Validate() != nil {
			t.Errorf("%s: headers %v", name, m.Pub.Headers)
		}
		again2 := w.testJob(asDelivery(m))
		if c.later != again2.due.After(soon.Add(-time.Second)) || again2.delivery.ID != j.delivery.ID {
			t.Errorf("%s: the copy is %v, due %v", name, again2.delivery, again2.due)
		}
		reason, isDead := m.Pub.Headers[deadHeader].(amqp.Table)
		if isDead != (name == "dead") || isDead && (reason["reason"] != "no" || reason["attempt"] != int64(3) || m.Pub.Expiration != "") {
			t.Errorf("%s: header %v, expiration %q", name, m.Pub.Headers[deadHeader], m.Pub.Expiration)
		}
	}
	if _, again := j.copyFor(worker.Verdict{Action: worker.Done}, d); again {
		t.Error("a job that is done has a copy")
	}
}

// Messages without an ID are different jobs, and keep the ID that they get.
func TestMessageWithoutID(t *testing.T) {
	t.Parallel()
	w := testRabbitWorker(t)
	d := &amqp.Delivery{Headers: amqp.Table{"task": "t"}, ContentType: "application/json", Body: []byte(`[[1],{},{}]`)}
	a, b := w.testJob(d), w.testJob(d)
	if a.delivery.ID == "" || a.delivery.ID == b.delivery.ID || a.delivery.EnvelopeErr != nil {
		t.Errorf("%v and %v", a.delivery, b.delivery)
	}
	m, _ := a.copyFor(worker.Verdict{Action: worker.Retry, After: time.Second}, d)
	if c := w.testJob(asDelivery(m)); c.delivery.ID != a.delivery.ID || c.delivery.Attempt != 2 {
		t.Errorf("the copy is %v, want %v", c.delivery, a.delivery)
	}
}

func TestWorkerOptionsOfTheOtherBroker(t *testing.T) {
	t.Parallel()
	reg, err := worker.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:1"})
	defer rdb.Close()
	_, onRedis := NewWorker(rdb, reg, &WorkerOptions{AMQP: AMQPOptions{ConsumerTimeout: time.Hour}})
	_, onRabbitMQ := NewAMQPWorker(noDial, reg, &WorkerOptions{Redis: RedisOptions{KeyPrefix: "p:"}})
	_, poll := NewAMQPWorker(noDial, reg, &WorkerOptions{PollInterval: time.Second})
	_, many := NewAMQPWorker(noDial, reg, &WorkerOptions{Concurrency: 60_000})
	_, reserved := NewAMQPWorker(noDial, reg, &WorkerOptions{QueueNames: map[string]string{"default": "amq.x"}})
	_, noFunction := NewAMQPWorker(nil, reg, nil)
	_, noRegistry := NewAMQPWorker(noDial, nil, nil)
	for what, err := range map[string]error{
		"AMQP for NewWorker": onRedis, "Redis for NewAMQPWorker": onRabbitMQ, "PollInterval": poll, "too many slots": many,
		"a queue of RabbitMQ's": reserved, "no dial": noFunction, "no registry": noRegistry,
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

// A message of anybody on RabbitMQ is decoded or dead, and what a worker publishes of it
// can be read.
func FuzzAMQPMessage(f *testing.F) {
	files, err := os.ReadDir("testdata/golden-amqp")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		d := recorded(f, strings.TrimSuffix(file.Name(), ".json"))
		headers, err := json.Marshal(d.Headers)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(headers, d.Body, d.ContentType, d.ContentEncoding, d.CorrelationId)
	}
	f.Add([]byte(`{"task":1,"retries":-1,"eta":1,"timelimit":[1e300]}`), []byte("\xff"), "application/json", "", "")
	f.Add([]byte(`{}`), []byte("0"), "0", "0", "\xff")
	w := testRabbitWorker(f)
	f.Fuzz(func(t *testing.T, rawHeaders, body []byte, contentType, contentEncoding, correlation string) {
		var headers map[string]any
		if json.Unmarshal(rawHeaders, &headers) != nil {
			return
		}
		table := asTable(headers)
		table["nan"], table["at"], table["bytes"] = math.NaN(), time.Unix(1, 0), []byte("\xff") // what AMQP has and JSON has not
		d := &amqp.Delivery{Headers: table, Body: body, ContentType: contentType, ContentEncoding: contentEncoding, CorrelationId: correlation}
		j := w.testJob(d)
		got := j.delivery
		if got.ID == "" || got.EnvelopeErr == nil && (got.Task == "" || got.Attempt < 1 || !json.Valid(got.Payload) || got.Timeout < 0) {
			t.Errorf("%+v with payload %q", got, got.Payload)
		}
		m, _ := j.copyFor(worker.Verdict{Action: worker.Retry, After: time.Second}, d)
		again := w.testJob(asDelivery(m)).delivery
		if again.ID != got.ID || again.Task != got.Task && got.Task != "" || got.EnvelopeErr == nil && (again.EnvelopeErr != nil || string(again.Payload) != string(got.Payload) || again.Attempt != got.Attempt+1) {
			t.Errorf("the copy is %v with %q, error %v; want %v with %q", again, again.Payload, again.EnvelopeErr, got, got.Payload)
		}
	})
}
