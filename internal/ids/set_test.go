package ids_test

import (
	"fmt"
	"testing"

	"github.com/goairlock/airlock/internal/ids"
)

func TestAnIDIsKnownFromAddToRelease(t *testing.T) {
	t.Parallel()
	s := ids.New(2)
	if s.State("a") != ids.Unknown {
		t.Error("an empty set knows an ID")
	}
	if !s.Add("a") || s.Add("a") {
		t.Error("want the first Add to succeed and the second one to fail")
	}
	if s.State("a") != ids.Present {
		t.Errorf("after Add: %v", s.State("a"))
	}
	s.Release("a")
	if s.State("a") != ids.Unknown || !s.Add("a") {
		t.Error("a released ID is still known")
	}
	s.Succeed("a")
	if s.State("a") != ids.Succeeded || s.Add("a") {
		t.Error("a succeeded ID can be added again")
	}
	s.Release("a")
	if s.State("a") != ids.Succeeded {
		t.Error("Release forgot an ID that had succeeded")
	}
}

func TestTheFirstToSucceedIsForgottenFirst(t *testing.T) {
	t.Parallel()
	const keep = 3
	s := ids.New(keep)
	s.Add("waiting")
	for i := range 10 {
		id := fmt.Sprint(i)
		s.Add(id)
		s.Succeed(id)
		s.Succeed(id) // counts once
		for j := range i + 1 {
			want := ids.Unknown
			if j > i-keep {
				want = ids.Succeeded
			}
			if got := s.State(fmt.Sprint(j)); got != want {
				t.Fatalf("after %d: ID %d is %v, want %v", i, j, got, want)
			}
		}
	}
	if s.State("waiting") != ids.Present {
		t.Error("an unfinished job was forgotten")
	}
	if s.Len() != keep+1 {
		t.Errorf("%d IDs known, want %d", s.Len(), keep+1)
	}
}

func TestNothingIsKeptIfKeepIsLessThanOne(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, -1} {
		s := ids.New(keep)
		s.Add("a")
		s.Succeed("a")
		if s.Len() != 0 || !s.Add("a") {
			t.Errorf("keep %d: a succeeded ID is remembered", keep)
		}
	}
}

func TestSucceedAndReleaseIgnoreUnknownIDs(t *testing.T) {
	t.Parallel()
	s := ids.New(1)
	s.Succeed("ghost")
	s.Release("ghost")
	if s.Len() != 0 {
		t.Error("an ID that was never added is known")
	}
}
