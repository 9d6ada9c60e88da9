package core

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// envelopeVersion is raised only by a change that an old reader would get
// wrong. Fields that old readers may ignore are added without raising it.
const envelopeVersion = 1

// Envelope holds what travels beside a payload because the queue has no field
// of its own for it. An adapter leaves out what its queue carries natively, and
// what is native wins when the job is read. The form is JSON:
//
//	{"v":1,"id":"…","max_attempts":5,"backoff":["1s","1m0s"],"timeout":"30s",
//	 "deadline":"2026-01-02T15:04:05.000000006Z","unique":"…","headers":{"K":"v"}}
//
// Unset fields are left out and unknown ones are ignored.
type Envelope struct {
	ID          string
	MaxAttempts int
	Backoff     BackoffPolicy
	Timeout     time.Duration
	Deadline    time.Time
	Unique      string
	Headers     Headers
}

// Envelope returns everything of the intent that an envelope can hold.
func (in Intent) Envelope() Envelope {
	o := &in.Options
	return Envelope{
		ID: in.ID, MaxAttempts: o.MaxAttempts, Backoff: o.Backoff, Timeout: o.Timeout,
		Deadline: o.Deadline, Unique: o.Unique, Headers: in.held().headers,
	}
}

// Encode returns the envelope as JSON: one line, valid UTF-8, and so fit for a
// header value.
func (e Envelope) Encode() []byte {
	b := make([]byte, 0, 128+e.Headers.Size())
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, envelopeVersion, 10)
	if e.ID != "" {
		b = appendJSONString(append(b, `,"id":`...), e.ID)
	}
	if e.MaxAttempts != 0 {
		b = strconv.AppendInt(append(b, `,"max_attempts":`...), int64(e.MaxAttempts), 10)
	}
	if !e.Backoff.IsZero() {
		b = append(append(b, `,"backoff":["`...), e.Backoff.First.String()...)
		b = append(append(append(b, `","`...), e.Backoff.Max.String()...), `"]`...)
	}
	if e.Timeout != 0 {
		b = append(append(append(b, `,"timeout":"`...), e.Timeout.String()...), '"')
	}
	if !e.Deadline.IsZero() {
		b = append(e.Deadline.UTC().AppendFormat(append(b, `,"deadline":"`...), time.RFC3339Nano), '"')
	}
	if e.Unique != "" {
		b = appendJSONString(append(b, `,"unique":`...), e.Unique)
	}
	if e.Headers.Len() > 0 {
		sep := `,"headers":{`
		for k, v := range e.Headers.All() {
			b = append(b, sep...)
			b = append(appendJSONString(b, k), ':')
			b = appendJSONString(b, v)
			sep = ","
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendJSONString appends s as a JSON string. Only headers that a foreign
// producer wrote can hold invalid UTF-8, and JSON cannot.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		if c < ' ' {
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		} else {
			b = append(b, '\\', c)
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}

type wireEnvelope struct {
	V           int               `json:"v"`
	ID          string            `json:"id,omitempty"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Backoff     []wireDuration    `json:"backoff,omitempty"`
	Timeout     wireDuration      `json:"timeout,omitempty"`
	Deadline    time.Time         `json:"deadline,omitzero"`
	Unique      string            `json:"unique,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
}

type wireDuration time.Duration

func (d wireDuration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *wireDuration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = wireDuration(v)
	return err
}

// DecodeEnvelope reads what [Envelope.Encode] wrote, in this or an earlier
// release, or in a later one of the same version. Anything else is
// [ErrInvalid]: not JSON, another version, a value that no option can have.
func DecodeEnvelope(data []byte) (Envelope, error) {
	var w wireEnvelope
	if err := unmarshal("envelope", data, &w, &w.V); err != nil {
		return Envelope{}, err
	}
	return w.envelope()
}

// unmarshal reads data into w, whose version is v. That it is another version
// explains whatever else does not fit.
func unmarshal(what string, data []byte, w any, v *int) error {
	err := json.Unmarshal(data, w)
	switch {
	case *v != envelopeVersion && (err == nil || *v != 0):
		return invalidf("%s of version %d, want %d", what, *v, envelopeVersion)
	case err != nil:
		return &markedError{text: "airlock: malformed " + what, mark: ErrInvalid, cause: err}
	}
	return nil
}

func (w *wireEnvelope) envelope() (Envelope, error) {
	e := Envelope{
		ID: w.ID, MaxAttempts: w.MaxAttempts, Timeout: time.Duration(w.Timeout),
		Deadline: w.Deadline.UTC(), Unique: w.Unique, Headers: NewHeaders(w.Headers),
	}
	switch len(w.Backoff) {
	case 0:
	case 2:
		e.Backoff = BackoffPolicy{time.Duration(w.Backoff[0]), time.Duration(w.Backoff[1])}
	default:
		return Envelope{}, invalidf("malformed envelope: backoff of %d parts", len(w.Backoff))
	}
	if e.ID != "" {
		if err := checkID(e.ID); err != nil {
			return Envelope{}, about("malformed envelope", err)
		}
	}
	o := Options{MaxAttempts: e.MaxAttempts, Backoff: e.Backoff, Timeout: e.Timeout, Deadline: e.Deadline, Unique: e.Unique}
	if err := o.check(); err != nil {
		return Envelope{}, about("malformed envelope", err)
	}
	return e, nil
}

// wireIntent is a whole intent, for an outbox.
type wireIntent struct {
	wireEnvelope
	Task      string    `json:"task"`
	Generated bool      `json:"generated,omitempty"`
	Queue     string    `json:"queue,omitempty"`
	Priority  int       `json:"priority,omitempty"`
	At        time.Time `json:"at,omitzero"`
	Payload   []byte    `json:"payload"`
}

// EncodeIntent returns the whole intent as JSON, for an outbox or a log of one's
// own, to be read by [DecodeIntent]. An intent with native options is
// [ErrInvalid]: they are values of another package. The handler that [NewTask]
// gave is not part of it: who runs the decoded intent needs a [Registry].
func EncodeIntent(in Intent) ([]byte, error) {
	if err := in.validate(); err != nil {
		return nil, err
	}
	if len(in.held().native) > 0 {
		return nil, invalidf("task %s: an intent with native options cannot be encoded", in.Task)
	}
	o := &in.Options
	w := wireIntent{
		wireEnvelope: wireEnvelope{
			V: envelopeVersion, ID: in.ID, MaxAttempts: o.MaxAttempts, Timeout: wireDuration(o.Timeout),
			Deadline: o.Deadline.UTC(), Unique: o.Unique, Headers: maps.Collect(in.held().headers.All()),
		},
		Task: in.Task, Generated: in.generated(), Queue: o.Queue, Priority: o.Priority, At: o.At.UTC(),
		Payload: in.held().payload,
	}
	if !o.Backoff.IsZero() {
		w.Backoff = []wireDuration{wireDuration(o.Backoff.First), wireDuration(o.Backoff.Max)}
	}
	data, err := json.Marshal(&w)
	return data, asInvalid(err)
}

// DecodeIntent reads what [EncodeIntent] wrote, in this or an earlier release.
// Anything else is [ErrInvalid]. Times are not judged again: an intent that lay
// in an outbox past its deadline is decoded, and then not run.
func DecodeIntent(data []byte) (Intent, error) {
	var w wireIntent
	if err := unmarshal("intent", data, &w, &w.V); err != nil {
		return Intent{}, err
	}
	e, err := w.envelope()
	if err != nil {
		return Intent{}, err
	}
	if w.Payload == nil {
		w.Payload = []byte{}
	}
	in := Intent{
		ID: e.ID, Task: w.Task,
		Options: Options{
			Queue: w.Queue, Priority: w.Priority, At: w.At.UTC(), MaxAttempts: e.MaxAttempts, Backoff: e.Backoff,
			Timeout: e.Timeout, Deadline: e.Deadline, Unique: e.Unique,
		},
	}
	in.hold(content{payload: w.Payload, headers: e.Headers})
	if w.Generated {
		in.issued = in.ID
	}
	if err := in.validate(); err != nil {
		return Intent{}, about("malformed intent", err)
	}
	for k, v := range e.Headers.All() {
		if err := checkHeaderKey(k); err != nil {
			return Intent{}, about("malformed intent", err)
		}
		if err := checkHeaderValue(k, v); err != nil {
			return Intent{}, about("malformed intent", err)
		}
	}
	if n := e.Headers.Size(); n > maxHeaders {
		return Intent{}, invalidf("malformed intent: headers of %d bytes in all, want at most %d", n, maxHeaders)
	}
	return in, nil
}
