package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestSomeDeliveriesAreNotRun(t *testing.T) {
	t.Parallel()
	var got worker.Run
	observed := 0
	observe := func(_ context.Context, run worker.Run) { got, observed = run, observed+1 }
	reg := handler(t, func(context.Context) error { t.Error("called"); return nil },
		worker.Observer(observe),
		worker.Middleware(func(context.Context, func(context.Context) error) error { t.Error("middleware called"); return nil }))
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	past := time.Now().Add(-time.Second)
	later := fmt.Errorf("deep: %w: %w", worker.ErrLaterVersion, core.ErrInvalid)
	for name, c := range map[string]struct {
		ctx  context.Context
		d    worker.Delivery
		want worker.Action
		is   []error
	}{
		"unknown task":             {t.Context(), work(func(d *worker.Delivery) { d.Task = "test.unknown\x1b" }), worker.Parked, []error{core.ErrNoHandler}},
		"unknown, last attempt":    {t.Context(), work(func(d *worker.Delivery) { d.Task, d.Attempt, d.MaxAttempts = "test.unknown", 3, 3 }), worker.Parked, []error{core.ErrNoHandler}},
		"unknown, stopped":         {stopped, work(func(d *worker.Delivery) { d.Task = "test.unknown" }), worker.Parked, []error{core.ErrNoHandler}},
		"later envelope":           {t.Context(), work(func(d *worker.Delivery) { d.EnvelopeErr = later }), worker.Parked, []error{worker.ErrLaterVersion}},
		"later, last attempt":      {t.Context(), work(func(d *worker.Delivery) { d.EnvelopeErr, d.Attempt, d.MaxAttempts = later, 3, 3 }), worker.Parked, []error{worker.ErrLaterVersion}},
		"bad envelope":             {t.Context(), work(func(d *worker.Delivery) { d.EnvelopeErr = core.ErrInvalid }), worker.Dead, []error{core.ErrInvalid}},
		"bad envelope of any kind": {t.Context(), work(func(d *worker.Delivery) { d.EnvelopeErr = io.EOF }), worker.Dead, []error{io.EOF}},
		"deadline":                 {t.Context(), work(func(d *worker.Delivery) { d.Deadline = past }), worker.Dead, []error{context.DeadlineExceeded}},
		"deadline, stopped":        {stopped, work(func(d *worker.Delivery) { d.Deadline = past }), worker.Dead, []error{context.DeadlineExceeded}},
		"stopped":                  {stopped, work(func(d *worker.Delivery) { d.Backoff = core.Fixed(time.Minute) }), worker.Interrupted, []error{context.Canceled, io.ErrClosedPipe}},
		"stopped, last attempt":    {stopped, work(func(d *worker.Delivery) { d.MaxAttempts = 1 }), worker.Interrupted, []error{context.Canceled, io.ErrClosedPipe}},
		"nil context":              {noCtx, work(nil), worker.Retry, []error{core.ErrInvalid}},
	} {
		observed = 0
		v := reg.Perform(c.ctx, c.d)
		if v.Action != c.want || v.After != 0 || v.Err == nil || strings.Contains(v.Err.Error(), "\x1b") {
			t.Errorf("%s: got %v, want %v", name, v, c.want)
		}
		for _, err := range c.is {
			if !errors.Is(v.Err, err) {
				t.Errorf("%s: got %v, want %v", name, v.Err, err)
			}
		}
		if observed != 1 || got.Verdict != v || got.Took != 0 || got.Delivery.Task != c.d.Task {
			t.Errorf("%s: observed %d times, %v %v after %v", name, observed, got.Delivery, got.Verdict, got.Took)
		}
		if name == "deadline" && !strings.Contains(v.Err.Error(), "test.work") {
			t.Errorf("%s: %v does not name the task", name, v.Err)
		}
	}
}

func TestJobFromNeedsAJob(t *testing.T) {
	t.Parallel()
	if _, ok := worker.JobFrom(noCtx); ok {
		t.Error("a nil context has a job")
	}
	if _, ok := worker.JobFrom(t.Context()); ok {
		t.Error("any context has a job")
	}
	in := must(core.NewTask("test.run", func(ctx context.Context, _ int) error {
		if _, ok := worker.JobFrom(ctx); ok {
			t.Error("Intent.Run has a job")
		}
		return nil
	}).Intent(1))(t)
	if v := handler(t, func(ctx context.Context) error { return in.Run(ctx) }).Perform(t.Context(), work(nil)); v.Action != worker.Done {
		t.Errorf("got %v", v)
	}
}

