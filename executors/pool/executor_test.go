package poolexec_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	poolexec "github.com/goairlock/airlock/executors/pool"
	"github.com/goairlock/airlock/worker"
)

func TestEveryAcceptedIntentRunsOnce(t *testing.T) {
	t.Parallel()
	pool := newPool(t, nil)
	const producers, calls = 8, 40
	var ran [producers * calls * 10]atomic.Int32
	task := core.NewTask("test.count", func(_ context.Context, i int) error { ran[i].Add(1); return nil })
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for c := range calls {
				intents := make([]core.Intent, 10)
				for i := range intents {
					intents[i] = newIntent(t, task, (p*calls+c)*10+i)
				}
				if err := pool.Execute(context.Background(), intents...); err != nil {
					t.Error(err)
				}
				clear(intents) // the slice is the caller's
			}
		})
	}
	wg.Wait()
	mustStop(t, pool)
	for i := range ran {
		if n := ran[i].Load(); n != 1 {
			t.Fatalf("intent %d ran %d times", i, n)
		}
	}
}

func TestBadInputIsAnErrorAndNothingRuns(t *testing.T) {
	t.Parallel()
	for _, opts := range []poolexec.Options{{Workers: -1}, {Capacity: -1}} {
		if _, err := poolexec.New(&opts); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: got %v", opts, err)
		}
	}
	var l ledger
	task := core.NewTask("test.note", func(_ context.Context, s string) error { l.add(s); return nil })
	declared := core.DeclareTask[string]("test.declared")
	pool := newPool(t, nil)
	good := newIntent(t, task, "good")
	if err := pool.Execute(context.Background()); err != nil {
		t.Errorf("no intents: %v", err)
	}
	//lint:ignore SA1012 a nil context is what is tested
	if err := pool.Execute(nil, good); !errors.Is(err, core.ErrInvalid) { //nolint:staticcheck // as above
		t.Errorf("nil context: %v", err)
	}
	//lint:ignore SA1012 a nil context is what is tested
	if err := pool.Stop(nil); !errors.Is(err, core.ErrInvalid) { //nolint:staticcheck // as above
		t.Errorf("Stop(nil): %v", err)
	}
	unknown := newIntent(t, declared, "x")
	err := pool.Execute(context.Background(), good, unknown, core.Intent{})
	if got := states(err, good, unknown, core.Intent{}); got != "not sent;not sent;rejected;" {
		t.Errorf("invalid intent: %s", got)
	}
	err = pool.Execute(context.Background(), good, unknown)
	if got := states(err, good, unknown); got != "not sent;rejected;" {
		t.Errorf("unknown task: %s", got)
	}
	if out := core.OutcomesOf(err, []core.Intent{good, unknown}); !errors.Is(out[1].Err, core.ErrNoHandler) {
		t.Errorf("unknown task: %v", out[1].Err)
	}
	native := newIntent(t, task, "x", core.NativeOption("asynq", 1))
	if err := pool.Execute(context.Background(), native); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("another executor's option: %v", err)
	}
	done, cancel := context.WithCancelCause(context.Background())
	cancel(errTest)
	if err := pool.Execute(done, good); !errors.Is(err, context.Canceled) || !errors.Is(err, core.ErrNotSent) {
		t.Errorf("context done: %v", err)
	}
	var none *poolexec.Executor
	for _, zero := range []*poolexec.Executor{none, new(poolexec.Executor)} {
		if err := zero.Execute(context.Background(), good); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("zero pool: %v", err)
		}
		if err := core.Executor(zero.Execute).Check(context.Background()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("zero pool: Check: %v", err)
		}
		if err := zero.Stop(context.Background()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("zero pool: Stop: %v", err)
		}
		if caps := zero.Capabilities(); len(caps.Options) != 0 {
			t.Errorf("zero pool claims %v", caps.Options)
		}
	}
	mustStop(t, pool)
	if l.len() != 0 {
		t.Errorf("ran %v", &l)
	}
}

func TestHandlersComeFromTheRegistryAndSeeTheirJob(t *testing.T) {
	t.Parallel()
	type key struct{}
	declared := core.DeclareTask[string]("test.declared", core.Header("A", "default"))
	jobs := make(chan worker.Job, 1)
	reg, err := worker.NewRegistry(worker.Handle(declared, func(ctx context.Context, s string) error {
		if ctx.Value(key{}) != nil {
			t.Error("the producer's context reaches the handler")
		}
		if ctx.Err() != nil {
			t.Error("the producer's cancellation reaches the handler")
		}
		job, _ := worker.JobFrom(ctx)
		jobs <- job
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, &poolexec.Options{Registry: reg})
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "secret"))
	in := newIntent(t, declared, "x", core.Queue("mail"), core.Delay(10*time.Millisecond))
	if err := pool.Execute(ctx, in); err != nil {
		t.Fatal(err)
	}
	cancel()
	job := receive(t, jobs)
	if job.ID != in.ID || job.Task != in.Task || job.Queue != "mail" || job.Attempt != 1 ||
		job.MaxAttempts != 25 || job.Headers.Get("A") != "default" {
		t.Errorf("got %+v", job)
	}
}

