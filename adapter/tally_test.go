package adapter_test

import (
	"testing"
	"testing/synctest"

	"github.com/goairlock/airlock/adapter"
)

func TestATallyWaitsForAllThatHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tally adapter.Tally
		first, ok := tally.Begin()
		if !ok {
			t.Fatal("a new tally takes nothing")
		}
		waited := make(chan struct{})
		go func() { tally.Wait(); close(waited) }()
		synctest.Wait()
		second, ok := tally.Begin() // what is being recorded may need something else to be
		if !ok {
			t.Fatal("a tally that waits takes nothing")
		}
		first()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("Wait has returned, and one is not done")
		default:
		}
		second()
		<-waited
		if _, ok := tally.Begin(); ok {
			t.Error("a tally counts one more after Wait")
		}
		tally.Wait() // returns at once
	})
}
