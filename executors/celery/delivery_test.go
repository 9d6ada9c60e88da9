package celeryexec

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var testTask = core.DeclareTask[any]("test.task")

func testExecutor(t testing.TB, opts *Options) *Executor {
	t.Helper()
	e, err := New(redis.NewClient(&redis.Options{Addr: "localhost:1"}), opts) // New does no I/O
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testWorker(t testing.TB) *Worker {
	t.Helper()
	reg, err := worker.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorker(redis.NewClient(&redis.Options{Addr: "localhost:1"}), reg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// delivered is what a worker gets of a message.
func delivered(t testing.TB, w *Worker, raw []byte) (worker.Delivery, time.Time) {
	t.Helper()
	m, err := parseMessage(raw)
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return w.deliveryOf(m, "tag", "default", 1)
}

// recordedMessages are what Celery 5.2.6 has sent over either broker, by file, with the
// payload or the error that they have here: see record.py and record_amqp.py in
// integration/celery/testdata.
var recordedMessages = map[string]struct{ payload, err string }{
	"plain":      {payload: `[17, "x"]`},
	"one":        {payload: `{"a": [1]}`},
	"kwargs":     {payload: `{"order": 17, "to": "\u00e9\u4e16"}`},
	"none":       {payload: `null`},
	"options":    {payload: `1`},
	"priority":   {payload: `1`},
	"both":       {err: "positional and keyword"},
	"chain":      {err: "callbacks"},
	"pickle":     {err: "content-type"},
	"compressed": {err: "compressed"},
	"version1":   {err: "version 1"},
}

func TestMessagesOfPythonProducers(t *testing.T) {
	t.Parallel()
	w := testWorker(t)
	for name, want := range recordedMessages {
		raw, err := os.ReadFile("testdata/golden/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		d, due := delivered(t, w, bytes.TrimSpace(raw))
		if want.err != "" {
			if d.EnvelopeErr == nil || !strings.Contains(d.EnvelopeErr.Error(), want.err) {
				t.Errorf("%s: error %v, want %q in it", name, d.EnvelopeErr, want.err)
			}
			continue
		}
		if d.EnvelopeErr != nil || d.Task != "golden.task" || d.ID != "golden-"+name || string(d.Payload) != want.payload {
			t.Errorf("%s: %v with %s and error %v, want %s", name, d, d.Payload, d.EnvelopeErr, want.payload)
		}
		when := time.Date(2026, 1, 2, 15, 4, 5, 6000, time.UTC)
		switch {
		case name == "options":
			if !due.Equal(when) || !d.Deadline.Equal(when.Add(time.Hour)) || d.Timeout != 30*time.Second || d.Attempt != 3 {
				t.Errorf("due %v, deadline %v, time limit %v, attempt %d", due, d.Deadline, d.Timeout, d.Attempt)
			}
			if d.Headers.Len() != 1 || d.Headers.Get("Color") != "red" {
				t.Errorf("headers %v", d.Headers)
			}
		case !due.IsZero() || !d.Deadline.IsZero() || d.Timeout != 0 || d.Attempt != 1:
			t.Errorf("%s: due %v, deadline %v, time limit %v, attempt %d", name, due, d.Deadline, d.Timeout, d.Attempt)
		}
	}
}

func TestArgumentsComeBack(t *testing.T) {
	t.Parallel()
	e, w := testExecutor(t, nil), testWorker(t)
	for _, payload := range []string{
		`null`, `"x"`, `17`, `[]`, `[1]`, `[[1]]`, `[[1,2]]`, `["a,b"]`, `["\",",1]`, `{}`, `{"a":1}`, `[{}]`, `[null]`, `{"args":[],"kwargs":{}}`, `"[1,2]"`,
	} {
		in, err := testTask.Intent(json.RawMessage(payload))
		if err != nil {
			t.Fatal(err)
		}
		if d, _ := delivered(t, w, e.toNative(&in).data); d.EnvelopeErr != nil || string(d.Payload) != payload {
			t.Errorf("%s comes back as %s, error %v", payload, d.Payload, d.EnvelopeErr)
		}
	}
}

func TestOptionsInTheMessage(t *testing.T) {
	t.Parallel()
	e, w := testExecutor(t, &Options{Priorities: true}), testWorker(t)
	at := time.Now().Add(time.Minute)
	in, err := testTask.Intent("x", core.Queue("mail"), core.At(at), core.Deadline(at.Add(time.Nanosecond)), core.Timeout(1500*time.Millisecond),
		core.Priority(2), core.Header("Color", "red"), core.ID("order/17"))
	if err != nil {
		t.Fatal(err)
	}
	m := e.toNative(&in)
	if m.list != "mail\x06\x166" {
		t.Errorf("list %q", m.list)
	}
	d, due := delivered(t, w, m.data)
	if d.ID != "order/17" || d.Timeout != 2*time.Second || d.Headers.Get("Color") != "red" || d.Attempt != 1 {
		t.Errorf("%+v", d)
	}
	for what, c := range map[string]struct{ got, want time.Time }{"eta": {due, at}, "expires": {d.Deadline, at.Add(time.Nanosecond)}} {
		if late := c.got.Sub(c.want); late < 0 || late >= time.Microsecond || c.got.Nanosecond()%1000 != 0 {
			t.Errorf("%s is %v for %v", what, c.got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	e := testExecutor(t, nil)
	raw := func(payload string) core.Intent {
		in, err := testTask.Intent(json.RawMessage(payload))
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	with := func(opts ...core.Option) core.Intent {
		in, err := testTask.Intent("x", opts...)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	for name, c := range map[string]struct {
		in   core.Intent
		want string // "" for none
	}{
		"deep":                       {raw(strings.Repeat("[", 201) + strings.Repeat("]", 201)), "nested 201 deep"},
		"as deep as possible":        {raw(strings.Repeat("[", 200) + strings.Repeat("]", 200)), ""},
		"an infinite number":         {raw(`[1e400]`), "number"},
		"a number that becomes zero": {raw(`{"a":1e-400}`), "number"},
		"too many digits":            {raw(`0.1000000000000000055`), "number"},
		"a long integer":             {raw(`[123456789012345678901234567890,-0,"1e400"]`), ""},
		"floats":                     {raw(`[0.1,1e22,-2.50,0.0,0e9,1E+2,5e-324,1.7976931348623157e308]`), ""},
		"a header of Celery":         {with(core.Header("eta", "x")), "eta"},
		"a method of the request":    {with(core.Header("update", "x")), "update"},
		"another header":             {with(core.Header("Eta", "x")), ""},
		"a key of kombu":             {with(core.Queue("unacked")), "kombu has a key"},
		"the default queue":          {with(core.Queue("celery")), "celery"},
		"beyond the visibility":      {with(core.Delay(2 * time.Hour)), "delay"},
		"a chosen ID":                {with(core.ID("x")), "remembers no IDs"},
		"unique":                     {with(core.Unique("k")), "unique"},
		"attempts":                   {with(core.MaxAttempts(3)), "max_retries"},
		"backoff":                    {with(core.Backoff(core.Fixed(time.Second))), "retry_backoff"},
		"priority":                   {with(core.Priority(3)), "Options.Priorities"},
	} {
		err := core.Executor(e.Execute).Check(t.Context(), c.in)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

func TestCopiesKeepWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	m, err := parseMessage([]byte(`{"body":"e30=","content-type":"application/json","headers":{"task":"t","retries":1,"new":[1],"redelivered":true},"properties":{"delivery_tag":"a","x":{}},"y":1}`))
	if err != nil {
		t.Fatal(err)
	}
	got := string(m.copyWith("b", 3, time.Date(2026, 1, 2, 15, 4, 5, 1, time.UTC)))
	want := `{"body":"e30=","content-type":"application/json","headers":{"eta":"2026-01-02T15:04:05.000001+00:00","new":[1],"retries":3,"task":"t"},"properties":{"delivery_tag":"b","x":{}},"y":1}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(m.redelivered()); !strings.Contains(got, `"redelivered":true`) || !strings.Contains(got, `"y":1`) {
		t.Error(got)
	}
}

// A message of anybody is decoded or dead, and what a worker writes of it can be read.
func FuzzMessage(f *testing.F) {
	files, err := os.ReadDir("testdata/golden")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile("testdata/golden/" + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, raw := range []string{`{}`, `[]`, `null`, `{"headers":null,"properties":{}}`, `{"headers":{"task":1,"retries":-1,"eta":1},"properties":{}}`} {
		f.Add([]byte(raw))
	}
	w := testWorker(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMessage(raw)
		if err != nil {
			return
		}
		d, due := w.deliveryOf(m, "tag", "default", 1)
		if d.EnvelopeErr == nil && (d.Task == "" || d.Attempt < 1 || !json.Valid(d.Payload) || d.Timeout < 0) {
			t.Errorf("%+v with payload %q", d, d.Payload)
		}
		for _, again := range [][]byte{m.copyWith("b", 2, due), m.redelivered()} {
			c, err := parseMessage(again)
			if err != nil {
				t.Fatalf("the copy %q: %v", again, err)
			}
			e, _ := w.deliveryOf(c, "tag", "default", 1)
			if (e.EnvelopeErr == nil) != (d.EnvelopeErr == nil) && !isNull(m.headers, "retries") {
				continue // a bad count is replaced
			}
			if e.Task != d.Task || !bytes.Equal(e.Payload, d.Payload) || e.ID != d.ID {
				t.Errorf("the copy has %v with %q, want %v with %q", e, e.Payload, d, d.Payload)
			}
		}
	})
}

// What bodyOf makes of arguments, payloadOf gives back.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`null`, `[]`, `[1]`, `{}`, `{"a":"]"}`, `[",\"",[2]]`, ` [ ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if _, ok := depthOf(payload); !ok {
			return
		}
		body, form := bodyOf(payload)
		got, err := payloadOf(body, form)
		if err != nil || !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(payload)) {
			t.Errorf("%q comes back as %q, error %v, body %q", payload, got, err, body)
		}
	})
}
