package workexec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/goairlock/airlock/core"
)

// The keys in a job's arguments that are ours. The server's cjson decodes and
// encodes every job that was scheduled or is retried: it cuts numbers to 14 digits
// and makes {} of []. A string comes through whole, so everything of ours is one.
const (
	envelopeKey = "airlock"         // the envelope, if there is something to say
	payloadKey  = "airlock_payload" // the encoded arguments, unless they stand plain
	bytesKey    = "airlock_base64"  // the same, if they are not UTF-8
)

// appendMessage appends the job as JSON, as json.Marshal would encode the
// library's work.Job, but for the escapes of < > &, U+2028 and U+2029.
func appendMessage(b []byte, in *core.Intent, name string, now time.Time, plain bool) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, name)
	b = append(b, `,"id":`...)
	b = appendString(b, in.ID)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, `,"args":{`...)
	envelope, said := envelopeOf(in)
	if said {
		b = append(b, `"`+envelopeKey+`":`...)
		b = appendString(b, envelope.Encode())
	}
	payload := in.Payload()
	if plain && isObject(payload) {
		members := bytes.TrimSpace(payload)
		members = bytes.TrimSpace(members[1 : len(members)-1])
		b = appendComma(b, said && len(members) > 0)
		b = append(b, members...)
	} else {
		b = appendComma(b, said)
		if utf8.Valid(payload) {
			b = append(b, `"`+payloadKey+`":`...)
			b = appendString(b, payload)
		} else {
			b = append(b, `"`+bytesKey+`":"`...)
			b = append(base64.StdEncoding.AppendEncode(b, payload), '"')
		}
	}
	return append(b, `}}`...)
}

func appendComma(b []byte, needed bool) []byte {
	if needed {
		b = append(b, ',')
	}
	return b
}

// envelopeOf is what the library's job has no field for, and whether that is
// anything at all.
func envelopeOf(in *core.Intent) (e core.Envelope, said bool) {
	e = in.Envelope()
	e.ID = ""
	said = e.MaxAttempts != 0 || !e.Backoff.IsZero() || e.Timeout != 0 || !e.Deadline.IsZero() ||
		e.Unique != "" || e.Headers.Len() > 0
	return e, said
}

// isObject reports whether the payload is a JSON object, the only JSON that the
// library's arguments can be.
func isObject(payload []byte) bool {
	trimmed := bytes.TrimLeft(payload, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(payload)
}

// appendString appends valid UTF-8 as a JSON string.
func appendString[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}
