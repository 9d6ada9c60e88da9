package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"unicode/utf8"
)

// Codec turns a task's arguments into the payload on the queue and back.
// [Task.Codec] sets the codec of a task. The default is [JSON]. A codec must be
// safe for concurrent use. Its errors become [ErrInvalid]. Their text appears in
// logs and must not contain arguments. An error of Decode that wraps
// [ErrMalformed] is not retried.
type Codec interface {
	// Encode returns the payload, which the caller then owns.
	Encode(args any) ([]byte, error)
	// Decode fills what args points to. It must not keep payload.
	Decode(payload []byte, args any) error
}

// JSON is the default codec. It is encoding/json with four differences that keep
// arguments exact:
//
//   - Strings that are not valid UTF-8 are refused, when encoding and when
//     decoding. encoding/json would replace their bytes.
//   - Values nested too deeply to be decoded again are refused.
//   - The characters <, > and & are not escaped.
//   - A number that is decoded into an interface becomes a [json.Number], so that
//     no digit is lost.
//
// River stores payloads as jsonb, which needs JSON.
var JSON Codec = jsonCodec{}

// Raw is the codec for arguments of type []byte. The payload is a copy of the
// bytes. Nil and empty arguments are the same payload and are decoded as empty.
// Any other type is [ErrInvalid].
var Raw Codec = rawCodec{}

type rawCodec struct{}

func (rawCodec) Encode(args any) ([]byte, error) {
	b, ok := args.([]byte)
	if !ok {
		return nil, invalidf("codec Raw: want []byte, got %T", args)
	}
	return append([]byte{}, b...), nil
}

func (rawCodec) Decode(payload []byte, args any) error {
	b, ok := args.(*[]byte)
	if !ok {
		return invalidf("codec Raw: want *[]byte, got %T", args)
	}
	*b = append([]byte{}, payload...)
	return nil
}

type jsonCodec struct{}

// maxJSONDepth is the limit of encoding/json's decoder (its maxNestingDepth). The
// encoder has no limit.
const maxJSONDepth = 10000

const jsonSpace = " \t\r\n"

type jsonBuffer struct {
	bytes.Buffer
	enc *json.Encoder
}

var jsonBuffers = sync.Pool{New: func() any {
	b := new(jsonBuffer)
	b.enc = json.NewEncoder(&b.Buffer)
	b.enc.SetEscapeHTML(false)
	return b
}}

func (jsonCodec) Encode(args any) ([]byte, error) {
	b := jsonBuffers.Get().(*jsonBuffer)
	b.Reset()
	if err := b.enc.Encode(args); err != nil {
		// An Encoder returns a write error again on every later call. Dropping the
		// buffer is cheaper than finding out whether this was one.
		return nil, jsonEncodeError(err)
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if err := checkJSON(out, args); err != nil {
		jsonBuffers.Put(b)
		return nil, err
	}
	payload := slices.Clone(out)
	if b.Cap() <= 64<<10 { // do not keep a huge buffer in the pool
		jsonBuffers.Put(b)
	}
	return payload, nil
}

// checkJSON finds what encoding/json encodes but cannot decode to the same value.
func checkJSON(out []byte, args any) error {
	// encoding/json writes invalid bytes of a string as the six characters \ufffd,
	// and a real U+FFFD unescaped. A Marshaler may write either, and a string may
	// contain the six characters. So their presence proves nothing yet.
	if bytes.Contains(out, []byte(`\ufffd`)) && newStringSearch().invalid(reflect.ValueOf(args)) {
		return invalidf("arguments of type %T: a string is not valid UTF-8", args)
	}
	if !utf8.Valid(out) {
		return invalidf("arguments of type %T: a Marshaler wrote invalid UTF-8", args)
	}
	if len(out) > 2*maxJSONDepth && !json.Valid(out) {
		return invalidf("arguments of type %T: nested deeper than %d", args, maxJSONDepth)
	}
	return nil
}

func jsonEncodeError(err error) error {
	var (
		badType  *json.UnsupportedTypeError
		badValue *json.UnsupportedValueError
		marshal  *json.MarshalerError
	)
	text := "arguments cannot be encoded as JSON"
	switch {
	case errors.As(err, &badType):
		text += fmt.Sprintf(": unsupported type %v", badType.Type)
	case errors.As(err, &badValue):
		text += ": unsupported value: " + badValue.Str // NaN, an infinity, or "encountered a cycle via T"
	case errors.As(err, &marshal):
		text += fmt.Sprintf(": the Marshaler of %v failed", marshal.Type)
	}
	return &markedError{text: "airlock: " + text, mark: ErrInvalid, cause: err}
}

func (jsonCodec) Decode(payload []byte, args any) error {
	if !utf8.Valid(payload) {
		return malformed("payload cannot be decoded as JSON: it is not valid UTF-8", nil)
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	err := dec.Decode(args)
	if err == nil && len(bytes.Trim(payload[dec.InputOffset():], jsonSpace)) > 0 {
		return malformed(fmt.Sprintf("payload cannot be decoded as JSON: data after the value, at byte %d", dec.InputOffset()), nil)
	}
	if err == nil {
		return nil
	}
	text := "payload cannot be decoded as JSON"
	var (
		badType *json.UnmarshalTypeError
		syntax  *json.SyntaxError
	)
	switch {
	case json.Valid(payload) && !errors.As(err, &badType):
		// A type's own Unmarshaler refused a value. Its text may show arguments.
	case errors.As(err, &badType):
		text += fmt.Sprintf(": byte %d", badType.Offset)
		if badType.Field != "" {
			text += ", field " + badType.Field
		}
		text += fmt.Sprintf(" does not fit Go type %v", badType.Type)
	case errors.As(err, &syntax):
		return malformed(fmt.Sprintf("%s: syntax error at byte %d of %d", text, syntax.Offset, len(payload)), err)
	case errors.Is(err, io.EOF):
		return malformed(text+": it is empty", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed(text+": it is cut off", err)
	default:
		return malformed(text, err)
	}
	return &markedError{text: "airlock: " + text, mark: ErrInvalid, cause: err}
}

// malformed returns the error of a payload that is not JSON.
func malformed(text string, cause error) error {
	marks := errors.Join(ErrInvalid, ErrMalformed)
	return &markedError{text: "airlock: " + text, mark: marks, cause: cause}
}
