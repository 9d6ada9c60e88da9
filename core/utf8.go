package core

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"
)

// stringSearch looks for a string of invalid UTF-8. It walks a value as
// encoding/json does. It runs only for arguments whose encoding has the six
// characters \ufffd, so it costs other arguments nothing.
type stringSearch map[visit]bool

// visit is one place in memory, as one type. The search also looks at fields that
// encoding/json leaves out because another field has their name. Such fields can
// form a cycle, so every place is visited once.
type visit struct {
	at  uintptr
	len int
	typ reflect.Type
}

func newStringSearch() stringSearch { return stringSearch{} }

var (
	marshalerType     = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
)

func (seen stringSearch) invalid(v reflect.Value) bool {
	if !v.IsValid() {
		return false
	}
	if text, ok := marshaled(v); ok {
		return !utf8.ValidString(text)
	}
	switch v.Kind() {
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Interface:
		return seen.invalid(v.Elem())
	case reflect.Pointer:
		return seen.first(v, 0) && seen.invalid(v.Elem())
	case reflect.Slice, reflect.Array:
		if elem := v.Type().Elem(); elem.PkgPath() == "" && elem.Kind() <= reflect.Complex128 {
			return false // plain bytes, numbers or bools
		}
		if v.Kind() == reflect.Slice && !seen.first(v, v.Len()) {
			return false
		}
		for i := range v.Len() {
			if seen.invalid(v.Index(i)) {
				return true
			}
		}
	case reflect.Map:
		if !seen.first(v, 0) {
			return false
		}
		for it := v.MapRange(); it.Next(); {
			// encoding/json ignores the methods of a key whose kind is string.
			if it.Key().Kind() == reflect.String && !utf8.ValidString(it.Key().String()) ||
				it.Key().Kind() != reflect.String && seen.invalid(it.Key()) || seen.invalid(it.Value()) {
				return true
			}
		}
	case reflect.Struct:
		return seen.invalidField(v)
	}
	return false
}

func (seen stringSearch) first(v reflect.Value, length int) bool {
	at := visit{v.Pointer(), length, v.Type()}
	if seen[at] {
		return false
	}
	seen[at] = true
	return true
}

func (seen stringSearch) invalidField(v reflect.Value) bool {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		tag := field.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
		case field.Anonymous && (name == "" || !field.IsExported()) && reflect.Indirect(value).Kind() == reflect.Struct:
			// encoding/json writes its fields as fields of the outer struct, also
			// those of an unexported type. A Marshaler of its own would have been
			// promoted, and marshaled would have found it.
			if value.Kind() == reflect.Pointer && !seen.first(value, 0) {
				continue
			}
			if seen.invalidField(reflect.Indirect(value)) {
				return true
			}
		case field.IsExported() && seen.invalid(value):
			return true
		}
	}
	return false
}

// marshaled returns the text of a value that is an encoding.TextMarshaler, which
// encoding/json then quotes. It returns "" for a json.Marshaler, whose output is
// not quoted and so not altered.
func marshaled(v reflect.Value) (text string, ok bool) {
	if !v.CanInterface() || v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer && v.IsNil() {
		return "", false
	}
	for _, m := range []reflect.Type{marshalerType, textMarshalerType} {
		self := v
		if !v.Type().Implements(m) {
			if v.Kind() == reflect.Pointer || !v.CanAddr() || !reflect.PointerTo(v.Type()).Implements(m) {
				continue
			}
			self = v.Addr()
		}
		if m == textMarshalerType {
			b, _ := self.Interface().(encoding.TextMarshaler).MarshalText() // it did not fail when the value was encoded
			return string(b), true
		}
		return "", true
	}
	return "", false
}
