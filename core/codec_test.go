package core_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goairlock/airlock/core"
)

type (
	ptrCycle   struct{ Next *ptrCycle }
	textBytes  struct{ b []byte }
	textPtr    struct{ b []byte }
	textKey    struct{ s string }
	rawWriter  string // writes itself as JSON
	panicky    struct{ V any }
	failing    struct{}
	chosenByte byte
	embedded   struct{ Inner string }
	Exported   struct{ Inner string }
)

func (t textBytes) MarshalText() ([]byte, error) { return t.b, nil }
func (t *textPtr) MarshalText() ([]byte, error)  { return t.b, nil }
func (t textKey) MarshalText() ([]byte, error)   { return []byte(t.s), nil }
func (r rawWriter) MarshalJSON() ([]byte, error) { return []byte(r), nil }
func (p panicky) MarshalJSON() ([]byte, error)   { panic(p.V) }
func (p *panicky) UnmarshalJSON(b []byte) error  { panic(string(b)) }
func (failing) MarshalJSON() ([]byte, error)     { return nil, errors.New(canary) }
func (*failing) UnmarshalJSON(b []byte) error    { return errors.New(string(b)) }
func (chosenByte) MarshalText() ([]byte, error)  { return []byte("\xff"), nil }

// suspicious is text whose JSON looks as if encoding/json had replaced invalid
// UTF-8.
const suspicious = `\ufffd`

func TestJSONRefusesWhatCannotBeDecodedAgain(t *testing.T) {
	t.Parallel()
	cycle := &ptrCycle{}
	cycle.Next = cycle
	mapCycle := map[string]any{}
	mapCycle["m"] = mapCycle
	sliceCycle := make([]any, 1)
	sliceCycle[0] = sliceCycle
	const bad = canary + "\xff"
	badText := bad

	for name, args := range map[string]any{
		"NaN": math.NaN(), "Inf": math.Inf(1), "-Inf in a struct": struct{ F float64 }{math.Inf(-1)},
		"chan": make(chan int), "func": func() {}, "complex": 1i, "map key of struct": map[struct{ A int }]int{{1}: 1},
		"pointer cycle": cycle, "map cycle": mapCycle, "slice cycle": sliceCycle,
		"bad number": json.Number(canary), "failing Marshaler": failing{}, "Marshaler of bad JSON": rawWriter(canary),
		"Marshaler panics": panicky{canary}, "Marshaler panics with nil": panicky{}, "Marshaler panics with an error": panicky{errors.New(canary)},
		"string": bad, "lone continuation": "\x80", "surrogate half": "\xed\xa0\x80", "overlong": "\xc0\xaf",
		"field": struct{ S string }{bad}, "pointer field": struct{ S *string }{&badText}, "slice": []string{"a", bad}, "array": [1]string{bad},
		"interface": []any{1, nil, bad}, "map value": map[string]string{"k": bad}, "map key": map[string]int{bad: 1},
		"map of maps": map[string]map[int]string{"k": {1: bad}}, "text map key": map[textKey]int{{bad}: 1},
		"TextMarshaler": textBytes{[]byte(bad)}, "TextMarshaler by pointer": &textPtr{[]byte(bad)},
		"TextMarshaler in a slice":      []textPtr{{[]byte(bad)}},
		"TextMarshaler in an interface": struct{ T any }{textBytes{[]byte(bad)}},
		"TextMarshaler bytes":           []chosenByte{1},
		"string option": struct {
			S string `json:",string"`
		}{bad},
		"embedded":         struct{ embedded }{embedded{bad}},
		"embedded pointer": struct{ *Exported }{&Exported{bad}},
		"embedded with a name": struct {
			Exported `json:"e"`
		}{Exported{bad}},
		"embedded unexported with a name": struct {
			embedded `json:"e"`
		}{embedded{bad}},
		"next to suspicious text": []string{suspicious, bad},
		"RawMessage":              json.RawMessage("\"" + bad + "\""),
		"Marshaler":               rawWriter("\"" + bad + "\""),
	} {
		_, err := core.DeclareTask[any]("codec.bad").Intent(args)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantInvalid(t, err, "codec.bad")
	}
}

type tree struct {
	Text   string
	Hidden string `json:"-"`
	prev   *tree  // a cycle of fields that encoding/json ignores
	next   *tree
	secret string
	links  map[string]*tree
}

func TestJSONAcceptsWhatOnlyLooksReplaced(t *testing.T) {
	t.Parallel()
	ring := &tree{Text: suspicious, Hidden: "\xff", secret: "\xff"}
	ring.prev, ring.next, ring.links = ring, ring, map[string]*tree{"\xff": ring}
	loop := &tree{Text: suspicious} // two cycles: 2^n paths at depth n
	loop.prev, loop.next = loop, loop
	type circle struct {
		*circle
		*tree
		Text string
	}
	round := &circle{Text: suspicious, tree: ring}
	round.circle = round

	shared := []string{suspicious}
	sharedMap := map[string]any{"k": shared}
	for name, args := range map[string]any{
		"literal text": suspicious, "true U+FFFD": "\ufffd", "both": suspicious + "\ufffd", "backslashes": `\\ufffd\\\ufffd`,
		"RawMessage escape": json.RawMessage(`"\ufffd"`), "Marshaler escape": rawWriter(`"\ufffd"`),
		"RawMessage and bytes": []any{json.RawMessage(`"\ufffd"`), []byte{0xff}, suspicious},
		"fields not encoded":   ring, "loop": loop, "embedded circle": round, "shared": []any{shared, shared, sharedMap, sharedMap},
		"empty and nil":           []any{suspicious, nil, (*tree)(nil), []string(nil), map[string]int(nil), (*textPtr)(nil)},
		"numbers":                 []any{suspicious, []int{1}, []float64{2}, [2]bool{}},
		"map with suspicious key": map[string]any{suspicious: map[int]string{1: "x"}},
		"TextMarshaler":           []any{textBytes{[]byte("\ufffd" + suspicious)}, textKey{suspicious}},
		"text map key":            map[textKey]int{{suspicious}: 1},
		"nil embedded pointer": struct {
			*Exported
			S string
		}{nil, suspicious},
		"HTML": "<a href='x'>&amp;</a>",
	} {
		in, err := core.DeclareTask[any]("codec.good").Intent(args)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(args); err != nil {
			t.Fatal(err)
		}
		if got, want := string(in.Payload()), strings.TrimSuffix(buf.String(), "\n"); got != want {
			t.Errorf("%s: payload %s, want %s", name, got, want)
		}
	}
}

