package riverexec

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// database is the name that a River driver gives its database.
type database string

const sqlite database = "sqlite"

// maxSQLiteDepth is JSON_MAX_DEPTH of SQLite, 1000, less the two levels that
// the driver puts around the arguments of a job.
const maxSQLiteDepth = 998

// The digits of PostgreSQL's numeric, which is what a number in jsonb is.
const (
	maxWhole    = 131072
	maxFraction = 16383
)

// unfit says why the database has no place for a payload, "" if it has.
func (db database) unfit(payload []byte) string {
	if len(payload) == 0 {
		return "it is empty, which is not JSON"
	}
	if !utf8.Valid(payload) {
		return "it is not valid UTF-8"
	}
	if !json.Valid(payload) {
		return "it is not JSON"
	}
	s := scanner{text: payload, postgres: db != sqlite}
	return s.scan()
}

// scanner walks over valid JSON.
type scanner struct {
	text     []byte
	postgres bool
	at       int
}

func (s *scanner) scan() string {
	depth := 0
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			if bad := s.string(); bad != "" {
				return bad
			}
			continue
		case c == '[' || c == '{':
			if depth++; depth > maxSQLiteDepth && !s.postgres {
				return fmt.Sprintf("it is nested deeper than %d", maxSQLiteDepth)
			}
		case c == ']' || c == '}':
			depth--
		case c >= '0' && c <= '9':
			if bad := s.number(); bad != "" {
				return bad
			}
			continue
		}
		s.at++
	}
	return ""
}

// string steps over a string and looks at its escapes.
func (s *scanner) string() string {
	half := false // after the first half of a surrogate pair
	for s.at++; s.text[s.at] != '"'; s.at++ {
		low := false
		if s.text[s.at] == '\\' {
			s.at++
			if s.text[s.at] == 'u' && s.postgres {
				unit, _ := strconv.ParseUint(string(s.text[s.at+1:s.at+5]), 16, 16) // valid, as the JSON is
				s.at += 4
				switch {
				case unit == 0:
					return `a string has the escape \u0000, which jsonb refuses`
				case unit >= 0xd800 && unit < 0xdc00 && !half:
					half = true
					continue
				case unit >= 0xdc00 && unit < 0xe000:
					low = true
				}
			}
		}
		if half != low {
			return halfPair
		}
		half = false
	}
	s.at++
	if half {
		return halfPair
	}
	return ""
}

const halfPair = "a string has half a surrogate pair, which jsonb refuses"

// number steps over a number and counts its digits, the exponent applied.
func (s *scanner) number() string {
	digits := func() int {
		from := s.at
		for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
			s.at++
		}
		return s.at - from
	}
	whole, fraction := digits(), 0
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		fraction = digits()
	}
	exponent := 0
	if s.at < len(s.text) && (s.text[s.at] == 'e' || s.text[s.at] == 'E') {
		s.at++
		from := s.at
		if s.text[s.at] == '+' || s.text[s.at] == '-' {
			s.at++
		}
		digits()
		var err error
		if exponent, err = strconv.Atoi(string(s.text[from:s.at])); err != nil {
			exponent = maxWhole + 1
		}
	}
	if s.postgres && (exponent > maxWhole-whole || exponent < fraction-maxFraction) {
		return fmt.Sprintf("a number has more than %d digits before the point or %d after it", maxWhole, maxFraction)
	}
	return ""
}
