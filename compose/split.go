package compose

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/goairlock/airlock/core"
)

// Share is one destination of a [Split].
type Share struct {
	Percent float64 // 0 to 100, in steps of 0.0001
	To      core.Executor
}

// splitSteps is the number of places that are shared out: a place is 0.0001 %.
const splitSteps = 1_000_000

// Split sends a percentage of the intents to each share and all others to one
// more executor, the rest. It is made by [NewSplit]. Its method Execute is the
// executor:
//
//	split := compose.NewSplit(current.Execute, compose.Share{Percent: 5, To: next.Execute})
//	exec := compose.WithRetry(split.Execute, compose.Retry{})
//
// An intent's Unique key, or else its ID, decides alone where the intent goes: a
// key's place is the first eight bytes of its SHA-256, as a big-endian number,
// modulo 1,000,000. That is the same in every process and every release. So
// intents of one Unique key always meet in one backend, which alone can see that
// they are duplicates, and an intent that is sent again goes to the same backend.
//
// The shares take the places from 0 upwards in the order given. With one share,
// raising its percentage only moves keys from the rest to it, never back. With
// several that holds for the last share; raising an earlier one also moves keys
// between those after it. A Split within a Split uses the same places and does
// not divide evenly: give one Split several shares instead.
type Split struct {
	to      destinations // the shares' executors, then the rest
	bad     error        // what no percentages can correct
	current atomic.Pointer[core.Executor]
}

// NewSplit returns a Split over these shares; rest gets all other intents. A nil
// executor, a percentage below 0, above 100 or not a number, and shares of more
// than 100 in all are [core.ErrInvalid] at each call.
func NewSplit(rest core.Executor, shares ...Share) *Split {
	s := &Split{to: make(destinations, 0, len(shares)+1)}
	percents := make([]float64, len(shares))
	for i, share := range shares {
		s.to = append(s.to, share.To)
		percents[i] = share.Percent
	}
	s.to = append(s.to, rest)
	s.bad = needs("Split", s.to...)
	exec, _ := s.with(percents) // a mistake is the answer to each call
	s.current.Store(&exec)
	return s
}

// Execute sends each intent to its share or to the rest. It is a [core.Executor].
func (s *Split) Execute(ctx context.Context, intents ...core.Intent) error {
	exec := &zeroSplit
	if s != nil && s.current.Load() != nil {
		exec = s.current.Load()
	}
	return (*exec)(ctx, intents...)
}

var (
	errZeroSplit = invalidf("zero Split: splits are made by NewSplit")
	zeroSplit    = wrap(errZeroSplit, nil, nil)
)

// SetPercent changes the percentages of all shares, in the order given to
// [NewSplit]. It is safe for concurrent use: calls that begin later use the new
// percentages, and each call uses one set of them. Percentages that NewSplit
// would refuse, or another number of them, are [core.ErrInvalid] and change
// nothing.
//
// A key that moves is unknown to its new backend. An intent that is sent before
// a change and again after it may be stored on both, and a Unique key may have
// an unfinished job on each.
func (s *Split) SetPercent(percents ...float64) error {
	if s == nil || s.current.Load() == nil {
		return errZeroSplit
	}
	exec, err := s.with(percents)
	if err != nil {
		return err
	}
	s.current.Store(&exec)
	return nil
}

// with returns the executor for these percentages, and what is wrong with it.
func (s *Split) with(percents []float64) (core.Executor, error) {
	bad := s.bad
	if len(percents) != len(s.to)-1 {
		bad = invalidf("Split: %d percentages for %d shares", len(percents), len(s.to)-1)
	}
	var ends splitEnds
	end := uint64(0)
	for _, percent := range percents {
		if !(percent >= 0 && percent <= 100) { // put like this, NaN is refused too
			bad = invalidf("Split: a share of %v percent, want 0 to 100", percent)
			break
		}
		end += uint64(math.Round(percent * (splitSteps / 100)))
		ends = append(ends, end)
	}
	if end > splitSteps {
		bad = invalidf("Split: shares of %v percent in all, want at most 100", float64(end)/(splitSteps/100))
	}
	return wrapDestinations(bad, s.to, ends.choose), bad
}

// splitEnds has the first place after each share.
type splitEnds []uint64

func (ends splitEnds) choose(in *core.Intent) (int, error) {
	key := in.Options.Unique
	if key == "" {
		key = in.ID
	}
	place := placeOf(key)
	for i, end := range ends {
		if place < end {
			return i, nil
		}
	}
	return len(ends), nil
}

// placeOf must never change: keys would move to another backend.
func placeOf(key string) uint64 {
	var buf [256]byte // the longest Unique key or ID is 255 bytes
	sum := sha256.Sum256(append(buf[:0], key...))
	return binary.BigEndian.Uint64(sum[:8]) % splitSteps
}