func TestJSONNestingIsLimitedAsInDecoding(t *testing.T) {
	t.Parallel()
	nest := func(depth int) any {
		v := any([]any{})
		for range depth - 1 {
			v = []any{v}
		}
		return v
	}
	for depth, good := range map[int]bool{100: true, 1000: true, 10000: true, 10001: false, 20000: false} {
		payload, err := core.JSON.Encode(nest(depth))
		if good != (err == nil) {
			t.Errorf("depth %d: %v", depth, err)
		}
		if err != nil {
			wantInvalid(t, err, "nested")
			continue
		}
		var back any
		if err := core.JSON.Decode(payload, &back); err != nil {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
	deep := []byte(strings.Repeat("[", 10001) + strings.Repeat("]", 10001))
	var back any
	wantInvalid(t, core.JSON.Decode(deep, &back), "JSON")
}

func TestJSONKeepsEveryDigit(t *testing.T) {
	t.Parallel()
	type numbers struct {
		I int64
		U uint64
		N json.Number
		F float64
	}
	in := numbers{math.MinInt64, math.MaxUint64, "1e400", math.Copysign(0, -1)}
	payload, err := core.JSON.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var out numbers
	if err := core.JSON.Decode(payload, &out); err != nil {
		t.Fatal(err)
	}
	if out != in || !math.Signbit(out.F) {
		t.Errorf("got %+v, want %+v", out, in)
	}
	for _, n := range []string{"9007199254740993", "18446744073709551615", "-0", "1e400", "1e-7", "123456789012345678901234567890.5"} {
		payload, err := core.JSON.Encode(map[string]any{"n": json.Number(n)})
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := core.JSON.Decode(payload, &m); err != nil || m["n"] != json.Number(n) {
			t.Errorf("%s came back as %v, %v", n, m["n"], err)
		}
	}
	var f float64
	wantInvalid(t, core.JSON.Decode([]byte("1e400"), &f), "float64")
}

func TestJSONRefusesPayloadsThatDoNotFit(t *testing.T) {
	t.Parallel()
	type args struct {
		Name struct{ First int }
	}
	for _, c := range []struct{ payload, names string }{
		{"", "empty"}, {" \n", "empty"}, {`{"Name":`, "cut off"}, {`{"Name"` + canary, "syntax error"},
		{`{} {}`, "data after"}, {`{}` + canary, "data after"}, {"{}\v", "data after"}, {"{}\u00a0", "data after"},
		{`{"Name":{"First":"` + canary + `"}}`, "Name.First"}, {`"` + canary + `"`, "args"}, {`{"Name":{"First":1e5}}`, "int"},
		{"{\"" + canary + "\xff\":1}", "UTF-8"},
	} {
		var a args
		wantInvalid(t, core.JSON.Decode([]byte(c.payload), &a), c.names)
	}
	for _, payload := range []string{"{}", " {}\t\r\n ", "null", `{"unknown":1}`} {
		var a args
		if err := core.JSON.Decode([]byte(payload), &a); err != nil {
			t.Errorf("%q: %v", payload, err)
		}
	}
	var m map[failing]int
	wantInvalid(t, core.JSON.Decode([]byte(`{"`+canary+`":1}`), &m))
	var f failing
	wantInvalid(t, core.JSON.Decode([]byte(`"`+canary+`"`), &f), "JSON")
}

func TestCodecErrorsKeepTheirCause(t *testing.T) {
	t.Parallel()
	var badType *json.UnsupportedTypeError
	if _, err := core.DeclareTask[any]("codec.cause").Intent(func() {}); !errors.As(err, &badType) {
		t.Errorf("got %v", err)
	}
	var p *core.PanicError
	if _, err := core.DeclareTask[any]("codec.cause").Intent(panicky{io.EOF}); !errors.As(err, &p) || len(p.Stack) == 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	var syntax *json.SyntaxError
	if err := core.JSON.Decode([]byte("{]"), new(any)); !errors.As(err, &syntax) {
		t.Errorf("got %v", err)
	}
}

func TestJSONPayloadBelongsToTheCaller(t *testing.T) {
	t.Parallel()
	a := must(core.JSON.Encode("first"))(t)
	b := must(core.JSON.Encode("other"))(t)
	big := must(core.JSON.Encode(strings.Repeat("x", 100<<10)))(t)
	if string(a) != `"first"` || string(b) != `"other"` || len(big) != 100<<10+2 {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestRawCopiesBytes(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[[]byte]("codec.raw").Codec(core.Raw)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, args := range [][]byte{nil, {}, all, []byte("\xff{")} {
		in := must(task.Intent(args))(t)
		if !bytes.Equal(in.Payload(), args) || in.Payload() == nil {
			t.Errorf("got %x, want %x", in.Payload(), args)
		}
		var back []byte
		if err := core.Raw.Decode(in.Payload(), &back); err != nil || !bytes.Equal(back, args) || back == nil {
			t.Errorf("got %x, %v", back, err)
		}
		if len(args) > 0 {
			args[0]++
			if bytes.Equal(in.Payload(), args) {
				t.Error("the payload changed with the arguments")
			}
			args[0]--
			back[0]++
			if !bytes.Equal(in.Payload(), args) {
				t.Error("the payload changed with what was decoded")
			}
		}
	}
	_, err := core.DeclareTask[string]("codec.raw").Codec(core.Raw).Intent(canary)
	wantInvalid(t, err, "string")
	var s string
	wantInvalid(t, core.Raw.Decode([]byte(canary), &s), "*string")
}

// shout is a custom codec.
type shout struct{ err error }

func (s shout) Encode(args any) ([]byte, error) {
	return []byte(strings.ToUpper(fmt.Sprint(args))), s.err
}

func (s shout) Decode(payload []byte, args any) error {
	reflect.ValueOf(args).Elem().SetString(string(payload))
	return s.err
}

func TestCustomCodecs(t *testing.T) {
	t.Parallel()
	got := ""
	task := core.NewTask("codec.own", func(_ context.Context, s string) error { got = s; return nil }).Codec(shout{})
	if err := must(task.Intent("loud"))(t).Run(t.Context()); err != nil || got != "LOUD" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := task.Codec(shout{io.ErrNoProgress}).Intent("x")
	wantInvalid(t, err, "codec.own", io.ErrNoProgress.Error())
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v", err)
	}
	_, err = task.Codec(shout{(*hostile)(nil)}).Intent("x")
	wantInvalid(t, err, "codec.own")
	_, err = task.Codec((*shout)(nil)).Intent("x")
	wantInvalid(t, err, "codec.own")
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
