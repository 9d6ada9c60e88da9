package river_test

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/goairlock/airlock/core"
)

// sameJSON compares values, numbers by their text where the database keeps it.
func sameJSON(a, b string) bool {
	decode := func(s string) (v any, err error) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	va, errA := decode(a)
	vb, errB := decode(b)
	if errA != nil || errB != nil {
		return false
	}
	ba, _ := json.Marshal(va)
	bb, _ := json.Marshal(vb)
	return bytes.Equal(ba, bb)
}

func jsonHas(object []byte, key string) bool {
	var m map[string]json.RawMessage
	return json.Unmarshal(object, &m) == nil && m[key] != nil
}

func everyJSON[TTx any](w *testEnv[TTx]) {
	payloads := []string{
		`null`, `true`, `false`, `0`, `-12.5`, `9007199254740993123`, `""`, `"text"`, `"\"quoted\" \\ back"`, `"{\"a\":1}"`, `"null"`,
		`[]`, `[null,1,"x"]`, `{}`, `{"z":1,"a":{"b":[true]}}`, ` {"space" : 1} `, ` "space" `, `"<b>&amp;  é 👩‍👩‍👧"`,
		`{"n":123456789012345678901234567890.123456789}`, `"\u0041\ud83d\ude00"`, strings.Repeat("[", 900) + strings.Repeat("]", 900),
	}
	w.handle(w.note)
	var intents []core.Intent
	for _, p := range payloads {
		intents = append(intents, w.intent(p))
	}
	w.send(intents...)
	got := map[string]string{}
	for _, r := range w.await(len(intents)) {
		got[r.job.ID] = r.payload
	}
	for i, in := range intents {
		if !sameJSON(got[in.ID], payloads[i]) {
			w.Errorf("%.80s came back as %.80s", payloads[i], got[in.ID])
		}
	}
}

func refusedJSON[TTx any](w *testEnv[TTx]) {
	onPostgres := []string{
		`"\u0000"`, `{"a":"x\u0000y"}`, `{"\u0000":1}`, `"\ud800"`, `"\udc00"`, `"\ud800x"`, `"\ud800\ud800"`, `"\ud800\n"`, `"\udc00\ud800"`,
		`1e131072`, `{"n":1e-16384}`, `1e99999999999999999999`, `-1e-99999999999999999999`,
	}
	onSQLite := []string{strings.Repeat("[", 999) + strings.Repeat("]", 999)}
	nowhere := []string{``, ` `, `{`, `nul`, `"a` + "\xff" + `"`, "\xef\xbb\xbf1", `{"a":1} x`}
	fine := []string{`"\\u0000"`, `"\ud83d\ude00"`, `[1e131071,1e-16383]`, `{"e":"1e999999","d":"\\ud800"}`, `"\u0001\u001f"`}

	refused, taken := append(nowhere, onSQLite...), append(fine, onPostgres...)
	if w.store.postgres {
		refused, taken = append(nowhere, onPostgres...), append(fine, onSQLite...)
	}
	for _, p := range refused {
		err := w.exec.Execute(w.Context(), w.intent(p))
		wantIs(w, err, core.ErrInvalid)
		if w.Failed() {
			w.Fatalf("for %.60q", p)
		}
	}
	w.wantRows(0)
	for _, p := range taken {
		if err := w.exec.Execute(w.Context(), w.intent(p)); err != nil {
			w.Errorf("%.60q: %v", p, err)
		}
	}
}

func wrapped[TTx any](w *testEnv[TTx]) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	payloads := []string{"", "\x00", string(all), "{", `"\u0000"`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), `{"plain":1}`}
	w.handle(w.note)
	var intents []core.Intent
	for _, p := range payloads {
		intents = append(intents, w.intent(p))
	}
	w.send(intents...)
	got := map[string]string{}
	for _, r := range w.await(len(intents)) {
		got[r.job.ID] = r.payload
	}
	for i, in := range intents {
		if got[in.ID] != payloads[i] && !sameJSON(got[in.ID], payloads[i]) {
			w.Errorf("%.40q came back as %.40q", payloads[i], got[in.ID])
		}
	}
	if last := w.rows()[len(payloads)-1]; !sameJSON(string(last.EncodedArgs), `{"plain":1}`) {
		w.Errorf("what is JSON is stored as %s, want it plain", last.EncodedArgs)
	}
}
