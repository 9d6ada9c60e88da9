package adapter

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// envelopeVersion changes only when an old reader would misread the new form. New
// fields that old readers may ignore do not change it.
const envelopeVersion = 1

// Envelope holds the properties of a job for which the queue has no field. It is
// stored with the payload. An adapter leaves out what its queue stores natively.
// When it reads the job, native values replace those of the envelope. The form is
// JSON:
//
//	{"v":1,"id":"…","max_attempts":5,"backoff":["1s","1m0s"],"timeout":"30s",
//	 "deadline":"2026-01-02T15:04:05.000000006Z","unique":"…","headers":{"K":"v"}}
//
// Unset fields are left out and unknown ones are ignored.
type Envelope struct {
	ID          string
	MaxAttempts int
	Backoff     core.BackoffPolicy
	Timeout     time.Duration
	Deadline    time.Time
	Unique      string
	Headers     core.Headers
}

// EnvelopeOf returns an envelope with every property of the intent that it can
// hold.
func EnvelopeOf(in *core.Intent) Envelope {
	o := &in.Options
	return Envelope{
		ID: in.ID, MaxAttempts: o.MaxAttempts, Backoff: o.Backoff, Timeout: o.Timeout,
		Deadline: o.Deadline, Unique: o.Unique, Headers: in.Headers(),
	}
}

// Encode returns the envelope as JSON. It is one line of valid UTF-8, so that it
// can be a header value.
func (e Envelope) Encode() []byte {
	b := make([]byte, 0, 128+e.Headers.Size())
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, envelopeVersion, 10)
	if e.ID != "" {
		b = AppendJSONString(append(b, `,"id":`...), e.ID)
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
		b = AppendJSONString(append(b, `,"unique":`...), e.Unique)
	}
	if e.Headers.Len() > 0 {
		sep := `,"headers":{`
		for k, v := range e.Headers.All() {
			b = append(b, sep...)
			b = append(AppendJSONString(b, k), ':')
			b = AppendJSONString(b, v)
			sep = ","
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// AppendJSONString appends s to b as a JSON string. It replaces invalid UTF-8, which
// JSON cannot hold.
func AppendJSONString(b []byte, s string) []byte {
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

// DecodeEnvelope reads what [Envelope.Encode] wrote, in any release that writes the
// same version. It returns [core.ErrInvalid] for anything else: data that is not
// JSON, or a value that no option can have. For an envelope of a later version,
// errors.Is also finds [worker.ErrLaterVersion].
func DecodeEnvelope(data []byte) (Envelope, error) {
	var w wireEnvelope
	err := json.Unmarshal(data, &w)
	if err != nil && w.V == 0 {
		w.V = versionOf(data)
	}
	switch {
	case w.V > envelopeVersion:
		return Envelope{}, fmt.Errorf("airlock: envelope of version %d, want %d: %w: %w", w.V, envelopeVersion, worker.ErrLaterVersion, core.ErrInvalid)
	case w.V != envelopeVersion && (err == nil || w.V != 0):
		return Envelope{}, fmt.Errorf("airlock: envelope of version %d, want %d: %w", w.V, envelopeVersion, core.ErrInvalid)
	case err != nil:
		return Envelope{}, &malformedError{err}
	}
	e, err := w.envelope()
	if err != nil {
		return Envelope{}, fmt.Errorf("airlock: malformed envelope: %s: %w", strings.TrimPrefix(err.Error(), "airlock: "), core.ErrInvalid)
	}
	return e, nil
}

// versionOf reads the version alone, from data whose other fields do not fit.
func versionOf(data []byte) int {
	var w struct {
		V int `json:"v"`
	}
	_ = json.Unmarshal(data, &w) // 0 if there is none
	return w.V
}

// malformedError omits the text of its cause, which may show a header.
type malformedError struct{ cause error }

func (e *malformedError) Error() string   { return "airlock: malformed envelope" }
func (e *malformedError) Unwrap() []error { return []error{core.ErrInvalid, e.cause} }

func (w *wireEnvelope) envelope() (Envelope, error) {
	e := Envelope{
		ID: w.ID, MaxAttempts: w.MaxAttempts, Timeout: time.Duration(w.Timeout),
		Deadline: w.Deadline.UTC(), Unique: w.Unique, Headers: core.NewHeaders(w.Headers),
	}
	switch len(w.Backoff) {
	case 0:
	case 2:
		e.Backoff = core.BackoffPolicy{First: time.Duration(w.Backoff[0]), Max: time.Duration(w.Backoff[1])}
	default:
		return Envelope{}, fmt.Errorf("backoff of %d parts", len(w.Backoff))
	}
	if e.ID != "" {
		if err := core.ValidateID(e.ID); err != nil {
			return Envelope{}, err
		}
	}
	o := core.Options{MaxAttempts: e.MaxAttempts, Backoff: e.Backoff, Timeout: e.Timeout, Deadline: e.Deadline, Unique: e.Unique}
	return e, o.Validate()
}
