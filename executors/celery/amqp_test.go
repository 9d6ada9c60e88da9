package celeryexec

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
)

var errNoDial = errors.New("no way to RabbitMQ")

func noDial(context.Context) (*amqp.Connection, error) { return nil, errNoDial }

func testAMQPExecutor(t testing.TB, opts *Options) *Executor {
	t.Helper()
	e, err := NewAMQP(noDial, opts) // NewAMQP does no I/O
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// recorded returns a message of Celery 5.2.6 on RabbitMQ: see record_amqp.py in
// integration/celery/testdata.
func recorded(t testing.TB, name string) *amqp.Delivery {
	t.Helper()
	raw, err := os.ReadFile("testdata/golden-amqp/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		RoutingKey string `json:"routing_key"`
		Headers    map[string]any
		Properties struct {
			ContentType     string `json:"content_type"`
			ContentEncoding string `json:"content_encoding"`
			DeliveryMode    uint8  `json:"delivery_mode"`
			Priority        uint8
			CorrelationID   string `json:"correlation_id"`
			ReplyTo         string `json:"reply_to"`
			Expiration      string
		}
		Body, Base64 string
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	d := &amqp.Delivery{
		RoutingKey: m.RoutingKey, Headers: asTable(m.Headers), Body: []byte(m.Body),
		ContentType: m.Properties.ContentType, ContentEncoding: m.Properties.ContentEncoding, DeliveryMode: m.Properties.DeliveryMode,
		Priority: m.Properties.Priority, CorrelationId: m.Properties.CorrelationID, ReplyTo: m.Properties.ReplyTo, Expiration: m.Properties.Expiration,
	}
	if m.Base64 != "" {
		if d.Body, err = base64.StdEncoding.DecodeString(m.Base64); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// asTable gives numbers the type that py-amqp writes.
func asTable(headers map[string]any) amqp.Table {
	table := amqp.Table{}
	for k, v := range headers {
		table[k] = asField(v)
	}
	return table
}

func asField(v any) any {
	switch v := v.(type) {
	case float64:
		return int32(v)
	case map[string]any:
		return asTable(v)
	case []any:
		for i := range v {
			v[i] = asField(v[i])
		}
	}
	return v
}

// A message of ours has the headers and the properties of Celery's own producer.
func TestAMQPMessageIsLikeCelerys(t *testing.T) {
	t.Parallel()
	e := testAMQPExecutor(t, nil)
	at := time.Date(2096, 1, 2, 15, 4, 5, 5001, time.UTC) // rounded up
	task := core.DeclareTask[json.RawMessage]("golden.task")
	for name, c := range map[string]struct {
		args string
		opts []core.Option
	}{
		"plain":   {`[17,"x"]`, nil},
		"one":     {`[{"a":[1]}]`, []core.Option{core.Header("Color", "red")}},
		"kwargs":  {`{"order":17,"to":"é世"}`, nil},
		"options": {`1`, []core.Option{core.Queue("mail"), core.At(at), core.Deadline(at.Add(time.Hour)), core.Timeout(29500 * time.Millisecond), core.Header("Color", "red")}},
	} {
		in, err := task.Intent(json.RawMessage(c.args), append(c.opts, core.ID("golden-"+name))...)
		if err != nil {
			t.Fatal(err)
		}
		got, want := e.toAMQP(&in), recorded(t, name)
		if got.Queue != want.RoutingKey {
			t.Errorf("%s: queue %q, want %q", name, got.Queue, want.RoutingKey)
		}
		if got.Pub.CorrelationId != want.CorrelationId || got.Pub.ContentType != want.ContentType || got.Pub.ContentEncoding != want.ContentEncoding ||
			got.Pub.DeliveryMode != want.DeliveryMode || got.Pub.Priority != want.Priority {
			t.Errorf("%s: properties of %+v, want those of %+v", name, got.Pub, want)
		}
		for _, key := range []string{"argsrepr", "kwargsrepr", "origin", "ignore_result", "number", formHeader} { // what is different on purpose
			delete(got.Pub.Headers, key)
			delete(want.Headers, key)
		}
		if name == "options" {
			want.Headers["eta"], want.Headers["expires"] = "2096-01-02T15:04:05.000006+00:00", "2096-01-02T16:04:05.000006+00:00"
			want.Headers["retries"], want.Headers["timelimit"] = int32(0), []any{nil, int64(30)} // we send the soft limit alone
		}
		if !reflect.DeepEqual(got.Pub.Headers, want.Headers) {
			t.Errorf("%s: headers\n%v, want\n%v", name, got.Pub.Headers, want.Headers)
		}
		var gotBody, wantBody any
		if err := errors.Join(json.Unmarshal(got.Pub.Body, &gotBody), json.Unmarshal(want.Body, &wantBody)); err != nil || !reflect.DeepEqual(gotBody, wantBody) {
			t.Errorf("%s: body %s, want %s", name, got.Pub.Body, want.Body)
		}
		if err := got.Pub.Headers.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMQPPriorities(t *testing.T) {
	t.Parallel()
	e := testAMQPExecutor(t, &Options{Priorities: true})
	for given, want := range map[int]uint8{0: 5, 1: 1, 10: 10} {
		var opts []core.Option
		if given > 0 {
			opts = append(opts, core.Priority(given))
		}
		in, err := testTask.Intent("x", opts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.toAMQP(&in).Pub.Priority; got != want {
			t.Errorf("priority %d is %d in the message, want %d", given, got, want)
		}
	}
}

func TestRefusedOnRabbitMQ(t *testing.T) {
	t.Parallel()
	with := func(opts ...core.Option) core.Intent {
		in, err := testTask.Intent("x", opts...)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	for name, c := range map[string]struct {
		opts Options
		in   core.Intent
		want string // "" for none
	}{
		"a header of RabbitMQ":    {Options{}, with(core.Header("CC", "x")), "RabbitMQ has a header"},
		"another one":             {Options{}, with(core.Header("x-death", "x")), "RabbitMQ has a header"},
		"a key of kombu on Redis": {Options{}, with(core.Queue("unacked")), ""},
		"priority":                {Options{}, with(core.Priority(3)), "Options.Priorities"},
		"too long a delay":        {Options{}, with(core.Delay(28 * time.Minute)), "delay"},
		"a delay":                 {Options{}, with(core.Delay(26 * time.Minute)), ""},
		"a delay by option":       {Options{AMQP: AMQPOptions{ConsumerTimeout: 2 * time.Hour}}, with(core.Delay(100 * time.Minute)), ""},
		"a timeout":               {Options{}, with(core.Timeout(time.Hour)), ""},
		"a timeout with acks":     {Options{AcksLate: true}, with(core.Timeout(time.Hour)), "timeout"},
		"a timeout and a delay":   {Options{AcksLate: true}, with(core.Timeout(15*time.Minute), core.Delay(13*time.Minute)), ""},
		"a delay with acks":       {Options{AcksLate: true}, with(core.Delay(14 * time.Minute)), "delay"},
		"a chosen ID":             {Options{}, with(core.ID("x")), "remembers no IDs"},
	} {
		err := core.Executor(testAMQPExecutor(t, &c.opts).Execute).Check(t.Context(), c.in)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

// What is for the other broker is refused, and not ignored.
func TestOptionsOfTheOtherBroker(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:1"})
	defer rdb.Close()
	_, onRedis := New(rdb, &Options{AMQP: AMQPOptions{ConsumerTimeout: time.Hour}})
	_, onRabbitMQ := NewAMQP(noDial, &Options{Redis: RedisOptions{KeyPrefix: "p:"}})
	_, negative := NewAMQP(noDial, &Options{AMQP: AMQPOptions{ConsumerTimeout: -1}})
	_, attempts := NewAMQP(noDial, &Options{Attempts: -1})
	_, noFunction := NewAMQP(nil, nil)
	_, reserved := NewAMQP(noDial, &Options{QueueNames: map[string]string{"mail": "amq.gen"}})
	_, dead := NewAMQP(noDial, &Options{QueueNames: map[string]string{"mail": "mail.dead"}})
	for what, err := range map[string]error{
		"AMQP for New": onRedis, "Redis for NewAMQP": onRabbitMQ, "a negative time": negative, "negative attempts": attempts, "no dial": noFunction,
		"a queue of RabbitMQ's": reserved, "a queue of dead jobs": dead,
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

func TestNoConnectionToRabbitMQ(t *testing.T) {
	t.Parallel()
	e := testAMQPExecutor(t, nil)
	in, err := testTask.Intent("x")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Execute": e.Execute(t.Context(), in), "CheckServer": e.CheckServer(t.Context(), "default")} {
		if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, errNoDial) {
			t.Errorf("%s: %v, want ErrUnavailable and the dial function's error", what, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Execute(t.Context(), in); !errors.Is(err, core.ErrClosed) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("after Close: %v, want ErrClosed and ErrNotSent", err)
	}
}