func TestAStoppedWorkerInterruptsOrdinaryErrorsOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err     error
		change  func(*worker.Delivery)
		want    worker.Action
		after   time.Duration
		running bool // the worker does not stop
	}{
		"done":                   {err: nil, want: worker.Done},
		"error":                  {err: io.EOF, want: worker.Interrupted},
		"own context's error":    {err: context.Canceled, want: worker.Interrupted},
		"last attempt":           {err: io.EOF, change: func(d *worker.Delivery) { d.Attempt, d.MaxAttempts = 3, 3 }, want: worker.Interrupted},
		"with a backoff":         {err: io.EOF, change: func(d *worker.Delivery) { d.Backoff = core.Fixed(time.Minute) }, want: worker.Interrupted},
		"permanent":              {err: worker.Permanent(io.EOF), want: worker.Dead},
		"malformed":              {err: core.ErrMalformed, want: worker.Dead},
		"snooze":                 {err: worker.Snooze(time.Hour), want: worker.Snoozed, after: time.Hour},
		"bad snooze":             {err: worker.Snooze(0), want: worker.Interrupted},
		"not stopped":            {err: io.EOF, want: worker.Retry, running: true},
		"not stopped, cancelled": {err: context.Canceled, want: worker.Retry, running: true},
	} {
		for _, own := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := work(c.change)
			d.OwnGoroutine = own
			v := handler(t, func(jobCtx context.Context) error {
				if !c.running {
					cancel()
					<-jobCtx.Done()
				}
				return c.err
			}).Perform(ctx, d)
			if v.Action != c.want || v.After != c.after || c.err != nil && !worker.IsPermanent(c.err) && c.after == 0 && name != "bad snooze" && !errors.Is(v.Err, c.err) {
				t.Errorf("%s: got %v, want %v", name, v, c.want)
			}
		}
	}
	// A panic of a stopped worker's handler is an ordinary error.
	ctx, cancel := context.WithCancel(t.Context())
	v := handler(t, func(context.Context) error { cancel(); panic(io.EOF) }).Perform(ctx, work(nil))
	var p *core.PanicError
	if v.Action != worker.Interrupted || !errors.As(v.Err, &p) {
		t.Errorf("got %v", v)
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"error": io.EOF, "text": "boom", "nil": nil, "typed nil": (*hostile)(nil), "permanent": worker.Permanent(io.EOF)} {
		boom := func(context.Context) error { panic(value) }
		inHandler := handler(t, boom)
		inMiddleware := handler(t, func(context.Context) error { return nil },
			worker.Middleware(func(ctx context.Context, _ func(context.Context) error) error { return boom(ctx) }))
		for _, reg := range []*worker.Registry{inHandler, inMiddleware} {
			for _, own := range []bool{false, true} {
				v := reg.Perform(t.Context(), work(func(d *worker.Delivery) { d.OwnGoroutine = own }))
				var p *core.PanicError
				if !errors.As(v.Err, &p) || len(p.Stack) == 0 || v.Action == worker.Done || (v.Action == worker.Dead) != (name == "permanent") {
					t.Errorf("%s: got %v", name, v)
				}
				if err, ok := value.(error); ok && name != "typed nil" && !errors.Is(v.Err, err) {
					t.Errorf("%s: got %v", name, v)
				}
				if !strings.Contains(string(p.Stack), "perform_test.go") {
					t.Errorf("%s: the stack is another: %s", name, p.Stack)
				}
			}
		}
	}
}

func TestGoexitIsContainedOnAGoroutineApart(t *testing.T) {
	t.Parallel()
	exit := func(context.Context) error { runtime.Goexit(); return nil }
	reg := handler(t, exit)
	v := reg.Perform(t.Context(), work(nil))
	if v.Action != worker.Retry || v.Err == nil || !strings.Contains(v.Err.Error(), "Goexit") {
		t.Errorf("got %v", v)
	}
	inMiddleware := handler(t, func(context.Context) error { return nil },
		worker.Middleware(func(ctx context.Context, _ func(context.Context) error) error { return exit(ctx) }))
	if v := inMiddleware.Perform(t.Context(), work(func(d *worker.Delivery) { d.MaxAttempts = 1 })); v.Action != worker.Dead {
		t.Errorf("got %v", v)
	}
	returned, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		reg.Perform(t.Context(), work(func(d *worker.Delivery) { d.OwnGoroutine = true }))
		returned = true
	}()
	<-ended
	if returned {
		t.Error("a Goexit on the worker's own goroutine was stopped")
	}
}

