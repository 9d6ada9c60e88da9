package workexec

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
)

var raw = core.DeclareTask[[]byte]("test.raw").Codec(core.Raw)

func intent(t *testing.T, payload string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := raw.Intent([]byte(payload), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// What travels is read by releases to come.
func TestTheMessageOnTheWire(t *testing.T) {
	t.Parallel()
	now, at := time.Unix(1_800_000_000, 999), time.Date(2100, 1, 2, 15, 4, 5, 6, time.UTC)
	all := []core.Option{
		core.ID("x"), core.Deadline(at), core.Backoff(core.Exponential(time.Second, time.Minute)), core.Timeout(time.Second / 2),
		core.Header("Trace", `"1"`), core.MaxAttempts(3), core.Unique("k"), core.Queue("mail"), core.Delay(time.Hour),
	}
	envelope := `"airlock":"{\"v\":1,\"max_attempts\":3,\"backoff\":[\"1s\",\"1m0s\"],\"timeout\":\"500ms\",` +
		`\"deadline\":\"2100-01-02T15:04:05.000000006Z\",\"unique\":\"k\",\"headers\":{\"Trace\":\"\\\"1\\\"\"}}"`
	least := `"airlock":"{\"v\":1,\"max_attempts\":25}"`
	none := []core.Option{core.ID("x")}
	for name, tc := range map[string]struct {
		payload string
		plain   bool
		opts    []core.Option
		args    string
	}{
		"exact":                    {`{"a": [1]}`, false, none, `{` + least + `,"airlock_payload":"{\"a\": [1]}"}`},
		"bytes":                    {"\xff\x00", false, none, `{` + least + `,"airlock_base64":"/wA="}`},
		"all options":              {`1`, false, all, `{` + envelope + `,"airlock_payload":"1"}`},
		"plain":                    {` {"a": [1]} `, true, none, `{` + least + `,"a": [1]}`},
		"plain, all options":       {`{"a":1}`, true, all, `{` + envelope + `,"a":1}`},
		"plain, nothing":           {`{ }`, true, none, `{` + least + `}`},
		"plain, but no object":     {`[1]`, true, none, `{` + least + `,"airlock_payload":"[1]"}`},
		"plain, but not even JSON": {`{`, true, none, `{` + least + `,"airlock_payload":"{"}`},
	} {
		in := intent(t, tc.payload, tc.opts...)
		want := `{"name":"test.raw!high","id":"x","t":1800000000,"args":` + tc.args + `}`
		if got := string(appendMessage(nil, &in, "test.raw!high", now, tc.plain)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestTheMessageIsWhatTheLibraryWouldEncode(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.IntN(256) >> r.IntN(3))
		}
		text := strings.ToValidUTF8(string(b), "\u2028<&>\u00e9\U0001f44b")
		in := intent(t, text, core.ID(`id"\`), core.Header("H", strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(text)))
		job := work.Job{Name: "test.raw", ID: in.ID, EnqueuedAt: 1_800_000_000, Args: map[string]any{
			payloadKey: text, envelopeKey: string(envelopeOf(&in).Encode()),
		}}
		theirs, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		ours := appendMessage(nil, &in, "test.raw", time.Unix(1_800_000_000, 0), false)
		var a, b2 any
		if json.Unmarshal(theirs, &a) != nil || json.Unmarshal(ours, &b2) != nil || !reflect.DeepEqual(a, b2) || !utf8.Valid(ours) {
			t.Fatalf("payload %q:\n got %s\nwant %s", text, ours, theirs)
		}
		var back work.Job
		if err := json.Unmarshal(ours, &back); err != nil || !reflect.DeepEqual(back, job) {
			t.Fatalf("payload %q: %v: the library reads %+v", text, err, back)
		}
	}
}

func TestPayloadsComeBack(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`{"name":"n","args":{"airlock_payload":"{\"a\": [1]}"}}`:                   `{"a": [1]}`,
		`{"name":"n","args":{"airlock_base64":"/wA="}}`:                            "\xff\x00",
		`{"name":"n","args":{"z":9007199254740993,"a":{}}}`:                        `{"a":{},"z":9007199254740992}`,
		`{"name":"n","args":{"airlock":"{\"v\":1}","b":"<","a":[{"x":"\u00e9"}]}}`: `{"a":[{"x":"é"}],"b":"\u003c"}`,
		`{"name":"n","args":{"airlock":"{\"v\":1}"}}`:                              `{}`,
		`{"name":"n","args":null}`:                                                 `null`,
	} {
		var job work.Job
		if err := json.Unmarshal([]byte(message), &job); err != nil {
			t.Fatal(err)
		}
		if got, err := Payload(&job); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", message, got, err)
		}
	}
	if got := object(map[string]json.RawMessage{"b": json.RawMessage(`"<"`), "a\n": json.RawMessage(`1`)}); string(got) != `{"a\u000a":1,"b":"<"}` {
		t.Errorf("%s", got)
	}
}

func TestPlainArgumentsThatWouldBeDamagedAreRefused(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) + "}" }
	for payload, damage := range map[string]string{
		`{}`: "", `{"a": -12345678901234, "b" :[1 , 2.5e-7, {"c":null}], "c":true,"d":false, "e":"\ud83d\udc4b \u00e9\\u", "":""}`: "",
		`[9007199254740993]`: "", `"\ud800"`: "", `not JSON`: "", `{`: "", // no objects, and so not plain
		`{"a":1e300,"b":-0,"c":0.00,"d":0e999,"e":12345678901234000000}`: "",
		`{"a":9007199254740993}`:       "14 digits, at byte 5",
		`{"a":[0.123456789012345]}`:    "14 digits, at byte 6",
		`{"a":1e301}`:                  "beyond 1e±300",
		`{"a":1e99999999999999999999}`: "beyond 1e±300",
		`{"a":1e-301}`:                 "beyond 1e±300",
		`{"a": [ ] }`:                  "empty array, at byte 6",
		`{"a":{"b":[[]]}}`:             "empty array",
		`{"a":"\ud800"}`:               "surrogate",
		`{"a":"\ud800\u0061"}`:         "surrogate",
		`{"a":"\\\udc00"}`:             "surrogate",
		`{"\udc00":1}`:                 "surrogate",
		"{\"a\":\"\xff\"}":             "UTF-8",
		`{"a":1,"\u0061":2}`:           "twice, at byte 7",
		`{"airlock":1}`:                "reserved key airlock",
		`{"x":{"airlock":1}}`:          "",
		`{"airlock_payload":1}`:        "reserved key airlock_payload",
		deep(plainDepth - 2):           "",
		deep(plainDepth):               "nesting",
	} {
		err := refuseDamaged(intent(t, payload))
		if (err == nil) != (damage == "") || err != nil && !strings.Contains(err.Error(), damage) {
			t.Errorf("%.60s: %v, want %q", payload, err, damage)
		}
	}
}
