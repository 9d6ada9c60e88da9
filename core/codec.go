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

// Codec turns a task's arguments into the payload on the queue and back. It is
// chosen per task with [Task.Codec]; the default is [JSON]. A codec must be
// safe for concurrent use. Its errors become [ErrInvalid]; their text is shown,
// so it should not hold arguments.
type Codec interface {
	// Encode returns the payload, which the caller then owns.
	Encode(args any) ([]byte, error)
	// Decode fills what args points to. It must not keep payload.
	Decode(payload []byte, args any) error
}

// JSON is the default codec: encoding/json, with four differences that keep
// arguments exact. Strings that are not valid UTF-8 are refused where
// encoding/json would replace their bytes, both ways; nesting that could not be
// decoded again is refused; <, > and & stand as themselves; and a number that is
// decoded into an interface becomes a [json.Number], so that no digit is lost.
// River stores payloads as jsonb, which needs JSON.
var JSON Codec = jsonCodec{}

// Raw is the codec for arguments of type []byte: they are the payload, byte by
// byte. Nil and empty are the same payload, decoded as empty. Any other type
// is [ErrInvalid].
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

// maxJSONDepth is where encoding/json's decoder gives up (its maxNestingDepth);
// the encoder does not.
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
		// An Encoder remembers a write error for ever, and this buffer may have
		// had none: dropping it is cheaper than finding out.
		return nil, jsonEncodeError(err)
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if err := checkJSON(out, args); err != nil {
		jsonBuffers.Put(b)
		return nil, err
	}
	payload := slices.Clone(out)
	if b.Cap() <= 64<<10 { // one huge payload must not stay in the pool
		jsonBuffers.Put(b)
	}
	return payload, nil
}

// checkJSON finds what encoding/json lets through but cannot give back.
func checkJSON(out []byte, args any) error {
	// Invalid bytes of a string come out as the six characters \ufffd; a true
	// U+FFFD comes out as itself. A Marshaler may write either, and a string may
	// hold the six characters, so this is no more than a suspicion.
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
		return invalidf("payload cannot be decoded as JSON: it is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	err := dec.Decode(args)
	if err == nil && len(bytes.Trim(payload[dec.InputOffset():], jsonSpace)) > 0 {
		return invalidf("payload cannot be decoded as JSON: data after the value, at byte %d", dec.InputOffset())
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
	case errors.As(err, &badType):
		text += fmt.Sprintf(": byte %d", badType.Offset)
		if badType.Field != "" {
			text += ", field " + badType.Field
		}
		text += fmt.Sprintf(" does not fit Go type %v", badType.Type)
	case errors.As(err, &syntax):
		text += fmt.Sprintf(": syntax error at byte %d of %d", syntax.Offset, len(payload))
	case errors.Is(err, io.EOF):
		text += ": it is empty"
	case errors.Is(err, io.ErrUnexpectedEOF):
		text += ": it is cut off"
	}
	return &markedError{text: "airlock: " + text, mark: ErrInvalid, cause: err}
}
