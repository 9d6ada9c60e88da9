package compose_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/goairlock/airlock/compose"
	"github.com/goairlock/airlock/core"
)

// sideOf returns the destination of an intent: the index of the share, or the
// number of shares for the rest.
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
	if err := compose.NewSplit(to(len(percents)), shares...).Execute(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return side
}

// The places are part of the contract. A change would move keys to another
// backend, which does not know their earlier jobs.
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

// keyed returns intents that are split by this key: as Unique, and as ID if it
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

func TestSetPercentMovesWhatNewSplitWouldMove(t *testing.T) {
	t.Parallel()
	side := -1
	to := func(n int) core.Executor {
		return func(context.Context, ...core.Intent) error { side = n; return nil }
	}
	split := compose.NewSplit(to(2), compose.Share{To: to(0)}, compose.Share{To: to(1)})
	for _, percents := range [][]float64{{0, 0}, {1, 0}, {25, 50}, {0, 100}, {0.0001, 10}} {
		if err := split.SetPercent(percents...); err != nil {
			t.Fatal(err)
		}
		for n := range 100 {
			in := intent(t, n)
			if err := split.Execute(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if want := sideOf(t, in, percents...); side != want {
				t.Fatalf("at %v percent intent %s went to %d, want %d", percents, in.ID, side, want)
			}
		}
	}
}

func TestSetPercentRefusesWhatNewSplitRefusesAndChangesNothing(t *testing.T) {
	t.Parallel()
	rest, share := scripted(), scripted()
	split := compose.NewSplit(rest.Execute, compose.Share{Percent: 100, To: share.Execute})
	nan := math.NaN()
	for _, percents := range [][]float64{{}, {50, 50}, {-1}, {101}, {nan}, {math.Inf(1)}} {
		wantErrorIs(t, split.SetPercent(percents...), core.ErrInvalid)
	}
	if err := split.Execute(t.Context(), intent(t, 0)); err != nil {
		t.Error(err)
	}
	wantSent(t, "the share", share, []int{0})

	bad := compose.NewSplit(rest.Execute, compose.Share{Percent: 101, To: share.Execute})
	wantErrorIs(t, bad.Execute(t.Context(), intent(t, 1)), core.ErrInvalid)
	if err := bad.SetPercent(0); err != nil {
		t.Error(err)
	}
	if err := bad.Execute(t.Context(), intent(t, 2)); err != nil {
		t.Errorf("good percentages did not correct the bad ones: %v", err)
	}
	wantErrorIs(t, compose.NewSplit(nil).SetPercent(), core.ErrInvalid)
	wantErrorIs(t, new(compose.Split).SetPercent(1), core.ErrInvalid)
	wantErrorIs(t, (*compose.Split)(nil).SetPercent(1), core.ErrInvalid)
}

// One call sees one set of percentages.
func TestSetPercentWhileIntentsAreDispatched(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got [2]int
	to := func(n int) core.Executor {
		return func(_ context.Context, list ...core.Intent) error {
			mu.Lock()
			defer mu.Unlock()
			got[n] += len(list)
			if len(list)%20 != 0 {
				t.Errorf("a call of 20 intents was divided into %d and the rest", len(list))
			}
			return nil
		}
	}
	split := compose.NewSplit(to(1), compose.Share{To: to(0)})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if err := split.Execute(t.Context(), intents(t, 20)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for n := range 200 {
			if err := split.SetPercent(float64(n % 2 * 100)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got[0]+got[1] != 4*200*20 {
		t.Errorf("%v intents arrived, want %d in all", got, 4*200*20)
	}
}

func TestSplitKeepsPartsInOrder(t *testing.T) {
	t.Parallel()
	rest, share := scripted(), scripted()
	exec := compose.NewSplit(rest.Execute, compose.Share{Percent: 50, To: share.Execute}).Execute
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