func TestWorkersAreReachedAndNeverExceeded(t *testing.T) {
	t.Parallel()
	const workers = 3
	pool := newPool(t, &poolexec.Options{Workers: workers})
	g := newGate()
	for i := range 10 {
		mustExecute(t, pool, newIntent(t, g.Task, fmt.Sprint(i)))
	}
	for range workers {
		receive(t, g.entered)
	}
	for range 1000 {
		runtime.Gosched()
	}
	if n := len(g.entered); n != 0 {
		t.Errorf("%d jobs more than workers run", n)
	}
	close(g.open)
	mustStop(t, pool)
	if n := len(g.entered); n != 10-workers {
		t.Errorf("%d further jobs ran, want %d", n, 10-workers)
	}
}

func TestAStuckJobStarvesNobody(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 2})
	g := newGate()
	ran := make(chan int, 50)
	quick := core.NewTask("test.quick", func(_ context.Context, i int) error { ran <- i; return nil })
	batch := []core.Intent{newIntent(t, g.Task, "stuck")}
	for i := range 50 {
		batch = append(batch, newIntent(t, quick, i))
	}
	mustExecute(t, pool, batch...)
	for i := range 50 {
		if got := receive(t, ran); got != i {
			t.Fatalf("got job %d, want %d", got, i)
		}
	}
	close(g.open)
}

func TestHigherPrioritiesStartFirstAndEqualOnesInOrder(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 1})
	g := newGate()
	mustExecute(t, pool, newIntent(t, g.Task, "first"))
	receive(t, g.entered)
	var l ledger
	task := core.NewTask("test.note", func(_ context.Context, s string) error { l.add(s); return nil })
	var batch []core.Intent
	for i := range 2 {
		for _, p := range []int{1, 0, 5, 10, 6} {
			var opts []core.Option
			if p > 0 {
				opts = append(opts, core.Priority(p))
			}
			batch = append(batch, newIntent(t, task, fmt.Sprintf("%d.%d", p, i), opts...))
		}
	}
	mustExecute(t, pool, batch[:3]...)
	mustExecute(t, pool, batch[3:]...)
	close(g.open)
	mustStop(t, pool)
	if got, want := l.String(), "[10.0 10.1 6.0 6.1 0.0 5.0 0.1 5.1 1.0 1.1]"; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
}

func TestJobsOfOneLevelStartInTheOrderOfDispatch(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 1})
	var l ledger
	task := core.NewTask("test.note", func(_ context.Context, i int) error { l.add(fmt.Sprint(i)); return nil })
	var want []string
	for n, i := 1, 0; n < 300; n = n*2 + 1 {
		var batch []core.Intent
		for range n {
			batch = append(batch, newIntent(t, task, i))
			want = append(want, fmt.Sprint(i))
			i++
		}
		mustExecute(t, pool, batch...)
	}
	mustStop(t, pool)
	if got := l.String(); got != fmt.Sprint(want) {
		t.Errorf("ran %s", got)
	}
}

// Each job dispatches two more, so that jobs are taken from a queue that grows.
func TestTheOrderHoldsWhileTheQueueGrows(t *testing.T) {
	t.Parallel()
	const jobs = 5000
	var pool *poolexec.Executor
	var got []int
	done := make(chan struct{})
	var task core.Task[int]
	task = core.NewTask("test.two-more", func(ctx context.Context, i int) error {
		if got = append(got, i); len(got) == jobs {
			close(done)
		}
		var next []core.Intent
		for _, n := range []int{2*i + 1, 2*i + 2} {
			if n < jobs {
				next = append(next, newIntent(t, task, n))
			}
		}
		return pool.Execute(ctx, next...)
	})
	pool = newPool(t, &poolexec.Options{Workers: 1})
	mustExecute(t, pool, newIntent(t, task, 0))
	receive(t, done)
	mustStop(t, pool)
	for i := range got {
		if got[i] != i {
			t.Fatalf("run %d is of job %d", i, got[i])
		}
	}
}

