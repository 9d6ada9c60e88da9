package poolexec_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
)

// fill occupies one worker, and then as many places as capacity says.
func fill(t *testing.T, pool *poolexec.Executor, g *gate, capacity int) {
	t.Helper()
	mustExecute(t, pool, newIntent(t, g.Task, "running"))
	receive(t, g.entered)
	for i := range capacity {
		mustExecute(t, pool, newIntent(t, g.Task, fmt.Sprint("waiting ", i)))
	}
}

func TestAFullPoolRefusesTheWholeCallWithRefuseWhenFull(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 3, RefuseWhenFull: true})
	g := newGate()
	fill(t, pool, g, 2)
	a, b := newIntent(t, g.Task, "a"), newIntent(t, g.Task, "b", core.ID("b"))
	err := pool.Execute(context.Background(), a, b)
	if got := states(err, a, b); got != "not sent;not sent;" || !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("two for one place: %s, %v", got, err)
	}
	mustExecute(t, pool, b)
	err = pool.Execute(context.Background(), b) // needs no room
	if got := states(err, b); got != "duplicate;" {
		t.Errorf("a duplicate on a full pool: %s", got)
	}
	close(g.open)
	mustStop(t, pool)
	if n := len(g.entered); n != 3 {
		t.Errorf("%d further jobs ran, want 3", n)
	}
}

func TestAFullPoolWaitsUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 3})
		g := newGate()
		fill(t, pool, g, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var batch []core.Intent
		for i := range 4 {
			batch = append(batch, newIntent(t, g.Task, fmt.Sprint("late ", i)))
		}
		start := time.Now()
		err := pool.Execute(ctx, batch...)
		if got := states(err, batch...); got != "accepted;accepted;not sent;not sent;" {
			t.Errorf("got %s", got)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("waited %v", d)
		}
		close(g.open)
		mustStop(t, pool)
		if n := len(g.entered); n != 3 {
			t.Errorf("%d further jobs ran, want 3", n)
		}
	})
}

func TestWaitingCallsGetRoomInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 2})
		g := newGate()
		var l ledger
		task := core.NewTask("test.note", func(_ context.Context, s string) error { l.add(s); return nil })
		fill(t, pool, g, 2)
		var wg sync.WaitGroup
		ctxs := map[int]context.CancelFunc{}
		for i := range 3 {
			ctx, cancel := context.WithCancel(context.Background())
			ctxs[i] = cancel
			wg.Go(func() {
				var batch []core.Intent
				for j := range 5 {
					batch = append(batch, newIntent(t, task, fmt.Sprintf("%d.%d", i, j)))
				}
				err := pool.Execute(ctx, batch...)
				if (err != nil) != (i == 1) {
					t.Errorf("call %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		ctxs[1]() // gives up while it waits for its turn
		synctest.Wait()
		close(g.open)
		wg.Wait()
		ctxs[0]()
		ctxs[2]()
		mustStop(t, pool)
		if got, want := l.String(), "[0.0 0.1 0.2 0.3 0.4 2.0 2.1 2.2 2.3 2.4]"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	})
}

func TestRoomGoesToTheNextCallIfTheFirstGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 8})
		g := newGate()
		fill(t, pool, g, 8)
		call := func(ctx context.Context, n int) <-chan error {
			answer := make(chan error, 1)
			var batch []core.Intent
			for range n {
				batch = append(batch, newIntent(t, g.Task, "late"))
			}
			go func() { answer <- pool.Execute(ctx, batch...) }()
			synctest.Wait()
			return answer
		}
		ctx, cancel := context.WithCancel(context.Background())
		first := call(ctx, 100)
		second := call(context.Background(), 1)
		g.open <- struct{}{} // one place, too little to wake the first call for
		<-g.entered
		third := call(context.Background(), 1)
		if len(first)+len(second)+len(third) != 0 {
			t.Error("a call was answered before its turn")
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("second: %v", err)
		}
		if len(third) != 0 {
			t.Error("the third call found a place that was not there")
		}
		close(g.open)
		if err := <-third; err != nil {
			t.Errorf("third: %v", err)
		}
	})
}

func TestIdleWorkersGetAJobAsSoonAsThereIsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Capacity: 8})
		start := time.Now()
		ran := make(chan time.Duration, 100)
		task := core.NewTask("test.note", func(_ context.Context, note bool) error {
			if note {
				ran <- time.Since(start)
			}
			return nil
		})
		for i := range 8 {
			mustExecute(t, pool, newIntent(t, task, false, core.Delay(time.Duration(i+1)*time.Hour)))
		}
		mustExecute(t, pool, newIntent(t, task, true, core.Priority(9)), newIntent(t, task, true, core.Delay(time.Minute)))
		if d := <-ran; d != time.Hour {
			t.Errorf("the first ran after %v, want the first place that came free", d)
		}
	})
}

func TestStopAnswersWaitingCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 2})
		g := newGate()
		fill(t, pool, g, 1)
		var wg sync.WaitGroup
		var mu sync.Mutex
		accepted := 0
		for range 100 {
			wg.Go(func() {
				err := pool.Execute(context.Background(), newIntent(t, g.Task, "late"))
				if err != nil && !errors.Is(err, core.ErrClosed) {
					t.Errorf("got %v", err)
				}
				if err == nil {
					mu.Lock()
					accepted++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- pool.Stop(context.Background()) }()
		wg.Wait()
		close(g.open)
		if err := receive(t, stopped); err != nil {
			t.Error(err)
		}
		if n := len(g.entered); accepted != 1 || n != 2 {
			t.Errorf("%d calls accepted, %d further jobs ran", accepted, n)
		}
	})
}

func TestADelayedJobKeepsItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Capacity: 1})
		done := make(chan struct{}, 2)
		task := core.NewTask("test.note", func(context.Context, int) error { done <- struct{}{}; return nil })
		mustExecute(t, pool, newIntent(t, task, 1, core.Delay(time.Hour)))
		start := time.Now()
		mustExecute(t, pool, newIntent(t, task, 2)) // waits until the first is due
		if d := time.Since(start); d != time.Hour {
			t.Errorf("waited %v", d)
		}
		<-done
		<-done
	})
}
