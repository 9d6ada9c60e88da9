package compose

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/goairlock/airlock/core"
)

// Share is one destination of [Split].
type Share struct {
	Percent float64 // 0 to 100, in steps of 0.0001
	To      core.Executor
}

// splitSteps is how many places there are to share out: a place is 0.0001 %.
const splitSteps = 1_000_000

// Split sends a percentage of the intents to each share and all others to rest:
//
//	exec := compose.Split(current.Execute, compose.Share{Percent: 5, To: next.Execute})
//
// Where an intent goes follows from its Unique key, or else from its ID, and
// from nothing else: a key's place is the first eight bytes of its SHA-256, as a
// big-endian number, modulo 1,000,000. That is the same in every process and
// every release, so that intents of one Unique key always meet in one backend,
// which alone can tell that they are duplicates, and so does an intent that is
// sent again.
//
// The shares take the places from 0 upwards in the order given. So with one
// share, raising its percentage only moves keys from rest to it, never back;
// with several that holds for the last, while raising an earlier one also moves
// keys between those after it. Splits within splits go by the same places and
// do not divide evenly: give one Split several shares instead.
//
// A percentage below 0, above 100 or not a number, and shares of more than 100
// in all are [core.ErrInvalid] at each call.
func Split(rest core.Executor, shares ...Share) core.Executor {
	bad := missing("Split", rest)
	s := splitter{to: make(destinations, 0, len(shares)+1)}
	end := uint64(0)
	for _, share := range shares {
		switch {
		case share.To == nil:
			bad = invalidf("Split: nil executor")
		case !(share.Percent >= 0 && share.Percent <= 100): // so put, NaN is refused too
			bad = invalidf("Split: a share of %v percent, want 0 to 100", share.Percent)
		default:
			end += uint64(math.Round(share.Percent * (splitSteps / 100)))
		}
		s.to = append(s.to, share.To)
		s.ends = append(s.ends, end)
	}
	if end > splitSteps {
		bad = invalidf("Split: shares of %v percent in all, want at most 100", float64(end)/(splitSteps/100))
	}
	s.to = append(s.to, rest)
	return wrap(bad, func(ctx context.Context, intents []core.Intent) []core.Outcome {
		return s.to.deliver(ctx, intents, s.side)
	})
}

type splitter struct {
	to   destinations
	ends []uint64 // the first place after each share; rest has no entry
}

func (s *splitter) side(in *core.Intent) (int, error) {
	key := in.Options.Unique
	if key == "" {
		key = in.ID
	}
	place := placeOf(key)
	for i, end := range s.ends {
		if place < end {
			return i, nil
		}
	}
	return len(s.ends), nil
}

// placeOf must never change: keys would move to another backend.
func placeOf(key string) uint64 {
	var buf [256]byte // the longest Unique key or ID is 255 bytes
	sum := sha256.Sum256(append(buf[:0], key...))
	return binary.BigEndian.Uint64(sum[:8]) % splitSteps
}
