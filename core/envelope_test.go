package core_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/core"
)

var update = flag.Bool("update", false, "write the golden files of the current version")

func sameEnvelope(a, b core.Envelope) bool {
	sameHeaders := maps.Equal(maps.Collect(a.Headers.All()), maps.Collect(b.Headers.All()))
	return sameHeaders && a.ID == b.ID && a.MaxAttempts == b.MaxAttempts && a.Backoff == b.Backoff && a.Timeout == b.Timeout && a.Deadline.Equal(b.Deadline) && a.Unique == b.Unique
}

func sameIntent(a, b core.Intent) bool {
	return a.Task == b.Task && a.ChosenID() == b.ChosenID() && a.Options == b.Options && bytes.Equal(a.Payload(), b.Payload()) && sameEnvelope(a.Envelope(), b.Envelope())
}

// deadline is in the far future: an intent may be made with it for long.
var deadline = time.Date(2099, 1, 2, 15, 4, 5, 6, time.UTC)

func envelopes() map[string]core.Envelope {
	return map[string]core.Envelope{
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
		t.Errorf("%s: the wire has changed:\ngot  %s\nwant %s", name, got, want)
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
		back, err := core.DecodeEnvelope(stored)
		if err != nil || !sameEnvelope(back, e) || back.Deadline.Location() != time.UTC {
			t.Errorf("%s: got %+v, %v", name, back, err)
		}
	}
	// What a later release of the same version may write.
	later, err := os.ReadFile(filepath.Join("testdata", "v1", "envelope_later.json"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := core.DecodeEnvelope(later)
	want := core.Envelope{ID: "a", Timeout: time.Minute, Deadline: deadline, Headers: core.NewHeaders(map[string]string{"k": "v"})}
	if err != nil || !sameEnvelope(back, want) || back.Deadline.Location() != time.UTC {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestEnvelopeIsJSONWhateverTheHeaders(t *testing.T) {
	t.Parallel()
	e := core.Envelope{Headers: core.NewHeaders(map[string]string{"a\xff": "b\xff\n\x00\x1f"})}
	back, err := core.DecodeEnvelope(e.Encode())
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
	} {
		_, err := core.DecodeEnvelope([]byte(data))
		wantInvalid(t, err, names)
	}
}

func wholeIntents(t testing.TB) map[string]core.Intent {
	t.Helper()
	raw := core.DeclareTask[[]byte]("bytes.raw").Codec(core.Raw)
	return map[string]core.Intent{
		"plain": must(core.DeclareTask[map[string]int]("order.paid").Intent(map[string]int{"order": 7}, core.ID("order-7")))(t),
		"empty": must(raw.Intent(nil, core.ID("empty")))(t),
		"bytes": must(raw.Intent([]byte{0, 0xff, '"', '\n'}, core.ID("bytes")))(t),
		"full": must(core.DeclareTask[string]("email/send:v2").Intent("<ä>", core.ID("full"), core.Queue("mail"), core.Priority(10), core.At(deadline.Add(-time.Hour)), core.MaxAttempts(5),
			core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(1500*time.Millisecond), core.Deadline(deadline), core.Unique("ein \"Schlüssel\" <&>"),
			core.Header("Traceparent", "00-\"x\"<>"), core.Header("a", "")))(t),
		"generated": must(core.DeclareTask[int]("order.count").Intent(1, core.ID("01890a5d-ac96-774b-bcce-b302099a8057")))(t).Without(core.OptionID),
	}
}

func TestWholeIntentsStayReadable(t *testing.T) {
	t.Parallel()
	for name, in := range wholeIntents(t) {
		data, err := core.EncodeIntent(in)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "intent_"+name+".json", data)
		stored, err := os.ReadFile(filepath.Join("testdata", "v1", "intent_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := core.DecodeIntent(stored)
		if err != nil || !sameIntent(in, back) || back.Payload() == nil {
			t.Errorf("%s: got %v %+v, %v", name, back, back.Options, err)
		}
	}
	later, err := os.ReadFile(filepath.Join("testdata", "v1", "intent_later.json"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := core.DecodeIntent(later)
	if err != nil || back.ID != "a" || back.Task != "order.paid" || string(back.Payload()) != `{"order":7}` || !back.ChosenID() || back.Options.Queue != "mail" {
		t.Errorf("got %v, %v", back, err)
	}
}

func TestAnIntentPastItsDeadlineIsDecoded(t *testing.T) {
	t.Parallel()
	in, err := core.DecodeIntent([]byte(`{"v":1,"id":"a","task":"test.plain","deadline":"2001-01-01T00:00:00+01:00","at":"2000-01-01T00:00:00+01:00","payload":"MQ=="}`))
	if err != nil || in.Options.Deadline != time.Date(2000, 12, 31, 23, 0, 0, 0, time.UTC) || in.Options.At != time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC) {
		t.Errorf("got %+v, %v", in.Options, err)
	}
}

func TestIntentsAreEncodedInUTC(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(""))(t)
	in.Options.At = deadline.In(time.FixedZone("odd", 25*3600+1))
	in.Options.Deadline = in.Options.At.Add(1)
	back, err := core.DecodeIntent(must(core.EncodeIntent(in))(t))
	if err != nil || back.Options.At != deadline || back.Options.Deadline != deadline.Add(1) {
		t.Errorf("got %+v, %v", back.Options, err)
	}
}

func TestMalformedIntentsAreInvalid(t *testing.T) {
	t.Parallel()
	long := `"A":"` + strings.Repeat("x", 20<<10) + `"`
	for data, names := range map[string]string{
		"": "malformed intent", "{}": "version 0", `{"v":2,"task":7}`: "intent of version 2", `{"v":1}`: "zero Intent", `{"v":1,"id":"a"}`: "task name", `{"v":1,"task":"a.b"}`: "ID", `{"v":1,"id":"a","task":"a b"}`: "task name",
		`{"v":1,"id":"a b","task":"a.b"}`: "ID", `{"v":1,"id":"a","task":"a.b","queue":"A"}`: "queue", `{"v":1,"id":"a","task":"a.b","priority":11}`: "priority",
		`{"v":1,"id":"a","task":"a.b","at":"9999-01-01T00:00:00Z"}`: "delay", `{"v":1,"id":"a","task":"a.b","at":"` + canary + `"}`: "malformed",
		`{"v":1,"id":"a","task":"a.b","payload":"` + canary + `!"}`: "malformed", `{"v":1,"id":"a","task":"a.b","max_attempts":-1}`: "max-attempts",
		`{"v":1,"id":"a","task":"a.b","headers":{"Airlock-X":"` + canary + `"}}`: "header key", `{"v":1,"id":"a","task":"a.b","headers":{"":"` + canary + `"}}`: "header key",
		`{"v":1,"id":"a","task":"a.b","headers":{"X":"` + canary + `\n"}}`: "header", `{"v":1,"id":"a","task":"a.b","headers":{` + long + `,` + strings.Replace(long, "A", "B", 1) + `}}`: "headers of 40962 bytes",
	} {
		_, err := core.DecodeIntent([]byte(data))
		wantInvalid(t, err, names)
	}
	_, err := core.EncodeIntent(core.Intent{})
	wantInvalid(t, err, "zero Intent")
	_, err = core.EncodeIntent(must(plain.Intent(canary, core.NativeOption("nats", 1)))(t))
	wantInvalid(t, err, "test.plain", "native")
}

func FuzzEnvelope(f *testing.F) {
	for _, e := range envelopes() {
		f.Add(e.Encode())
	}
	f.Add([]byte(`{"v":1,"Timeout":"0s","backoff":["0s","0s"],"headers":null,"x":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := core.DecodeEnvelope(data)
		if err != nil {
			return
		}
		back, err := core.DecodeEnvelope(e.Encode())
		if err != nil || !sameEnvelope(e, back) {
			t.Errorf("%+v came back as %+v, %v", e, back, err)
		}
		if !bytes.Equal(back.Encode(), e.Encode()) {
			t.Errorf("%s is encoded again as %s", e.Encode(), back.Encode())
		}
	})
}

func FuzzIntent(f *testing.F) {
	for _, in := range wholeIntents(f) {
		f.Add(must(core.EncodeIntent(in))(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := core.DecodeIntent(data)
		if err != nil {
			return
		}
		if err := in.Validate(); err != nil {
			t.Fatalf("decoded, but not valid: %v", err)
		}
		again, err := core.EncodeIntent(in)
		if err != nil {
			t.Fatal(err)
		}
		back, err := core.DecodeIntent(again)
		if err != nil || !sameIntent(in, back) {
			t.Errorf("%s came back as %+v, %v", again, back.Options, err)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add("text", `\ufffd`, []byte{0xff}, int64(1)<<53+1, 0.1, `{"a":[1e400,-0,"\u2028"]}`)
	f.Add("\xff", "\ufffd", []byte(nil), int64(math.MinInt64), math.Inf(1), `"\ufffd"`)
	f.Fuzz(func(t *testing.T, text, key string, raw []byte, n int64, x float64, doc string) {
		type args struct {
			Text string
			Map  map[string]any
			Raw  []byte
			N    int64
			X    float64
			Doc  json.RawMessage
		}
		in := args{Text: text, Map: map[string]any{key: text}, Raw: raw, N: n, X: x, Doc: json.RawMessage(doc)}
		payload, err := core.JSON.Encode(in)
		good := utf8.ValidString(text) && utf8.ValidString(key) && utf8.ValidString(doc) && !math.IsNaN(x) && !math.IsInf(x, 0) && json.Valid([]byte(doc))
		if doc == "" {
			return
		}
		if good != (err == nil) {
			t.Fatalf("%+v: %v", in, err)
		}
		if err != nil {
			return
		}
		var out args
		if err := core.JSON.Decode(payload, &out); err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, in.Doc); err != nil {
			t.Fatal(err)
		}
		if out.Text != in.Text || len(out.Map) != 1 || out.Map[key] != text || !bytes.Equal(out.Raw, raw) || out.N != n || out.X != x || math.Signbit(out.X) != math.Signbit(x) || compact.String() != string(out.Doc) {
			t.Errorf("%+v came back as %+v", in, out)
		}
	})
}