func TestTimeAndDeadlineEndTheHandlersContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		for name, c := range map[string]struct {
			timeout, deadline, took time.Duration
			want                    worker.Action
		}{
			"timeout":        {time.Minute, 0, time.Minute, worker.Retry},
			"deadline":       {0, time.Minute, time.Minute, worker.Dead},
			"timeout first":  {time.Minute, time.Hour, time.Minute, worker.Retry},
			"deadline first": {time.Hour, time.Minute, time.Minute, worker.Dead},
		} {
			began := time.Now()
			v := handler(t, wait).Perform(t.Context(), work(func(d *worker.Delivery) {
				d.Timeout = c.timeout
				if c.deadline > 0 {
					d.Deadline = began.Add(c.deadline)
				}
			}))
			if v.Action != c.want || !errors.Is(v.Err, context.DeadlineExceeded) || time.Since(began) != c.took {
				t.Errorf("%s: got %v after %v", name, v, time.Since(began))
			}
		}
		// The result counts, even too late.
		late := func(err error, change func(*worker.Delivery)) worker.Verdict {
			return handler(t, func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return err }).Perform(t.Context(), work(change))
		}
		timeout := func(d *worker.Delivery) { d.Timeout = time.Second }
		both := func(d *worker.Delivery) { d.Timeout, d.Deadline = time.Second, time.Now().Add(time.Minute) }
		for name, change := range map[string]func(*worker.Delivery){"timeout": timeout, "both": both} {
			if v := late(nil, change); v != (worker.Verdict{Action: worker.Done}) {
				t.Errorf("late success after %s: %v", name, v)
			}
			if v := late(worker.Permanent(io.EOF), change); v.Action != worker.Dead || !errors.Is(v.Err, io.EOF) || errors.Is(v.Err, context.DeadlineExceeded) {
				t.Errorf("late Permanent after %s: %v", name, v)
			}
		}
		if v := late(worker.Snooze(time.Minute), timeout); v.Action != worker.Snoozed || v.After != time.Minute {
			t.Errorf("late Snooze: %v", v)
		}
		if v := late(worker.Snooze(time.Minute), both); v.Action != worker.Dead || !errors.Is(v.Err, context.DeadlineExceeded) {
			t.Errorf("Snooze past the deadline: %v", v)
		}
		// An ordinary error after the Timeout is a failed attempt, never Interrupted.
		if v := late(io.EOF, timeout); v.Action != worker.Retry {
			t.Errorf("late error: %v", v)
		}
		if v := late(io.EOF, func(d *worker.Delivery) { d.Timeout, d.MaxAttempts = time.Second, 1 }); v.Action != worker.Dead {
			t.Errorf("late error of the last attempt: %v", v)
		}
		// Without a limit there is none. The end of the worker's context is seen.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1000*time.Hour, cancel)
		v := handler(t, func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); ok {
				t.Error("a deadline that nothing set")
			}
			return wait(ctx)
		}).Perform(ctx, work(func(d *worker.Delivery) { d.Timeout = -1 }))
		if v.Action != worker.Interrupted || !errors.Is(v.Err, context.Canceled) || time.Since(start) < 1000*time.Hour {
			t.Errorf("stopped worker: %v", v)
		}
	})
}

func TestJobDescribesTheRun(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "of the worker")
	for attempt, want := range map[int]int{-1: 1, 0: 1, 1: 1, 7: 7} {
		v := handler(t, func(ctx context.Context) error {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			job, ok := worker.JobFrom(child)
			if !ok || job.ID != "id" || job.Task != "test.work" || job.Queue != "mail" || job.Attempt != want || job.MaxAttempts != 9 || job.Headers.Get("A") != "1" || job.Native != "native" {
				t.Errorf("got %+v", job)
			}
			if ctx.Value(key{}) != "of the worker" {
				t.Error("the worker's values are gone")
			}
			return nil
		}).Perform(ctx, work(func(d *worker.Delivery) {
			d.Attempt, d.MaxAttempts, d.Queue, d.Headers, d.Native = attempt, 9, "mail", core.NewHeaders(map[string]string{"A": "1"}), "native"
		}))
		if v.Action != worker.Done {
			t.Errorf("got %v", v)
		}
	}
}

