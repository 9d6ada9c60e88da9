package workexec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/goairlock/airlock/core"
)

// The limits of plain arguments: what the server's cjson and the library's
// float64 bring back as it was.
const (
	plainDigits = 14  // cjson prints %.14g
	plainExp    = 300 // of ten: far from where float64 ends
	plainDepth  = 990 // cjson decodes 1000 levels, the job around it being some of them
)

var reservedKeys = []string{envelopeKey, payloadKey, bytesKey}

// refuseDamaged is Capabilities.Refuse of an executor with PlainArgs: it refuses
// arguments of which a job that is delayed or retried would get others.
func refuseDamaged(in core.Intent) error {
	payload := in.Payload()
	if !isObject(payload) {
		return nil // travels as one string
	}
	p := plainArgs{data: payload}
	if !utf8.Valid(payload) {
		p.damage = "text that is not UTF-8"
	} else {
		p.value(0)
	}
	if p.damage == "" {
		return nil
	}
	return invalid("task %s: Options.PlainArgs: %s, at byte %d of the arguments, does not come through Redis as it is",
		in.Task, p.damage, p.pos)
}

// plainArgs walks through valid JSON until it finds something that is damaged on
// the way.
type plainArgs struct {
	data   []byte
	pos    int
	damage string // what was found at pos
}

func (p *plainArgs) found(format string, args ...any) bool {
	p.damage = fmt.Sprintf(format, args...)
	return false
}

func (p *plainArgs) space() byte {
	for p.data[p.pos] <= ' ' {
		p.pos++
	}
	return p.data[p.pos]
}

// value reports whether the value that begins here is unharmed.
func (p *plainArgs) value(depth int) bool {
	if depth >= plainDepth {
		return p.found("nesting of more than %d levels", plainDepth)
	}
	switch c := p.space(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		_, ok := p.text()
		return ok
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 'f':
		p.pos += len("false")
	default:
		p.pos += len("null")
	}
	return true
}

func (p *plainArgs) object(depth int) bool {
	p.pos++
	var seen map[string]bool
	for p.space() != '}' {
		if p.data[p.pos] == ',' {
			p.pos++
			p.space()
		}
		at := p.pos
		key, ok := p.text()
		if !ok {
			return false
		}
		if seen[key] || depth == 0 && slices.Contains(reservedKeys, key) {
			p.pos = at
			if seen[key] {
				return p.found("a key that is there twice")
			}
			return p.found("the reserved key %s", key)
		}
		if seen == nil {
			seen = make(map[string]bool)
		}
		seen[key] = true
		p.space()
		p.pos++ // the colon
		if !p.value(depth + 1) {
			return false
		}
	}
	p.pos++
	return true
}

func (p *plainArgs) array(depth int) bool {
	at := p.pos
	p.pos++
	if p.space() == ']' {
		p.pos = at
		return p.found("an empty array")
	}
	for p.space() != ']' {
		if p.data[p.pos] == ',' {
			p.pos++
		}
		if !p.value(depth + 1) {
			return false
		}
	}
	p.pos++
	return true
}

// text reads a string.
func (p *plainArgs) text() (s string, ok bool) {
	start := p.pos
	escaped := false
	for p.pos++; p.data[p.pos] != '"'; p.pos++ {
		if p.data[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	raw := p.data[start:p.pos]
	if !escaped {
		return string(raw[1 : len(raw)-1]), true
	}
	// json.Unmarshal makes U+FFFD of half a surrogate pair, and cjson an error.
	if json.Unmarshal(raw, &s) != nil || halfPairs(raw) {
		p.pos = start
		return "", p.found("half a surrogate pair")
	}
	return s, true
}

// halfPairs looks for the escape of a surrogate without its other half.
func halfPairs(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		switch unit := escape(raw[i+1:]); {
		case unit >= 0xdc00 && unit < 0xe000:
			return true
		case unit >= 0xd800 && unit < 0xdc00:
			rest := raw[i+5:]
			if !bytes.HasPrefix(rest, []byte(`\u`)) {
				return true
			}
			if low := escape(rest[2:]); low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 6
		}
		i += 4
	}
	return false
}

func escape(hex []byte) uint64 {
	n, _ := strconv.ParseUint(string(hex[:4]), 16, 16)
	return n
}

// number reads a number and judges it by its digits.
func (p *plainArgs) number() bool {
	start := p.pos
	for p.pos < len(p.data) && bytes.IndexByte([]byte("+-.eE0123456789"), p.data[p.pos]) >= 0 {
		p.pos++
	}
	text := p.data[start:p.pos]
	mantissa, exponent := text, 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		n, err := strconv.Atoi(string(text[i+1:]))
		if err != nil {
			n = 2 * plainExp // it has more digits than an int
		}
		exponent = n
	}
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	digits := bytes.Trim(append(append([]byte{}, whole...), fraction...), "0")
	switch {
	case len(digits) > plainDigits:
		p.pos = start
		return p.found("a number of more than %d digits", plainDigits)
	case len(digits) > 0 && (exponent+len(whole)-1 > plainExp || exponent-len(fraction) < -plainExp):
		p.pos = start
		return p.found("a number beyond 1e±%d", plainExp)
	}
	return true
}
