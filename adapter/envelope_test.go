package adapter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var update = flag.Bool("update", false, "write the golden files of the current version")

const century = 100 * 365 * 24 * time.Hour

// deadline is far in the future.
var deadline = time.Date(2099, 1, 2, 15, 4, 5, 6, time.UTC)

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("%s: the stored form has changed:\ngot  %s\nwant %s", name, got, want)
	}
}

func sameEnvelope(a, b adapter.Envelope) bool {
	sameHeaders := maps.Equal(maps.Collect(a.Headers.All()), maps.Collect(b.Headers.All()))
	return sameHeaders && a.ID == b.ID && a.MaxAttempts == b.MaxAttempts && a.Backoff == b.Backoff && a.Timeout == b.Timeout && a.Deadline.Equal(b.Deadline) && a.Unique == b.Unique
}

func envelopes() map[string]adapter.Envelope {
	return map[string]adapter.Envelope{
		"empty":    {},
		"id":       {ID: "01890a5d-ac96-774b-bcce-b302099a8057"},
		"attempts": {ID: "a", MaxAttempts: math.MaxInt64},
		"full": {
			ID: `order/7:"paid"\`, MaxAttempts: 5, Backoff: core.Exponential(time.Second, time.Minute), Timeout: 1500 * time.Millisecond,
			Deadline: deadline, Unique: "ein \"Schlüssel\" \\ \u2028 <&>", Headers: core.NewHeaders(map[string]string{"A": "", "Traceparent": "00-\t\"x\"\\", "b": "\u007f\ufffd😀"}),
		},
		"longest": {Backoff: core.Fixed(century), Timeout: century, Unique: strings.Repeat("x", 255)},
		"least":   {Backoff: core.Fixed(1), Timeout: 1, Deadline: time.Unix(0, 1)},
	}
}

func TestEnvelopesStayReadable(t *testing.T) {
	t.Parallel()
	for name, e := range envelopes() {
		data := e.Encode()
		golden(t, "envelope_"+name+".json", data)
		if !json.Valid(data) || !utf8.Valid(data) || bytes.ContainsAny(data, "\r\n\x00") {
			t.Errorf("%s is not one line of JSON: %q", name, data)
		}
		stored, err := os.ReadFile(filepath.Join("testdata", "v1", "envelope_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := adapter.DecodeEnvelope(stored)
		if err != nil || !sameEnvelope(back, e) || back.Deadline.Location() != time.UTC {
			t.Errorf("%s: got %+v, %v", name, back, err)
		}
	}
	// What a later release of the same version may write.
	later, err := os.ReadFile(filepath.Join("testdata", "v1", "envelope_later.json"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := adapter.DecodeEnvelope(later)
	want := adapter.Envelope{ID: "a", Timeout: time.Minute, Deadline: deadline, Headers: core.NewHeaders(map[string]string{"k": "v"})}
	if err != nil || !sameEnvelope(back, want) || back.Deadline.Location() != time.UTC {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestEnvelopeIsJSONWhateverTheHeaders(t *testing.T) {
	t.Parallel()
	e := adapter.Envelope{Headers: core.NewHeaders(map[string]string{"a\xff": "b\xff\n\x00\x1f"})}
	back, err := adapter.DecodeEnvelope(e.Encode())
	if err != nil || back.Headers.Get("a\ufffd") != "b\ufffd\n\x00\x1f" {
		t.Errorf("got %s, %v", e.Encode(), err)
	}
}

func TestMalformedEnvelopesAreInvalid(t *testing.T) {
	t.Parallel()
	for data, names := range map[string]string{
		"": "malformed envelope", "null": "version 0", "{}": "version 0", "[]": "malformed", `"v"`: "malformed", `{"v":1`: "malformed", `{"v":1} {}`: "malformed",
		`{"v":2}`: "version 2", `{"v":-1}`: "version -1", `{"v":"1"}`: "malformed", `{"v":1.5}`: "malformed", `{"v":2,"timeout":7}`: "version 2", `{"v":2,"backoff":"x"}`: "version 2",
		`{"v":1,"id":"a b"}`: "ID", `{"v":1,"id":7}`: "malformed", `{"v":1,"max_attempts":-1}`: "max-attempts", `{"v":1,"max_attempts":9223372036854775808}`: "malformed",
		`{"v":1,"backoff":["1s"]}`: "1 parts", `{"v":1,"backoff":["1s","1s","1s"]}`: "3 parts", `{"v":1,"backoff":["2s","1s"]}`: "backoff", `{"v":1,"backoff":["0s","1s"]}`: "backoff",
		`{"v":1,"backoff":["` + canary + `","1s"]}`: "malformed", `{"v":1,"timeout":"-1s"}`: "timeout", `{"v":1,"timeout":"9999999h"}`: "malformed", `{"v":1,"timeout":"900000h"}`: "timeout",
		`{"v":1,"timeout":5}`: "malformed", `{"v":1,"deadline":"` + canary + `"}`: "malformed", `{"v":1,"deadline":"9999-01-01T00:00:00Z"}`: "deadline", `{"v":1,"deadline":"0002-01-01T00:00:00Z"}`: "deadline",
		`{"v":1,"unique":"a\nb"}`: "unique", `{"v":1,"headers":["` + canary + `"]}`: "malformed", `{"v":1,"headers":{"a":7}}`: "malformed",
		`{"timeout":"soon","v":2}`: "version 2", `{"timeout":"soon","v":1}`: "malformed",
	} {
		_, err := adapter.DecodeEnvelope([]byte(data))
		wantInvalid(t, err, names)
		if later := names == "version 2"; errors.Is(err, worker.ErrLaterVersion) != later {
			t.Errorf("%s: later is %v, want %v: %v", data, !later, later, err)
		}
	}
}

func TestALaterEnvelopeIsParked(t *testing.T) {
	t.Parallel()
	reg := must(worker.NewRegistry(worker.Handle(plain, func(context.Context, string) error { t.Error("called"); return nil })))(t)
	for data, want := range map[string]worker.Action{`{"v":2,"timeout":{}}`: worker.Parked, `{"v":0}`: worker.Dead, `{`: worker.Dead} {
		_, err := adapter.DecodeEnvelope([]byte(data))
		if v := reg.Perform(t.Context(), worker.Delivery{Task: "test.plain", EnvelopeErr: err, Attempt: 1}); v.Action != want || v.Err != err {
			t.Errorf("%s: got %v, want %v", data, v, want)
		}
	}
}

func TestEnvelopeOfHasWhatTheIntentHas(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent("", core.ID("a"), core.MaxAttempts(3), core.Backoff(core.Fixed(1)), core.Timeout(2), core.Deadline(deadline), core.Unique("u"), core.Header("A", "1"), core.Queue("mail")))(t)
	want := adapter.Envelope{
		ID: "a", MaxAttempts: 3, Backoff: core.Fixed(1), Timeout: 2, Deadline: deadline, Unique: "u", Headers: core.NewHeaders(map[string]string{"A": "1"}),
	}
	if got := adapter.EnvelopeOf(&in); !sameEnvelope(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestAppendJSONString(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "a\"b\\c", "\x00\x1f\n\t", "ä😀\u2028<&>", "\xff", "a\xffb\xc0\xaf"} {
		var back string
		got := adapter.AppendJSONString([]byte("x"), s)
		if err := json.Unmarshal(got[1:], &back); err != nil || got[0] != 'x' || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, e := range envelopes() {
		f.Add(e.Encode())
	}
	f.Add([]byte(`{"v":1,"Timeout":"0s","backoff":["0s","0s"],"headers":null,"x":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := adapter.DecodeEnvelope(data)
		if err != nil {
			return
		}
		back, err := adapter.DecodeEnvelope(e.Encode())
		if err != nil || !sameEnvelope(e, back) {
			t.Errorf("%+v came back as %+v, %v", e, back, err)
		}
		if !bytes.Equal(back.Encode(), e.Encode()) {
			t.Errorf("%s is encoded again as %s", e.Encode(), back.Encode())
		}
	})
}
