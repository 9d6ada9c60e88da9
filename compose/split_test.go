package compose_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// sideOf reports which destination an intent goes to: the index of the share, or
// the number of shares for rest.
func sideOf(t testing.TB, in core.Intent, percents ...float64) int {
	t.Helper()
	side := -1
	to := func(n int) core.Executor {
		return func(context.Context, ...core.Intent) error { side = n; return nil }
	}
	var shares []compose.Share
	for i, p := range percents {
		shares = append(shares, compose.Share{Percent: p, To: to(i)})
	}
	if err := compose.Split(to(len(percents)), shares...)(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return side
}

// The places are part of the contract: a change would move keys to another
// backend, where their duplicates are not found.
func TestSplitPlacesNeverChange(t *testing.T) {
	t.Parallel()
	for key, place := range map[string]float64{ // first 8 bytes of SHA-256, big-endian, modulo 1,000,000
		"user-1":                               172594,
		"user-6":                               655622, // 65.5623 * 10000 is below 655623 in floating point
		"user-2":                               18987,
		"order:4711":                           856075,
		"018f4e0c-7b1a-7cc3-98c4-dc0c0c07398f": 381072,
		"ключ":                                 117024,
	} {
		for _, in := range keyed(t, key) {
			at, above := place/10_000, (place+1)/10_000
			if sideOf(t, in, at) != 1 || sideOf(t, in, above) != 0 {
				t.Errorf("key %s is not at place %v", key, place)
			}
		}
	}
}

// keyed are intents that are split by this key: as Unique, and as ID where it
// can be one.
func keyed(t testing.TB, key string) []core.Intent {
	list := []core.Intent{intent(t, 0, core.Unique(key), core.ID("another"))}
	if in, err := task.Intent(1, core.ID(key)); err == nil {
		list = append(list, in)
	}
	return list
}

func TestRaisingAPercentageNeverMovesAKeyBack(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		in := intent(t, 0, core.Unique(fmt.Sprint("key-", n)))
		moved := false
		for p := 0.0; p <= 100; p += 0.5 {
			switch side := sideOf(t, in, p); {
			case side == 0:
				moved = true
			case moved:
				t.Fatalf("key-%d went back at %v percent", n, p)
			}
		}
		if !moved {
			t.Errorf("key-%d is not moved at 100 percent", n)
		}
	}
}

func TestSplitSharesAreAboutAsLargeAsSaid(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	percents := []float64{10, 0.5, 50}
	var got [4]int
	for n := range keys {
		got[sideOf(t, intent(t, 0, core.Unique(fmt.Sprint("key-", n))), percents...)]++
	}
	for i, p := range append(percents, 39.5) {
		if share := 100 * float64(got[i]) / keys; share < p-1 || share > p+1 {
			t.Errorf("share %d got %v percent, want about %v", i, share, p)
		}
	}
}

func TestSplitKeepsPartsInOrder(t *testing.T) {
	t.Parallel()
	rest, share := scripted(), scripted()
	exec := compose.Split(rest.Execute, compose.Share{Percent: 50, To: share.Execute})
	var list []core.Intent
	var want [2][]int
	for n := range 40 {
		in := intent(t, n, core.Unique(fmt.Sprint(n)))
		side := sideOf(t, in, 50)
		want[side] = append(want[side], n)
		list = append(list, in)
	}
	if err := exec(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
	wantSent(t, "the share", share, want[0])
	wantSent(t, "the rest", rest, want[1])
}
