package poolexec_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

func goexit() { runtime.Goexit() }

func names(intents []core.Intent) string {
	var s []string
	for _, in := range intents {
		s = append(s, strings.Trim(string(in.Payload()), `"`))
	}
	return strings.Join(s, " ")
}

func TestStopRunsWhatIsDueAndListsWhatIsNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 1})
		g := newGate()
		failing := core.NewTask("test.fails", func(context.Context, string) error { return errTest })
		mustExecute(t, pool, newIntent(t, failing, "between-attempts", core.Backoff(core.Fixed(time.Hour))))
		synctest.Wait()
		mustExecute(t, pool, newIntent(t, g.Task, "running"), newIntent(t, g.Task, "due"),
			newIntent(t, failing, "fails-in-the-drain"),
			newIntent(t, g.Task, "delayed-2", core.Delay(3*time.Hour)), newIntent(t, g.Task, "delayed-1", core.Delay(2*time.Hour)))
		<-g.entered
		errs := make(chan error, 10)
		for range cap(errs) {
			go func() { errs <- pool.Stop(context.Background()) }()
		}
		synctest.Wait()
		if err := pool.Execute(context.Background(), newIntent(t, g.Task, "late")); !errors.Is(err, core.ErrClosed) || !errors.Is(err, core.ErrNotSent) {
			t.Errorf("after Stop: %v", err)
		}
		close(g.open)
		for range cap(errs) {
			err := <-errs
			var left *poolexec.StopError
			if !errors.As(err, &left) || errors.Unwrap(err) != nil {
				t.Fatalf("got %v", err)
			}
			if got, want := names(left.Waiting), "between-attempts delayed-1 delayed-2 fails-in-the-drain"; got != want || len(left.Running) != 0 {
				t.Errorf("left %s and %d running, want %s", got, len(left.Running), want)
			}
			if got, want := err.Error(), "airlock: pool: stopped with 4 jobs not run"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if <-g.entered != "due" || len(g.entered) != 0 {
			t.Error("want the due job to have run, and no other")
		}
	})
}

func TestTheEndOfStopsContextEndsTheJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, &poolexec.Options{Workers: 2})
		g := newGate()
		heedless, never := make(chan struct{}), make(chan struct{})
		stubborn := core.NewTask("test.stubborn", func(ctx context.Context, _ string) error {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), worker.ErrStopping) {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			close(heedless)
			<-never
			return nil
		})
		mustExecute(t, pool, newIntent(t, g.Task, "heeds"), newIntent(t, stubborn, "heedless"))
		<-g.entered
		synctest.Wait()
		mustExecute(t, pool, newIntent(t, g.Task, "due-5"), newIntent(t, g.Task, "due-9", core.Priority(9)),
			newIntent(t, g.Task, "delayed", core.Delay(24*time.Hour)))
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		other := make(chan error)
		go func() { other <- pool.Stop(context.Background()) }()
		start := time.Now()
		err := pool.Stop(ctx)
		if d := time.Since(start); d < time.Hour || d > time.Hour+100*time.Millisecond {
			t.Errorf("Stop took %v", d)
		}
		<-heedless
		var left *poolexec.StopError
		if !errors.As(err, &left) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if got, want := names(left.Waiting), "due-9 due-5 delayed heeds"; got != want {
			t.Errorf("waiting %s, want %s", got, want)
		}
		if got := names(left.Running); got != "heedless" {
			t.Errorf("running %s", got)
		}
		if again := pool.Stop(context.Background()); again != err {
			t.Errorf("a further Stop: %v", again)
		}
		if again := <-other; again != err {
			t.Errorf("a concurrent Stop: %v", again)
		}
		close(never)
	})
}

