package poolexec_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

func TestTheSameIntentIsOneJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1})
		g := newGate()
		chosen, generated := core.ID("chosen"), core.Priority(5)
		delayed := core.Delay(time.Hour)
		for name, c := range map[string]struct {
			opts []core.Option
			want string
		}{
			"chosen":             {[]core.Option{chosen}, "duplicate;"},
			"generated":          {[]core.Option{generated}, "accepted;"},
			"generated, delayed": {[]core.Option{generated, delayed}, "accepted;"},
			"chosen, delayed":    {[]core.Option{core.ID("delayed"), delayed}, "duplicate;"},
			"generated, unique":  {[]core.Option{core.Unique("key")}, "duplicate;"},
		} {
			in := newIntent(t, g.Task, name, c.opts...)
			mustExecute(t, pool, newIntent(t, g.Task, "holds the worker"))
			<-g.entered
			again := func(when string) {
				t.Helper()
				if got := states(pool.Execute(context.Background(), in), in); got != c.want {
					t.Errorf("%s, %s: %s, want %s", name, when, got, c.want)
				}
			}
			first := "accepted;" + c.want + c.want
			if got := states(pool.Execute(context.Background(), in, in, in), in, in, in); got != first {
				t.Errorf("%s, within a batch: %s, want %s", name, got, first)
			}
			again("while it waits")
			g.open <- struct{}{}
			if got := <-g.entered; got != name {
				t.Fatalf("%q runs, want %q", got, name)
			}
			again("while it runs")
			g.open <- struct{}{}
			synctest.Wait()
			again("after it has succeeded")
			time.Sleep(2 * time.Hour)
			if n := len(g.entered); n != 0 {
				t.Errorf("%s: ran again", name)
			}
		}
		mustStop(t, pool)
	})
}

func TestAnIDIsKnownHoweverItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1})
		g := newGate()
		mustExecute(t, pool, newIntent(t, g.Task, "holds the worker"))
		<-g.entered
		batch := make([]core.Intent, 150)
		for i := range batch {
			batch[i] = newIntent(t, g.Task, fmt.Sprint(i))
		}
		mustExecute(t, pool, batch...)
		for i, opt := range []core.Option{core.ID(batch[100].ID), core.ID(batch[100].ID), core.Delay(time.Hour), core.Unique("key")} {
			in, err := batch[100].With(opt)
			if err != nil {
				t.Fatal(err)
			}
			want := "duplicate;"
			if i == 2 {
				want = "accepted;" // its ID was generated; it is no second job
			}
			if got := states(pool.Execute(context.Background(), in), in); got != want {
				t.Errorf("%d: got %s, want %s", i, got, want)
			}
		}
		mustExecute(t, pool, batch...)
		chosen := newIntent(t, g.Task, "chosen", core.ID("chosen"))
		mustExecute(t, pool, chosen) // the pool now looks at the IDs of all jobs
		mustExecute(t, pool, batch...)
		close(g.open)
		time.Sleep(2 * time.Hour)
		mustStop(t, pool)
		if n := len(g.entered); n != len(batch)+1 {
			t.Errorf("%d ran, want %d", n, len(batch)+1)
		}
	})
}

func TestADeadJobsIDIsFree(t *testing.T) {
	t.Parallel()
	over := make(chan worker.Verdict, 1)
	var pool *poolexec.Executor
	var in core.Intent
	again := make(chan string, 2)
	pool = newPool(t, &poolexec.Options{OnDone: func(_ core.Intent, v worker.Verdict) {
		if v.Action == worker.Dead {
			again <- states(pool.Execute(context.Background(), in), in)
		}
		over <- v
	}})
	runs := 0
	task := core.NewTask("test.dies-once", func(context.Context, int) error {
		if runs++; runs == 1 {
			return worker.Permanent(errTest)
		}
		return nil
	})
	in = newIntent(t, task, 1, core.ID("chosen"), core.Unique("key"))
	mustExecute(t, pool, in)
	for _, want := range []worker.Action{worker.Dead, worker.Done} {
		if v := receive(t, over); v.Action != want {
			t.Errorf("got %v, want %v", v, want)
		}
	}
	if got := receive(t, again); got != "accepted;" {
		t.Errorf("sent again from OnDone: %s", got)
	}
}

