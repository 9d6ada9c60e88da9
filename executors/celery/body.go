package celeryexec

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	formArray  = "array"
	formObject = "object"
)

// noCallbacks is the third part of a body.
const noCallbacks = `{"callbacks":null,"errbacks":null,"chain":null,"chord":null}`

// bodyOf returns the body of a message, [args, kwargs, callbacks], and its form if
// payloadOf needs it. payload is valid JSON.
func bodyOf(payload []byte) (body []byte, form string) {
	payload = bytes.TrimSpace(payload)
	body = make([]byte, 0, len(payload)+len(noCallbacks)+10)
	switch payload[0] {
	case '{':
		body = append(append(append(body, "[[],"...), payload...), ',')
		if isEmpty(payload) {
			form = formObject
		}
	case '[':
		body = append(append(append(body, '['), payload...), ",{},"...)
		if !hasComma(payload) {
			form = formArray
		}
	default:
		body = append(append(append(body, "[["...), payload...), "],{},"...)
	}
	return append(append(body, noCallbacks...), ']'), form
}

// isEmpty reports whether an object or an array has nothing in it.
func isEmpty(container []byte) bool { return len(bytes.TrimSpace(container[1:len(container)-1])) == 0 }

// hasComma reports whether an array has more than one element.
func hasComma(array []byte) bool {
	found := false
	walk(array, func(c byte, depth int) { found = found || c == ',' && depth == 1 })
	return found
}

// depthOf returns how deeply JSON is nested, and whether it is JSON.
func depthOf(data []byte) (depth int, ok bool) {
	if !json.Valid(data) || !utf8.Valid(data) { // json.Valid lets other bytes pass
		return 0, false
	}
	walk(data, func(_ byte, d int) { depth = max(depth, d) })
	return depth, true
}

// walk calls visit for every byte of valid JSON that is outside strings, with the
// depth that it is in.
func walk(data []byte, visit func(c byte, depth int)) {
	walkAt(data, func(_ int, c byte, depth int) { visit(c, depth) })
}

func walkAt(data []byte, visit func(i int, c byte, depth int)) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			visit(i, c, depth)
		case '}', ']':
			visit(i, c, depth)
			depth--
		default:
			visit(i, c, depth)
		}
	}
}

// keptByPython reports whether every number of valid JSON is the same in Python. It
// decodes a number with a fraction or an exponent as a float, which rounds some and
// makes others infinite. Its integers have any number of digits.
func keptByPython(data []byte) bool {
	kept, start := true, -1
	end := func(i int) {
		if start >= 0 {
			kept = kept && exactFloat(data[start:i])
			start = -1
		}
	}
	walkAt(data, func(i int, c byte, _ int) {
		switch {
		case c == '-' || c >= '0' && c <= '9' || c == '.' || c == '+' || start >= 0 && (c == 'e' || c == 'E'):
			if start < 0 {
				start = i
			}
		default:
			end(i)
		}
	})
	end(len(data))
	return kept
}

// exactFloat reports whether a number is an integer without an exponent, or the same
// as the shortest text of the float next to it.
func exactFloat(number []byte) bool {
	if !bytes.ContainsAny(number, ".eE") {
		return true
	}
	text := string(number)
	f, err := strconv.ParseFloat(text, 64)
	digits, _, _ := strings.Cut(strings.ToLower(text), "e")
	zero := strings.Trim(digits, "-0.") == ""
	if err != nil || (f == 0) != zero {
		return false
	}
	was, ok := new(big.Rat).SetString(text)
	is, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return zero || ok && was.Cmp(is) == 0
}

var (
	errBody      = errors.New("the body is not [args, kwargs, callbacks]")
	errBoth      = errors.New("positional and keyword arguments together, of which a Go handler gets one value")
	errCallbacks = errors.New("callbacks, errbacks, a chain or a chord, which only a Celery worker can go on with")
)

// payloadOf returns the arguments of a Go handler. It is the inverse of bodyOf: one
// positional argument is the payload itself, and several are an array.
func payloadOf(body []byte, form string) ([]byte, error) {
	var parts []json.RawMessage
	if json.Unmarshal(body, &parts) != nil || len(parts) != 3 {
		return nil, errBody
	}
	var args []json.RawMessage
	var kwargs, callbacks map[string]json.RawMessage
	if json.Unmarshal(parts[0], &args) != nil || json.Unmarshal(parts[1], &kwargs) != nil || json.Unmarshal(parts[2], &callbacks) != nil {
		return nil, errBody
	}
	for _, v := range callbacks {
		if s := string(v); s != "null" && s != "[]" {
			return nil, errCallbacks
		}
	}
	switch {
	case len(kwargs) > 0 && len(args) > 0:
		return nil, errBoth
	case len(kwargs) > 0 || form == formObject && len(args) == 0:
		return parts[1], nil
	case len(args) > 1 || form == formArray:
		return parts[0], nil
	case len(args) == 1:
		return args[0], nil
	}
	return []byte("null"), nil
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }
