package core_test

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
)

var update = flag.Bool("update", false, "write the golden files of the current version")

var (
	_ json.Marshaler             = core.Intent{}
	_ json.Unmarshaler           = (*core.Intent)(nil)
	_ encoding.BinaryMarshaler   = core.Intent{}
	_ encoding.BinaryUnmarshaler = (*core.Intent)(nil)
)

func sameIntent(a, b core.Intent) bool {
	return a.ID == b.ID && a.Task == b.Task && a.ChosenID() == b.ChosenID() && a.Options == b.Options && bytes.Equal(a.Payload(), b.Payload()) &&
		maps.Equal(maps.Collect(a.Headers().All()), maps.Collect(b.Headers().All()))
}

func decodeIntent(data []byte) (core.Intent, error) {
	var in core.Intent
	err := in.UnmarshalJSON(data)
	return in, err
}

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
		data, err := in.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "intent_"+name+".json", data)
		stored, err := os.ReadFile(filepath.Join("testdata", "v1", "intent_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeIntent(stored)
		if err != nil || !sameIntent(in, back) || back.Payload() == nil {
			t.Errorf("%s: got %v %+v, %v", name, back, back.Options, err)
		}
	}
	later, err := os.ReadFile(filepath.Join("testdata", "v1", "intent_later.json"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeIntent(later)
	if err != nil || back.ID != "a" || back.Task != "order.paid" || string(back.Payload()) != `{"order":7}` || !back.ChosenID() || back.Options.Queue != "mail" {
		t.Errorf("got %v, %v", back, err)
	}
}

func TestAnIntentPastItsDeadlineIsDecoded(t *testing.T) {
	t.Parallel()
	in, err := decodeIntent([]byte(`{"v":1,"id":"a","task":"test.plain","deadline":"2001-01-01T00:00:00+01:00","at":"2000-01-01T00:00:00+01:00","payload":"MQ=="}`))
	if err != nil || in.Options.Deadline != time.Date(2000, 12, 31, 23, 0, 0, 0, time.UTC) || in.Options.At != time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC) {
		t.Errorf("got %+v, %v", in.Options, err)
	}
}

func TestIntentsAreEncodedInUTC(t *testing.T) {
	t.Parallel()
	in := must(plain.Intent(""))(t)
	in.Options.At = deadline.In(time.FixedZone("odd", 25*3600+1))
	in.Options.Deadline = in.Options.At.Add(1)
	back, err := decodeIntent(must(in.MarshalJSON())(t))
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
		was := must(plain.Intent("before", core.ID("before"), core.Queue("mail"), core.Header("A", "1")))(t)
		in := was
		err := in.UnmarshalJSON([]byte(data))
		wantInvalid(t, err, names)
		if !sameIntent(in, was) {
			t.Errorf("%s changed the intent to %v", data, in)
		}
		if data != "" {
			wantInvalid(t, in.UnmarshalBinary([]byte(data)), names)
		}
		if !sameIntent(in, was) {
			t.Errorf("%s changed the intent to %v", data, in)
		}
	}
}

func TestIntentsThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	native := must(plain.Intent(canary, core.NativeOption("nats", 1)))(t)
	bad := must(plain.Intent(canary))(t)
	bad.Options.Priority = 11
	noName := must(plain.Intent(canary, core.Queue("mail")))(t)
	noName.Task = ""
	blank := must(plain.Intent(canary))(t) // not the zero Intent: it has a payload
	blank.ID, blank.Task = "", ""
	for name, in := range map[string]core.Intent{"native": native, "priority": bad, "task name": noName, "zero Intent": blank} {
		_, err := in.MarshalJSON()
		wantInvalid(t, err, name)
		_, err = in.MarshalBinary()
		wantInvalid(t, err, name)
		if _, err := json.Marshal(in); !errors.Is(err, core.ErrInvalid) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: json.Marshal returned %v", name, err)
		}
		if err := gob.NewEncoder(io.Discard).Encode(in); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: gob returned %v", name, err)
		}
	}
}