func TestExitedIsTheVerdictOnAGoexit(t *testing.T) {
	t.Parallel()
	task := core.NewTask("check.goexit", func(context.Context, int) error { runtime.Goexit(); return nil },
		core.MaxAttempts(2))
	in, err := task.Intent(1)
	if err != nil {
		t.Fatal(err)
	}
	var none *worker.Registry
	d := worker.FirstDelivery(&in)
	for attempt, want := range map[int]worker.Action{1: worker.Retry, 2: worker.Dead} {
		d.Attempt = attempt
		apart := none.Perform(t.Context(), d)
		if v := d.Exited(); v.Action != want || v != apart {
			t.Errorf("attempt %d: got %v, Perform says %v", attempt, v, apart)
		}
	}
}

func TestMalformedArgumentsAreDeadAndOthersRetried(t *testing.T) {
	t.Parallel()
	reg := must(worker.NewRegistry(
		worker.Handle(core.DeclareTask[int]("args.int"), func(context.Context, int) error { t.Error("called"); return nil }),
		worker.Handle(core.DeclareTask[panicky]("args.panic"), func(context.Context, panicky) error { t.Error("called"); return nil }),
		worker.Handle(core.DeclareTask[string]("args.raw").Codec(core.Raw), func(context.Context, string) error { t.Error("called"); return nil }),
	))(t)
	for _, c := range []struct {
		task, payload string
		want          worker.Action
	}{
		{"args.int", canary, worker.Dead}, {"args.int", "", worker.Dead}, {"args.int", "1 2", worker.Dead}, {"args.int", "\xff", worker.Dead},
		{"args.int", `"` + canary + `"`, worker.Retry}, {"args.int", "1.5", worker.Retry}, {"args.int", "{}", worker.Retry},
		{"args.panic", `"` + canary + `"`, worker.Retry}, {"args.panic", canary, worker.Dead}, {"args.raw", canary, worker.Retry},
	} {
		for _, own := range []bool{false, true} {
			d := worker.Delivery{Task: c.task, Payload: []byte(c.payload), Attempt: 1, MaxAttempts: 2, OwnGoroutine: own}
			v := reg.Perform(t.Context(), d)
			if v.Action != c.want || errors.Is(v.Err, core.ErrMalformed) != (c.want == worker.Dead) {
				t.Errorf("%s of %q: got %v, want %v", c.task, c.payload, v, c.want)
			}
			wantInvalid(t, v.Err, c.task)
			d.Attempt = 2
			if v := reg.Perform(t.Context(), d); v.Action != worker.Dead {
				t.Errorf("%s of %q, last attempt: got %v", c.task, c.payload, v)
			}
		}
	}
}

// panicky is an argument type whose Unmarshaler panics.
type panicky struct{}

func (*panicky) UnmarshalJSON(b []byte) error { panic(string(b)) }

func TestRunIsTheAnswerOfAnExecutor(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	task := core.DeclareTask[int]("test.run")
	reg, err := worker.NewRegistry(worker.Handle(task, func(ctx context.Context, n int) error {
		job, ok := worker.JobFrom(ctx)
		if !ok || job.Task != "test.run" || ctx.Value(runKey{}) != nil {
			t.Errorf("got job %v, %v and value %v", job, ok, ctx.Value(runKey{}))
		}
		switch n {
		case 1:
			return boom
		case 2:
			return worker.Snooze(time.Minute)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), runKey{}, "the producer's")
	for n, want := range []error{nil, boom, nil} {
		in, err := task.Intent(n)
		if err != nil {
			t.Fatal(err)
		}
		got := reg.Run(ctx, in)
		if state := core.OutcomesOf(got, []core.Intent{in})[0].State; (n == 0) != (state == core.Accepted) || n > 0 && state != core.Failed {
			t.Errorf("%d: %v", n, state)
		}
		if want != nil && !errors.Is(got, want) {
			t.Errorf("%d: got %v, want %v", n, got, want)
		}
	}
	var none *worker.Registry
	in, err := task.Intent(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := none.Run(ctx, in); !errors.Is(got, core.ErrNoHandler) {
		t.Errorf("got %v, want ErrNoHandler", got)
	}
}

type runKey struct{}

func TestACanceledRunIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cause error
		want  worker.Action
	}{
		"canceled": {worker.ErrCanceled, worker.Retry},
		"stopping": {worker.ErrStopping, worker.Interrupted},
		"neither":  {nil, worker.Interrupted},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		reg := handler(t, func(context.Context) error { cancel(c.cause); return io.EOF })
		if v := reg.Perform(ctx, work(nil)); v.Action != c.want || !errors.Is(v.Err, io.EOF) {
			t.Errorf("%s: got %v (%v), want %v", name, v.Action, v.Err, c.want)
		}
	}
}
