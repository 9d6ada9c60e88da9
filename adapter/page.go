package adapter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goairlock/airlock/core"
)

// Pages reads ordered sets of members, such as the lists and sorted sets of a Redis,
// one page at a time. It is for inspectors.
//
// A page begins behind the last member of the page before, wherever that is now. If
// it is gone, one of the members before it serves. If all of these are gone, the page
// begins at the first member of the same score, or at the first one of a set without
// scores. So members that leave the set between two pages make none that stays be
// missed, but a member may come twice.
type Pages struct {
	// Sets are the sets to read, sorted. One that is not there is empty.
	Sets []string
	// Read returns up to n members of a set, from a rank on.
	Read func(set string, from int64, n int) ([]Member, error)
	// First returns the rank of the first member with the score. It is not called for
	// the score "".
	First func(set, score string) (int64, error)
}

// Member is a member of a set. Score is "" in a set without scores.
type Member struct{ Text, Score string }

// cursor says where a page ends. It has hashes, since a member could be a payload.
type cursor struct {
	Set   string   `json:"s"`
	Rank  int64    `json:"r"` // of the next member
	Score string   `json:"c,omitempty"`
	Last  []string `json:"l,omitempty"` // the last members before it, the last one last
}

const (
	searched = 1000 // how far a page looks for the end of the page before
	anchors  = 12   // how many members a cursor has
)

// Next calls visit for up to limit members, beginning at the cursor, or at the first
// member if that is "". It returns the cursor of the next page, "" if this is the last
// one. It ends early if visit returns false; the next page then begins after that
// member. A cursor that Next did not make is core.ErrInvalid.
func (p Pages) Next(after string, limit int, visit func(set string, m Member) bool) (next string, err error) {
	var c cursor
	at := 0
	if after != "" {
		if c, at, err = p.open(after); err != nil {
			return "", err
		}
	} else if len(p.Sets) > 0 {
		c.Set = p.Sets[0]
	}
	for at < len(p.Sets) {
		if c.Set != p.Sets[at] {
			c = cursor{Set: p.Sets[at]}
		}
		found, err := p.after(&c, limit)
		if err != nil {
			return "", err
		}
		for _, m := range found {
			c.Rank++
			c.Score, c.Last = m.Score, append(c.Last[max(0, len(c.Last)-anchors+1):], hashOf(m))
			limit--
			if !visit(c.Set, m) || limit == 0 {
				return c.encode(), nil
			}
		}
		if len(found) == 0 {
			at++
		}
	}
	return "", nil
}

// open returns what a cursor says, and its set.
func (p Pages) open(text string) (c cursor, at int, err error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(data, &c) != nil || c.Rank < 0 {
		return c, 0, fmt.Errorf("airlock: the cursor is malformed: %w", core.ErrInvalid)
	}
	if at = slices.Index(p.Sets, c.Set); at >= 0 {
		return c, at, nil
	}
	for at = 0; at < len(p.Sets) && strings.Compare(p.Sets[at], c.Set) < 0; at++ { // the set is gone
	}
	return c, at, nil
}

func (c cursor) encode() string {
	data, _ := json.Marshal(c) // strings and a number
	return base64.RawURLEncoding.EncodeToString(data)
}

// after returns up to n members behind the cursor. The members and the place where they
// begin come from one Read, since members may leave the set between two.
func (p Pages) after(c *cursor, n int) ([]Member, error) {
	if len(c.Last) == 0 {
		c.Rank = 0
		return p.Read(c.Set, 0, n)
	}
	read, err := p.Read(c.Set, c.Rank-1, n+1)
	if err != nil || len(read) > 0 && hashOf(read[0]) == c.Last[len(c.Last)-1] {
		return read[min(1, len(read)):], err
	}
	from := max(0, c.Rank-searched)
	if read, err = p.Read(c.Set, from, 2*searched+n); err != nil {
		return nil, err
	}
	at, newest := -1, -1
	for i, m := range read {
		if k := slices.Index(c.Last, hashOf(m)); k > newest {
			at, newest = i, k
		}
	}
	switch {
	case at >= 0:
		c.Rank, c.Last = from+int64(at)+1, c.Last[:newest+1]
		read = read[at+1:]
		return read[:min(n, len(read))], nil
	case c.Score != "":
		return p.fromScore(c, n)
	}
	c.Rank, c.Last = 0, nil
	return p.Read(c.Set, 0, n)
}

// fromScore returns up to n members, from the first one with the cursor's score on. It
// reads some members before that one as well: if there are none, the set has become
// shorter since First looked.
func (p Pages) fromScore(c *cursor, n int) ([]Member, error) {
	c.Last = nil
	for range searched {
		rank, err := p.First(c.Set, c.Score)
		if err != nil {
			return nil, err
		}
		from := max(0, rank-anchors)
		read, err := p.Read(c.Set, from, n+2*anchors)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(read, func(m Member) bool { return !lessScore(m.Score, c.Score) })
		if i < 0 {
			i = len(read)
		}
		if from == 0 || i > 0 {
			c.Rank = from + int64(i)
			read = read[i:]
			return read[:min(n, len(read))], nil
		}
	}
	c.Rank = 0 // the set changes without end: better twice than never
	return p.Read(c.Set, 0, n)
}

// lessScore compares scores, which are numbers.
func lessScore(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX != nil || errY != nil {
		return a < b
	}
	return x < y
}

func hashOf(m Member) string {
	sum := sha256.Sum256([]byte(m.Text))
	return hex.EncodeToString(sum[:8])
}
