package adapter

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// RoundUp rounds a duration up to a multiple of unit, so that a positive duration
// does not become zero. unit is more than 0.
func RoundUp(d, unit time.Duration) time.Duration {
	rest := d % unit
	if rest > 0 {
		rest -= unit
	}
	return d - rest
}

// RoundUpTime returns the first time that is not before t and a multiple of unit
// since 1970. unit divides a second.
func RoundUpTime(t time.Time, unit time.Duration) time.Time {
	if rest := time.Duration(t.Nanosecond()) % unit; rest > 0 {
		return t.Add(unit - rest)
	}
	return t
}

// Lane is a range of priorities that share a queue, where the queue has no
// priorities of its own.
type Lane uint8

// The lanes. An intent without a priority ranks as 5.
const (
	LaneLow    Lane = iota // priorities 1 to 3
	LaneNormal             // 4 to 7, and jobs without a priority
	LaneHigh               // 8 to 10
)

// LaneOf returns the lane of a priority. A priority of 0 means none.
func LaneOf(priority int) Lane {
	switch {
	case priority == 0:
		return LaneNormal
	case priority >= 8:
		return LaneHigh
	case priority <= 3:
		return LaneLow
	}
	return LaneNormal
}

// DefaultPriority is the priority of an intent without one.
const DefaultPriority = 5

// Hash returns the SHA-256 hash of the parts. Each part is preceded by its length,
// so that ("ab", "c") and ("a", "bc") differ. It is for unique keys with characters
// that a queue does not allow.
func Hash(parts ...string) [sha256.Size]byte {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// ErrorText returns an error's text in a form that every queue can store: valid
// UTF-8 without NUL, at most limit bytes, with the credentials of URLs masked as in
// [MaskURLs]. A limit of 0 or less means no limit. It also works for an error whose
// Error method panics.
func ErrorText(err error, limit int) string {
	if err == nil {
		return ""
	}
	text := strings.ToValidUTF8(fmt.Sprint(err), "\ufffd")
	text = MaskURLs(strings.ReplaceAll(text, "\x00", "\ufffd"))
	if limit <= 0 || len(text) <= limit {
		return text
	}
	const mark = "…"
	if limit < len(mark) {
		return ""
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// MaskURLs replaces the user information of every URL in a text with "***", so
// that errors of other libraries show no credentials. It also works for malformed
// URLs, whose password may contain a slash, an @ or a quote. It masks too much
// rather than too little: everything up to the last @ before the next white space,
// or before the closing quote if the URL is quoted. It also masks what the errors
// of net/url quote of a URL.
func MaskURLs(text string) string {
	at := strings.Index(text, "://")
	if at < 0 {
		return text
	}
	var b strings.Builder
	for at >= 0 {
		rest := text[at+len("://"):]
		end := urlEnd(text[:at], rest)
		b.WriteString(text[:at+len("://")])
		if user := strings.LastIndexByte(rest[:end], '@'); user >= 0 {
			b.WriteString("***")
			rest = rest[user:]
		}
		text, at = rest, strings.Index(rest, "://")
	}
	b.WriteString(text)
	return maskQuoted(b.String())
}

// urlEnd returns where a URL may end at the latest, in the text after its "://".
func urlEnd(before, rest string) int {
	end := strings.IndexAny(rest, " \t\r\n")
	if end < 0 {
		return len(rest)
	}
	before = strings.TrimRight(before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")
	if before == "" {
		return end
	}
	quote := strings.IndexByte("\"'`<", before[len(before)-1])
	if quote < 0 {
		return end
	}
	for i := range len(rest) {
		if rest[i] == "\"'`>"[quote] && (i == 0 || rest[i-1] != '\\') {
			return max(end, i)
		}
	}
	return len(rest)
}

// quoted matches what the errors of net/url quote of a URL that they cannot parse.
// It may be a part of the password, which a slash or # cuts off.
var quoted = regexp.MustCompile(`invalid (?:port|URL escape) "((?:[^"\\]|\\.)*)"`)

// maskQuoted masks what quoted matches. A port is masked everywhere in the text.
func maskQuoted(text string) string {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		whole, part := m[0], m[1]
		text = strings.ReplaceAll(text, whole, strings.TrimSuffix(whole, part+`"`)+`***"`)
		if len(part) > 1 && part[0] == ':' {
			text = strings.ReplaceAll(text, part, ":***")
		}
	}
	return text
}

// Masked returns err with the credentials of URLs masked in its text, as in
// [MaskURLs]. It returns err itself if there are none. errors.Is and errors.As find
// err and what it wraps.
func Masked(err error) error {
	if err == nil {
		return nil
	}
	text := fmt.Sprint(err)
	if masked := MaskURLs(text); masked != text {
		return &maskedError{masked, err}
	}
	return err
}

type maskedError struct {
	text  string
	cause error
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return errors.Is(e.cause, target) }
func (e *maskedError) As(target any) bool   { return errors.As(e.cause, target) }
