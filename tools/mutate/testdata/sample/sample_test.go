package sample

import "testing"

func Test(t *testing.T) {
	for n, want := range map[int]int{-1: 0, 0: 1, 5: 6} {
		got, err := Tested(n)
		if got != want || (err != nil) != (n < 0) {
			t.Errorf("Tested(%d) = %d, %v", n, got, err)
		}
	}
	Untested(4)
}
