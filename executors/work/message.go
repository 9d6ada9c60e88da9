package workexec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Our keys in a job's arguments. The library's scripts decode and encode every job
// that was scheduled or is retried with the server's cjson, which cuts numbers to 14
// digits and turns [] into {}. A string comes through unchanged, so each of ours is
// one.
const (
	envelopeKey = "airlock"         // the envelope
	payloadKey  = "airlock_payload" // the encoded arguments, unless they are stored plain
	bytesKey    = "airlock_base64"  // the same, if they are not UTF-8
)

// message is a job as it is in Redis, its arguments untouched.
type message struct {
	Name     string          `json:"name,omitempty"`
	ID       string          `json:"id"`
	T        int64           `json:"t"`
	Args     json.RawMessage `json:"args"`
	Unique   bool            `json:"unique,omitempty"`
	Fails    int64           `json:"fails,omitempty"`
	Err      string          `json:"err,omitempty"`
	FailedAt int64           `json:"failed_at,omitempty"`
}

// encode returns the message as JSON.
func (m *message) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // only Args could fail, and they came out of a JSON decoder
	}
	return b
}

// appendMessage appends the intent's job as JSON, as json.Marshal would encode the
// library's work.Job, but without escaping < > &, U+2028 and U+2029.
func appendMessage(b []byte, in *core.Intent, name string, now time.Time, plain bool) []byte {
	b = adapter.AppendJSONString(append(b, `{"name":`...), name)
	b = adapter.AppendJSONString(append(b, `,"id":`...), in.ID)
	b = strconv.AppendInt(append(b, `,"t":`...), now.Unix(), 10)
	b = append(b, `,"args":{"`+envelopeKey+`":`...)
	b = adapter.AppendJSONString(b, string(envelopeOf(in).Encode()))
	payload := in.Payload()
	switch {
	case plain && isObject(payload):
		members := bytes.TrimSpace(payload)
		members = bytes.TrimSpace(members[1 : len(members)-1])
		if len(members) > 0 {
			b = append(append(b, ','), members...)
		}
	case utf8.Valid(payload):
		b = adapter.AppendJSONString(append(b, `,"`+payloadKey+`":`...), string(payload))
	default:
		b = append(b, `,"`+bytesKey+`":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, payload), '"')
	}
	return append(b, `}}`...)
}

// envelopeOf returns what the library's job has no field for. The number of attempts
// is always there: a job without it is another producer's.
func envelopeOf(in *core.Intent) adapter.Envelope {
	e := adapter.EnvelopeOf(in)
	e.ID = ""
	if e.MaxAttempts == 0 {
		e.MaxAttempts = core.DefaultMaxAttempts
	}
	return e
}

// isObject reports whether the payload is a JSON object, the only JSON that the
// library's arguments can be.
func isObject(payload []byte) bool {
	trimmed := bytes.TrimLeft(payload, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(payload)
}
