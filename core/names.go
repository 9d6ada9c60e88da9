package core

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of names and texts. They are the strictest rules of all supported
// queues. A name that is valid here is valid on each of them, so no executor has
// to rewrite names, and two names cannot collide.
const (
	maxTaskName  = 127       // River: a kind is shorter than 128 bytes
	maxQueueName = 64        // River: a queue is at most 64 bytes
	maxID        = 200       // bytes of visible ASCII
	maxUnique    = 255       // bytes
	maxHeaderKey = 128       // bytes
	maxHeaders   = 32 * 1024 // bytes, keys and values together; NATS takes 64 KiB including airlock's own
)

// Character classes of names. Each is one bit in the table classes.
const (
	classTaskFirst = 1 << iota // A-Z a-z 0-9 _
	classTask                  // ... and . : / + -
	classQueue                 // a-z 0-9
	classHeader                // A-Z a-z 0-9 -
)

var classes = func() (t [256]uint8) {
	mark := func(chars string, class uint8) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	mark(lower+upper+digits+"_", classTaskFirst)
	mark(lower+upper+digits+"_.:/+-", classTask)
	mark(lower+digits, classQueue)
	mark(lower+upper+digits+"-", classHeader)
	return t
}()

func allOf(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// checkTaskName wants ^[A-Za-z0-9_][A-Za-z0-9_.:/+-]{1,126}$ and no empty part
// between dots, because the parts become the tokens of a NATS subject.
func checkTaskName(s string) error {
	switch {
	case s == "":
		return invalidf("empty task name")
	case len(s) < 2 || len(s) > maxTaskName:
		return invalidf("task name %s: %d bytes, want 2 to %d", clip(s), len(s), maxTaskName)
	case classes[s[0]]&classTaskFirst == 0 || !allOf(s, classTask):
		return invalidf("task name %s: want letters, digits and _.:/+- with a letter, digit or _ first", clip(s))
	case strings.Contains(s, "..") || s[len(s)-1] == '.':
		return invalidf("task name %s: empty part between dots", clip(s))
	}
	return nil
}

// checkQueueName wants ^[a-z0-9]+([_-][a-z0-9]+)*$.
func checkQueueName(s string) error {
	if s == "" {
		return invalidf("empty queue name")
	}
	if len(s) > maxQueueName {
		return invalidf("queue name %s: %d bytes, want at most %d", clip(s), len(s), maxQueueName)
	}
	gap := true // the next byte must not be _ or -
	for i := range len(s) {
		switch {
		case classes[s[i]]&classQueue != 0:
			gap = false
		case (s[i] == '_' || s[i] == '-') && !gap:
			gap = true
		default:
			return invalidf("queue name %s: want words of a-z and 0-9 joined by single _ or -", clip(s))
		}
	}
	if gap {
		return invalidf("queue name %s: want words of a-z and 0-9 joined by single _ or -", clip(s))
	}
	return nil
}

// ValidateID returns [ErrInvalid] unless s can be an intent's ID: 1 to 200 bytes
// of visible ASCII.
func ValidateID(s string) error {
	if s == "" {
		return invalidf("empty ID")
	}
	if len(s) > maxID {
		return invalidf("ID of %d bytes, want at most %d", len(s), maxID)
	}
	if !goodID(s) {
		return invalidf("ID %s: want visible ASCII", clip(s))
	}
	return nil
}

func goodID(s string) bool { return s != "" && len(s) <= maxID && visibleASCII(s) }

// visibleASCII reports whether every byte is between ! and ~. It runs for every
// dispatched intent whose ID was chosen. Reading eight bytes at a time would save
// 17 ns for an ID of 36 bytes, which no dispatch would notice.
func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func checkUnique(s string) error {
	if s == "" {
		return invalidf("empty unique key")
	}
	if len(s) > maxUnique {
		return invalidf("unique key of %d bytes, want at most %d", len(s), maxUnique)
	}
	if !utf8.ValidString(s) {
		return invalidf("unique key is not valid UTF-8")
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return invalidf("unique key has a control character at byte %d", i)
		}
	}
	return nil
}

// checkHeaderKey also refuses the prefix Airlock-. Executors use it for their own
// headers, which a user must not be able to set.
func checkHeaderKey(key string) error {
	switch {
	case key == "":
		return invalidf("empty header key")
	case len(key) > maxHeaderKey:
		return invalidf("header key %s: %d bytes, want at most %d", clip(key), len(key), maxHeaderKey)
	case !allOf(key, classHeader):
		return invalidf("header key %s: want letters, digits and -", clip(key))
	case len(key) >= len(reservedPrefix) && strings.EqualFold(key[:len(reservedPrefix)], reservedPrefix):
		return invalidf("header key %s: the prefix %s is reserved", clip(key), reservedPrefix)
	}
	return nil
}

// reservedPrefix begins the keys of the headers that executors add.
const reservedPrefix = "Airlock-"

// checkHeaderValue never shows the value in its error: headers carry credentials.
func checkHeaderValue(key, value string) error {
	if strings.ContainsAny(value, "\r\n\x00") {
		return invalidf("header %s: value has a CR, LF or NUL", clip(key))
	}
	if !utf8.ValidString(value) {
		return invalidf("header %s: value is not valid UTF-8", clip(key))
	}
	return nil
}

// clip quotes a name for an error message, shortened and without unprintable
// characters.
func clip(s string) string {
	const most = 80
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		if i >= most {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || r == '"' || !unicode.IsPrint(r) {
			b.WriteByte('?')
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}
