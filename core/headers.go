package core

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
)

// Headers are the headers of an intent or a job: an immutable map from key to
// value, ordered by key. Keys are case-sensitive. The zero value is empty. A
// Headers value may be kept and shared.
//
// Printed or logged, Headers show their keys. They never show their values, which
// may be credentials.
type Headers struct {
	_      [0]func() // no ==
	sorted hidden[[]header]
}

type header struct{ key, value string }

// NewHeaders makes Headers from a map, for adapters that read them from a queue.
// It does not validate them: a header that another producer wrote must not make
// the job fail. The option [Header] sets and validates the headers of intents.
func NewHeaders(m map[string]string) Headers {
	if len(m) == 0 {
		return Headers{}
	}
	list := make([]header, 0, len(m))
	for k, v := range m {
		list = append(list, header{k, v})
	}
	slices.SortFunc(list, func(a, b header) int { return cmp.Compare(a.key, b.key) })
	return makeHeaders(list)
}

func makeHeaders(list []header) Headers { return Headers{sorted: hide(list)} }

func (h Headers) list() []header {
	if list := h.sorted.get(); list != nil {
		return *list
	}
	return nil
}

func (h Headers) find(key string) (int, bool) {
	return slices.BinarySearchFunc(h.list(), key, func(e header, k string) int { return cmp.Compare(e.key, k) })
}

// Get returns the value of a key, or "" if there is none.
func (h Headers) Get(key string) string {
	if i, ok := h.find(key); ok {
		return h.list()[i].value
	}
	return ""
}

// Has reports whether there is a header with that key, even if its value is empty.
func (h Headers) Has(key string) bool {
	_, ok := h.find(key)
	return ok
}

// Len returns the number of headers.
func (h Headers) Len() int { return len(h.list()) }

// All yields every key and value, ordered by key.
func (h Headers) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, e := range h.list() {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// Size returns the number of bytes of all keys and values together.
func (h Headers) Size() int {
	n := 0
	for _, e := range h.list() {
		n += len(e.key) + len(e.value)
	}
	return n
}

// Format prints the keys for every verb, so that no verb can print the values.
func (h Headers) Format(s fmt.State, _ rune) {
	sep := "headers["
	for key := range h.All() {
		io.WriteString(s, sep+clip(key)) // fmt keeps the error
		sep = " "
	}
	if h.Len() == 0 {
		io.WriteString(s, sep) // fmt keeps the error
	}
	io.WriteString(s, "]") // fmt keeps the error
}

// with returns a copy of h with one more header.
func (h Headers) with(key, value string) Headers {
	i, found := h.find(key)
	if found {
		list := slices.Clone(h.list())
		list[i].value = value
		return makeHeaders(list)
	}
	list := make([]header, 0, len(h.list())+1)
	list = append(list, h.list()[:i]...)
	list = append(list, header{key, value})
	return makeHeaders(append(list, h.list()[i:]...))
}
