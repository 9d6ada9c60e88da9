package core

import (
	"encoding/json"
	"maps"
	"time"
)

// wireVersion changes only when an old reader would misread the new form. New
// fields that old readers may ignore do not change it.
const wireVersion = 1

// wireIntent is the stored form of a whole intent.
type wireIntent struct {
	V           int               `json:"v"`
	ID          string            `json:"id,omitempty"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Backoff     []wireDuration    `json:"backoff,omitempty"`
	Timeout     wireDuration      `json:"timeout,omitempty"`
	Deadline    time.Time         `json:"deadline,omitzero"`
	Unique      string            `json:"unique,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Task        string            `json:"task"`
	Generated   bool              `json:"generated,omitempty"`
	Queue       string            `json:"queue,omitempty"`
	Priority    int               `json:"priority,omitempty"`
	At          time.Time         `json:"at,omitzero"`
	Payload     []byte            `json:"payload"`
}

// wireDuration is a duration as text, such as "1m30s".
type wireDuration time.Duration

func (d wireDuration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *wireDuration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = wireDuration(v)
	return err
}

// MarshalJSON returns the whole intent, including payload and headers, as one
// JSON object. UnmarshalJSON of this release and of later ones reads it. The
// zero Intent is null. An intent with native options is [ErrInvalid], because
// these are Go values of another package. The function of a [NewTask] task is
// not encoded, so a worker needs a Registry to run the decoded intent.
//
// An Intent that is logged shows only its ID, task and queue. But a log handler
// that marshals a struct or a slice of intents to JSON shows their payloads.
func (in Intent) MarshalJSON() ([]byte, error) {
	if in.zero() {
		return []byte("null"), nil
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	c := in.held()
	if len(c.native) > 0 {
		return nil, invalidf("task %s: an intent with native options cannot be encoded", in.Task)
	}
	o := &in.Options
	w := wireIntent{
		V: wireVersion, ID: in.ID, MaxAttempts: o.MaxAttempts, Timeout: wireDuration(o.Timeout),
		Deadline: o.Deadline.UTC(), Unique: o.Unique, Headers: maps.Collect(c.headers.All()),
		Task: in.Task, Generated: in.generated(), Queue: o.Queue, Priority: o.Priority, At: o.At.UTC(),
		Payload: c.payload,
	}
	if !o.Backoff.IsZero() {
		w.Backoff = []wireDuration{wireDuration(o.Backoff.First), wireDuration(o.Backoff.Max)}
	}
	data, err := json.Marshal(&w)
	return data, asInvalid(err)
}

// UnmarshalJSON reads what MarshalJSON wrote, in this or an earlier release. It
// returns [ErrInvalid] for anything else and then does not change the intent. It
// does not compare times with now: an intent that is past its deadline can be
// decoded, and is then not run.
func (in *Intent) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // by convention of encoding/json, null does nothing
	}
	var w wireIntent
	err := json.Unmarshal(data, &w)
	if err != nil && w.V == 0 {
		w.V = versionOf(data)
	}
	switch {
	case w.V > wireVersion:
		return laterVersionError{invalidf("intent of version %d, want %d", w.V, wireVersion)}
	case w.V != wireVersion && (err == nil || w.V != 0):
		return invalidf("intent of version %d, want %d", w.V, wireVersion)
	case err != nil:
		return &markedError{text: "airlock: malformed intent", mark: ErrInvalid, cause: err}
	}
	decoded, err := w.intent()
	if err != nil {
		return about("malformed intent", err)
	}
	*in = decoded
	return nil
}

// laterVersionError is that of an intent which a later release has encoded. Package
// adapter, which may import worker, adds worker.ErrLaterVersion to it.
type laterVersionError struct{ error }

func (e laterVersionError) Unwrap() error    { return e.error }
func (laterVersionError) LaterVersion() bool { return true }

// versionOf reads the version alone, from data whose other fields do not fit.
func versionOf(data []byte) int {
	var w struct {
		V int `json:"v"`
	}
	_ = json.Unmarshal(data, &w) // 0 if there is none
	return w.V
}

// MarshalBinary returns the same bytes as MarshalJSON, for encoding/gob and
// similar packages. For the zero Intent it returns no bytes.
func (in Intent) MarshalBinary() ([]byte, error) {
	if in.zero() {
		return []byte{}, nil
	}
	return in.MarshalJSON()
}

// UnmarshalBinary reads what MarshalBinary wrote. Its errors are those of
// UnmarshalJSON.
func (in *Intent) UnmarshalBinary(data []byte) error {
	if len(data) == 0 {
		*in = Intent{}
		return nil
	}
	return in.UnmarshalJSON(data)
}

// zero reports whether this is the zero Intent.
func (in *Intent) zero() bool {
	return in.ID == "" && in.Task == "" && in.Options == Options{} && in.content.get() == nil
}

func (w *wireIntent) intent() (Intent, error) {
	if w.Payload == nil {
		w.Payload = []byte{}
	}
	in := Intent{
		ID: w.ID, Task: w.Task,
		Options: Options{
			Queue: w.Queue, Priority: w.Priority, At: w.At.UTC(), MaxAttempts: w.MaxAttempts,
			Timeout: time.Duration(w.Timeout), Deadline: w.Deadline.UTC(), Unique: w.Unique,
		},
	}
	switch len(w.Backoff) {
	case 0:
	case 2:
		in.Options.Backoff = BackoffPolicy{time.Duration(w.Backoff[0]), time.Duration(w.Backoff[1])}
	default:
		return Intent{}, invalidf("backoff of %d parts", len(w.Backoff))
	}
	headers := NewHeaders(w.Headers)
	in.hold(content{payload: w.Payload, headers: headers})
	if w.Generated {
		in.issued = in.ID
	}
	if err := in.validate(); err != nil {
		return Intent{}, err
	}
	for k, v := range headers.All() {
		if err := checkHeaderKey(k); err != nil {
			return Intent{}, err
		}
		if err := checkHeaderValue(k, v); err != nil {
			return Intent{}, err
		}
	}
	if n := headers.Size(); n > maxHeaders {
		return Intent{}, invalidf("headers of %d bytes in all, want at most %d", n, maxHeaders)
	}
	return in, nil
}
