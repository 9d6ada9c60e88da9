package airlock_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// enqueueUntilClosed starts goroutines that enqueue until the scope has ended,
// calls end when each has done so once, and returns how many were taken in all.
func enqueueUntilClosed(t *testing.T, ctx context.Context, goroutines int, end func()) int {
	t.Helper()
	var taken atomic.Int64
	var begun, done sync.WaitGroup
	begun.Add(goroutines)
	for range goroutines {
		done.Go(func() {
			for first := true; ; first = false {
				err := airlock.Enqueue(ctx, note, "a")
				if err == nil {
					taken.Add(1)
				}
				if first {
					begun.Done()
				}
				if err != nil {
					wantIs(t, err, airlock.ErrScopeClosed)
					return
				}
			}
		})
	}
	begun.Wait()
	end()
	done.Wait()
	return int(taken.Load())
}

func TestAnIntentThatWasTakenLeavesWithTheFlush(t *testing.T) {
	t.Parallel()
	for range 20 {
		sent := 0
		exec := func(_ context.Context, intents ...core.Intent) error { sent += len(intents); return nil }
		ctx, scope, err := airlock.Begin(t.Context(), exec, airlock.BlockTasks("test.other"), airlock.Require(core.Capabilities{}))
		if err != nil {
			t.Fatal(err)
		}
		taken := enqueueUntilClosed(t, ctx, 4, func() {
			var readers sync.WaitGroup
			readers.Go(func() { scope.Intents() })
			readers.Go(func() { scope.Own() })
			if err := scope.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			readers.Wait()
		})
		if sent != taken || len(scope.Intents()) != taken {
			t.Errorf("%d intents were taken, %d sent, %d shown", taken, sent, len(scope.Intents()))
		}
	}
}

func TestOfManyEndsOneHolds(t *testing.T) {
	t.Parallel()
	for range 50 {
		var s sink
		ctx, scope, err := airlock.Begin(t.Context(), s.Execute)
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, ctx, "a")
		var flushed atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { scope.Discard() }) // always nil
			wg.Go(func() {
				if err := scope.Flush(t.Context()); err == nil {
					flushed.Add(1)
				} else {
					wantIs(t, err, airlock.ErrScopeClosed)
				}
			})
		}
		wg.Wait()
		if n := flushed.Load(); n > 1 || int(n) != len(s.calls) {
			t.Errorf("%d flushes succeeded, %d calls were made", n, len(s.calls))
		}
	}
}

func TestAPanicDiscardsWhatOtherGoroutinesEnqueue(t *testing.T) {
	t.Parallel()
	var s sink
	var inside context.Context
	ready, closed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(closed)
		<-ready
		enqueueUntilClosed(t, inside, 4, func() { ready <- struct{}{} })
	}()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not go on")
			}
		}()
		airlock.Run(t.Context(), s.Execute, func(ctx context.Context) error { // it panics
			inside = ctx
			ready <- struct{}{}
			<-ready // all are at it
			panic("boom")
		})
	}()
	<-closed
	wantGot(t, &s, "")
}

// Several scopes hand over to one at the same time, as the parts of a request do.
func TestInnerScopesOfManyGoroutinesHandOverWhole(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 50
	var s sink
	nest(t, t.Context(), s.Execute, func(ctx context.Context) {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for i := range each {
					err := airlock.Run(ctx, nil, func(ctx context.Context) error {
						enqueue(t, ctx, "first", "second")
						if i%5 == 0 {
							return errDiscarded
						}
						return nil
					})
					if !errors.Is(err, errDiscarded) && err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
	got := s.calls[0]
	if want := goroutines * each * 4 / 5 * 2; len(got) != want {
		t.Fatalf("%d intents, want %d", len(got), want)
	}
	for i := 0; i < len(got); i += 2 {
		if pair := payloads(got[i : i+2]); pair != "first second" {
			t.Fatalf("intents %d: %q came apart", i, pair)
		}
	}
}

var errDiscarded = errors.New("this one is discarded")