// manyIntents are those of wholeIntents and more, including the zero Intent.
func manyIntents(t testing.TB) map[string]core.Intent {
	t.Helper()
	all := wholeIntents(t)
	all["zero"] = core.Intent{}
	all["new ID"] = must(plain.Intent("x", core.Delay(time.Hour)))(t)
	all["derived"] = must(plain.Intent("x"))(t).DeriveID("parent", 3)
	all["of NewTask"] = must(core.NewTask("test.new", nop).Intent("x"))(t)
	for name, in := range oneOf(t) {
		all["only "+string(name)] = in
	}
	delete(all, "only "+string(core.OptionNative))
	return all
}

func TestIntentsSurviveJSONAndGob(t *testing.T) {
	t.Parallel()
	type job struct {
		Name string
		In   core.Intent
		Ptr  *core.Intent
		List []core.Intent
		Map  map[string]core.Intent
	}
	throughJSON := func(from, to any) error {
		data, err := json.Marshal(from)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, to)
	}
	throughGob := func(from, to any) error {
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(from); err != nil {
			return err
		}
		return gob.NewDecoder(&b).Decode(to)
	}
	for name, in := range manyIntents(t) {
		for how, through := range map[string]func(from, to any) error{"JSON": throughJSON, "gob": throughGob} {
			var alone core.Intent
			if err := through(in, &alone); err != nil || !sameIntent(in, alone) || alone.Func() != nil {
				t.Errorf("%s through %s: got %v %+v, %v", name, how, alone, alone.Options, err)
			}
			var got job
			if err := through(job{"n", in, &in, []core.Intent{in, in}, map[string]core.Intent{"k": in}}, &got); err != nil {
				t.Errorf("%s through %s in a struct: %v", name, how, err)
				continue
			}
			if got.Ptr == nil && name == "zero" { // null, and gob omits zero values
				got.Ptr = new(core.Intent)
			}
			if got.Name != "n" || len(got.List) != 2 || len(got.Map) != 1 || got.Ptr == nil {
				t.Errorf("%s through %s in a struct: got %+v", name, how, got)
				continue
			}
			for i, back := range []core.Intent{got.In, *got.Ptr, got.List[0], got.List[1], got.Map["k"]} {
				if !sameIntent(in, back) {
					t.Errorf("%s through %s in a struct, %d: got %v %+v", name, how, i, back, back.Options)
				}
			}
		}
		if data, err := in.MarshalBinary(); err != nil || data == nil || name != "zero" && !bytes.Equal(data, must(in.MarshalJSON())(t)) {
			t.Errorf("%s: MarshalBinary returned %q, %v", name, data, err)
		}
	}
}

func TestJSONNullAndNoBytes(t *testing.T) {
	t.Parallel()
	was := must(plain.Intent("x"))(t)
	in := was
	if err := json.Unmarshal([]byte("null"), &in); err != nil || !sameIntent(in, was) {
		t.Errorf("null: got %v, %v", in, err)
	}
	if err := in.UnmarshalBinary(nil); err != nil || !sameIntent(in, core.Intent{}) {
		t.Errorf("no bytes: got %v, %v", in, err)
	}
	if data, err := json.Marshal(core.Intent{}); string(data) != "null" || err != nil {
		t.Errorf("zero Intent: got %s, %v", data, err)
	}
}

func TestTheVersionIsFoundWhereverItIs(t *testing.T) {
	t.Parallel()
	_, err := decodeIntent([]byte(`{"timeout":"soon","v":2}`))
	wantInvalid(t, err, "intent of version 2, want 1")
	_, err = decodeIntent([]byte(`{"timeout":"soon","v":1}`))
	wantInvalid(t, err, "malformed intent")
}

// A log handler that marshals to JSON does not use this encoding for an intent
// itself: it has a LogValue.
func TestALoggedIntentIsNotEncoded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	in := must(plain.Intent(canary, core.ID("id-1")))(t)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "in", in, "ptr", &in)
	if strings.Contains(b.String(), "payload") || strings.Count(b.String(), "id-1") != 2 {
		t.Errorf("logged %s", b.String())
	}
}

func FuzzIntent(f *testing.F) {
	for _, in := range wholeIntents(f) {
		f.Add(must(in.MarshalJSON())(f))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := decodeIntent(data)
		if err != nil {
			return
		}
		if err := in.Validate(); err != nil {
			t.Fatalf("decoded, but not valid: %v", err)
		}
		again, err := in.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeIntent(again)
		if err != nil || !sameIntent(in, back) {
			t.Errorf("%s came back as %+v, %v", again, back.Options, err)
		}
	})
}