func TestAnIdlePoolStopsAtOnce(t *testing.T) {
	t.Parallel()
	for range 10 {
		pool := newPool(t, nil)
		done, cancel := context.WithCancel(context.Background())
		cancel()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := pool.Stop(done); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// A synctest bubble fails if a goroutine is left, and its clock stops while a
// goroutine is not waiting.
func TestAnIdlePoolHasNoGoroutineAndNoTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool, err := poolexec.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		task := core.NewTask("test.ok", func(context.Context, int) error { return nil })
		for i := range 200 {
			mustExecute(t, pool, newIntent(t, task, i, core.Delay(time.Duration(i+1)*time.Second)), newIntent(t, task, i))
		}
		time.Sleep(time.Hour)
	}) // without Stop
}

func TestNoGoroutineIsLeftAfterStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			pool, err := poolexec.New(&poolexec.Options{OnDone: func(core.Intent, worker.Verdict) {}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			task := core.NewTask("test.ok", func(_ context.Context, i int) error {
				if i%7 == 0 {
					goexit()
				}
				return nil
			}, core.MaxAttempts(1))
			for i := range 20 {
				mustExecute(t, pool, newIntent(t, task, i))
			}
			mustStop(t, pool)
		}
	})
}

func TestStopInTheMiddleAccountsForEveryIntent(t *testing.T) {
	t.Parallel()
	const producers = 64
	total := 1_000_000
	if testing.Short() || raceEnabled {
		total = 50_000
	}
	each := total / producers
	for name, opts := range map[string]poolexec.Options{
		"waiting":  {Workers: 8, Capacity: 2000},
		"refusing": {Workers: 8, Capacity: 2000, RefuseWhenFull: true},
	} {
		t.Run(name, func(t *testing.T) {
			pool := newPool(t, &opts)
			var ran, accepted, refused atomic.Int64
			half := make(chan struct{})
			var once sync.Once
			task := core.NewTask("test.count", func(context.Context, []byte) error {
				if ran.Add(1) >= int64(total/4) {
					once.Do(func() { close(half) })
				}
				return nil
			}).Codec(core.Raw)
			delayed := core.Delay(time.Hour)
			var wg sync.WaitGroup
			for p := range producers {
				wg.Go(func() {
					for sent := 0; sent < each; {
						n := min(1+(p+sent)%100, each-sent)
						batch := make([]core.Intent, n)
						for i := range batch {
							if (sent+i)%1000 == 999 {
								batch[i] = newIntent(t, task, nil, delayed)
							} else {
								batch[i] = newIntent(t, task, nil)
							}
						}
						sent += n
						for _, o := range core.OutcomesOf(pool.Execute(context.Background(), batch...), batch) {
							switch o.State {
							case core.Accepted:
								accepted.Add(1)
							case core.NotSent:
								refused.Add(1)
							default:
								t.Errorf("got %v", o)
							}
						}
						if opts.RefuseWhenFull {
							runtime.Gosched()
						}
					}
				})
			}
			go func() { // on a slow machine, or after many refusals, less than a quarter may run
				wg.Wait()
				once.Do(func() { close(half) })
			}()
			<-half
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			err := pool.Stop(ctx)
			wg.Wait()
			var left poolexec.StopError
			if p := (*poolexec.StopError)(nil); errors.As(err, &p) {
				left = *p
			}
			// On a busy machine a handler may need more than Stop waits. It is listed as running, and ends later.
			over := func() int64 { return ran.Load() + int64(len(left.Waiting)) }
			for until := time.Now().Add(patience); len(left.Running) > 0 && over() < accepted.Load() && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
			if n := len(left.Running); n > opts.Workers {
				t.Errorf("%d still running on %d workers", n, opts.Workers)
			}
			if got, want := over(), accepted.Load(); got != want {
				t.Errorf("%d ran and %d are left, want %d accepted", ran.Load(), len(left.Waiting), want)
			}
			if got := accepted.Load() + refused.Load(); got != int64(each*producers) {
				t.Errorf("%d accepted and %d refused, want %d in all", accepted.Load(), refused.Load(), each*producers)
			}
			t.Logf("%d ran, %d left, %d refused", ran.Load(), len(left.Waiting), refused.Load())
		})
	}
}
