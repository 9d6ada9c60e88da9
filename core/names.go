package core

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of names and texts. They are the narrowest of the four queues'
// own rules, so that a name that is valid here is valid on every one of them
// and nobody has to rewrite it: two names never collide.
const (
	maxTaskName  = 127       // River: a kind is shorter than 128 bytes
	maxQueueName = 64        // River: a queue is at most 64 bytes
	maxID        = 200       // bytes of visible ASCII
	maxUnique    = 255       // bytes
	maxHeaderKey = 128       // bytes
	maxHeaders   = 32 * 1024 // bytes, keys and values together; NATS takes 64 KiB with ours
)

// Character classes of names, one bit each, so that a name is checked in one
// pass over a table.
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

// checkTaskName wants ^[A-Za-z0-9_][A-Za-z0-9_.:/+-]{1,126}$ and no empty token
// between dots: a token is a word of a NATS subject.
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
	gap := true // at a place where _ or - may not stand
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

func checkID(s string) error {
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

// visibleASCII reports whether every byte is of ! to ~. Every intent of every
// call comes by here, so it takes eight bytes at a time, the last eight
// whether they overlap or not.
func visibleASCII(s string) bool {
	if len(s) < 8 {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' {
				return false
			}
		}
		return true
	}
	last, bad := s[len(s)-8:], uint64(0)
	for len(s) > 8 {
		bad |= invisible(s[:8])
		s = s[8:]
	}
	return bad|invisible(last) == 0
}

// invisible has a bit for each of the first eight bytes, or for one after it,
// that is not of ! to ~. Where no byte has its high bit set, adding 0x5f sets
// it for the bytes from ! on, adding 1 for 0x7f alone, and neither carries.
func invisible(s string) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	return (w | (w + ones) | ^(w + 0x5f*ones)) & highs
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

// checkHeaderKey leaves the prefix Airlock- to us: our own fields travel under
// it, and a user's header must not be able to set them.
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

// reservedPrefix begins the keys of headers that executors add for themselves.
const reservedPrefix = "Airlock-"

// checkHeaderValue never shows the value: headers carry credentials.
func checkHeaderValue(key, value string) error {
	if strings.ContainsAny(value, "\r\n\x00") {
		return invalidf("header %s: value has a CR, LF or NUL", clip(key))
	}
	if !utf8.ValidString(value) {
		return invalidf("header %s: value is not valid UTF-8", clip(key))
	}
	return nil
}

// clip quotes a name for an error message and keeps the message readable.
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