func TestIDsThatSucceededAreForgottenBeyondTheBound(t *testing.T) {
	t.Parallel()
	over := make(chan struct{}, 1)
	pool := newPool(t, &poolexec.Options{RememberIDs: 2, OnDone: func(core.Intent, worker.Verdict) { over <- struct{}{} }})
	task := core.NewTask("test.ok", func(context.Context, int) error { return nil })
	var batch []core.Intent
	for i := range 3 {
		batch = append(batch, newIntent(t, task, i, core.ID(fmt.Sprint("job-", i))))
		mustExecute(t, pool, batch[i])
		receive(t, over)
	}
	if got := states(pool.Execute(context.Background(), batch...), batch...); got != "accepted;duplicate;duplicate;" {
		t.Errorf("got %s", got)
	}
	receive(t, over) // job-0 again
	forgetful := newPool(t, &poolexec.Options{RememberIDs: -1, OnDone: func(core.Intent, worker.Verdict) { over <- struct{}{} }})
	for range 2 {
		mustExecute(t, forgetful, batch[0])
		receive(t, over)
	}
}

func TestAUniqueKeyHoldsUntilItsJobIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, nil)
		var fail error
		entered, open := make(chan struct{}), make(chan struct{})
		handler := func(context.Context, int) error {
			entered <- struct{}{}
			<-open
			return fail
		}
		task, other := core.NewTask("test.unique", handler), core.NewTask("test.other", handler)
		dispatch := func(want string, in core.Intent) {
			t.Helper()
			if got := states(pool.Execute(context.Background(), in), in); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		another := func() core.Intent { return newIntent(t, task, 0, core.Unique("key")) }
		walk := func(last error) {
			dispatch("accepted;", newIntent(t, task, 0, core.Unique("key"), core.Delay(time.Hour),
				core.Backoff(core.Fixed(time.Hour)), core.MaxAttempts(2)))
			dispatch("duplicate;", another()) // delayed
			<-entered
			dispatch("duplicate;", another()) // running
			fail = errTest
			open <- struct{}{}
			synctest.Wait()
			dispatch("duplicate;", another()) // between attempts
			<-entered
			fail = last
			open <- struct{}{}
			synctest.Wait()
		}
		walk(nil)
		walk(worker.Permanent(errTest)) // free after a success
		dispatch("accepted;", another())
		for _, in := range []core.Intent{ // of other scopes
			newIntent(t, task, 0, core.Unique("other")),
			newIntent(t, task, 0, core.Unique("key"), core.Queue("mail")),
			newIntent(t, other, 0, core.Unique("key")),
		} {
			dispatch("accepted;", in)
		}
		fail = nil
		for range 4 {
			<-entered
		}
		close(open)
		mustStop(t, pool)
	})
}

func TestConcurrentIntentsOfOneKeyAreOneJob(t *testing.T) {
	t.Parallel()
	pool := newPool(t, nil)
	g := newGate()
	var accepted atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		opt := core.Unique("key")
		if i%2 == 0 {
			opt = core.ID("chosen")
		}
		in := newIntent(t, g.Task, "x", opt)
		wg.Go(func() {
			if pool.Execute(context.Background(), in) == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	close(g.open)
	mustStop(t, pool)
	if accepted.Load() != 2 || len(g.entered) != 2 {
		t.Errorf("%d accepted, %d ran, want one of each key", accepted.Load(), len(g.entered))
	}
}

// The pool may look at an intent without an ID or a key of its own only when a worker is
// free. It was sent while its job was unfinished all the same.
func TestAnIntentSentAgainBeforeItsJobIsDeadIsOneJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1})
		runs := 0
		open := make(chan struct{})
		task := core.NewTask("dies", func(context.Context, int) error {
			runs++
			<-open
			return worker.Permanent(context.Canceled)
		})
		in := newIntent(t, task, 1)
		mustExecute(t, pool, in)
		synctest.Wait()
		mustExecute(t, pool, in)
		close(open)
		synctest.Wait()
		if runs != 1 {
			t.Errorf("%d runs of an intent that was sent again while its job ran, want 1", runs)
		}
		mustExecute(t, pool, in)
		mustStop(t, pool)
		if runs != 2 {
			t.Errorf("%d runs after the intent of a dead job was sent again, want 2", runs)
		}
	})
}