func TestPanicsAndGoexitAreFailuresAndCostNoWorker(t *testing.T) {
	t.Parallel()
	verdicts := make(chan worker.Verdict, 100)
	pool := newPool(t, &poolexec.Options{Workers: 2, OnDone: func(in core.Intent, v worker.Verdict) {
		verdicts <- v
		if in.Options.Queue == "hook-panics" {
			panic("in the hook")
		}
		if in.Options.Queue == "hook-exits" {
			runtime.Goexit()
		}
	}})
	task := core.NewTask("test.panic", func(_ context.Context, how string) error {
		switch how {
		case "error":
			panic(errTest)
		case "string":
			panic("text")
		case "nil":
			panic(nil) //nolint:govet // what is tested
		case "goexit":
			runtime.Goexit()
		}
		return nil
	}, core.MaxAttempts(1))
	for _, how := range []string{"error", "string", "nil", "goexit"} {
		for _, queue := range []string{"plain", "hook-panics", "hook-exits"} {
			mustExecute(t, pool, newIntent(t, task, how, core.Queue(queue)))
			v := receive(t, verdicts)
			var p *core.PanicError
			if how == "goexit" {
				if v.Action != worker.Dead || !strings.Contains(v.Err.Error(), "Goexit") {
					t.Errorf("%s: got %v", how, v)
				}
			} else if v.Action != worker.Dead || !errors.As(v.Err, &p) || len(p.Stack) == 0 {
				t.Errorf("%s: got %v", how, v)
			}
		}
	}
	for range 20 {
		mustExecute(t, pool, newIntent(t, task, "none"))
		if v := receive(t, verdicts); v.Action != worker.Done {
			t.Errorf("got %v", v)
		}
	}
	mustStop(t, pool)
}

func TestAFullPoolHandsOverFromItsOwnJobs(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 1})
	done := make(chan struct{})
	var chain core.Task[int]
	chain = core.NewTask("test.chain", func(ctx context.Context, n int) error {
		if n == 0 {
			close(done)
			return nil
		}
		idle := core.NewTask("test.idle", func(context.Context, int) error { return nil })
		next, err := chain.Intent(n - 1)
		if err != nil {
			return err
		}
		return pool.Execute(ctx, newIntent(t, idle, 1), newIntent(t, idle, 2), next)
	})
	mustExecute(t, pool, newIntent(t, chain, 50))
	receive(t, done)
	mustStop(t, pool)
}

func TestAQuestionIsAnsweredAndNothingRuns(t *testing.T) {
	t.Parallel()
	pool := newPool(t, &poolexec.Options{Workers: 1, Capacity: 1})
	exec := core.Executor(pool.Execute)
	task := core.NewTask("test.own", func(context.Context, string) error { t.Error("a job ran"); return nil })
	unknown := newIntent(t, core.DeclareTask[string]("test.unknown"), "x")
	good, native := newIntent(t, task, "x"), newIntent(t, task, "x", core.NativeOption("asynq", 1))
	for _, tc := range []struct {
		intents []core.Intent
		want    error
	}{
		{[]core.Intent{good, good, good}, nil}, // whether there is room is not asked
		{[]core.Intent{unknown}, core.ErrNoHandler},
		{[]core.Intent{good, unknown}, core.ErrNoHandler},
		{[]core.Intent{native}, core.ErrUnsupported},
		{[]core.Intent{unknown, native}, core.ErrUnsupported},
	} {
		if err := exec.Check(t.Context(), tc.intents...); !errors.Is(err, tc.want) {
			t.Errorf("%v: the answer is %v, want %v", tc.intents, err, tc.want)
		}
		if tc.want == nil {
			continue
		}
		if err := exec(t.Context(), tc.intents...); !errors.Is(err, tc.want) {
			t.Errorf("%v: a dispatch returns %v, want %v", tc.intents, err, tc.want)
		}
	}
	caps, ok := exec.Capabilities()
	if !ok || caps.Executor != "pool" {
		t.Errorf("capabilities %+v, %v", caps, ok)
	}
	mustStop(t, pool)
}

func TestCapabilitiesDependOnTheOptions(t *testing.T) {
	t.Parallel()
	caps := newPool(t, nil).Capabilities()
	if caps.Executor != "pool" || caps.AtomicBatch || caps.IDWindow.Count != 10_000 || caps.DefaultAttempts != 25 {
		t.Errorf("got %+v", caps)
	}
	caps = newPool(t, &poolexec.Options{RefuseWhenFull: true, RememberIDs: 7}).Capabilities()
	if !caps.AtomicBatch || caps.IDWindow.Count != 7 {
		t.Errorf("got %+v", caps)
	}
	caps = newPool(t, &poolexec.Options{RememberIDs: -1}).Capabilities()
	if caps.IDWindow != (core.Window{Kind: core.WindowUnfinished}) {
		t.Errorf("got %+v", caps.IDWindow)
	}
	caps.Options[core.OptionHeader] = core.Claim{}
	pool := newPool(t, nil)
	pool.Capabilities().Options[core.OptionHeader] = core.Claim{}
	caps = pool.Capabilities()
	for _, name := range core.PortableOptions() {
		if caps.Options[name].Support == core.SupportRefused {
			t.Errorf("option %s is refused", name)
		}
	}
}
