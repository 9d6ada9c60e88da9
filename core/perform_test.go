package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

// handler makes a registry whose one task, test.work, does fn.
func handler(t testing.TB, fn func(ctx context.Context) error) *core.Registry {
	t.Helper()
	return must(core.NewRegistry(core.Handle(core.DeclareTask[int]("test.work"), func(ctx context.Context, _ int) error { return fn(ctx) })))(t)
}

func work(change func(*core.Delivery)) core.Delivery {
	d := core.Delivery{ID: "id", Task: "test.work", Payload: []byte("1"), Attempt: 1}
	if change != nil {
		change(&d)
	}
	return d
}

func TestRegistryReportsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, int) error { return nil }
	a, b := core.Handle(core.DeclareTask[int]("reg.a"), fn), core.Handle(core.DeclareTask[int]("reg.b"), fn)
	_, err := core.NewRegistry(a, b, a, core.Handler{}, core.Handle(core.DeclareTask[int]("reg bad"), fn), b)
	if !errors.Is(err, core.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{`task "reg.a": two handlers`, `task "reg.b": two handlers`, "zero Handler", `"reg bad"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
	reg := must(core.NewRegistry(b, a))(t)
	if got := reg.Tasks(); !slices.Equal(got, []string{"reg.a", "reg.b"}) || !reg.Handles("reg.a") || reg.Handles("reg.c") {
		t.Errorf("got %v", got)
	}
	var none *core.Registry
	if none.Tasks() != nil || none.Handles("reg.a") {
		t.Error("a nil registry knows tasks")
	}
	wantInvalid(t, none.Use(func(ctx context.Context, next func(context.Context) error) error { return next(ctx) }), "nil Registry")
}

func TestMiddlewareRunsOutermostFirst(t *testing.T) {
	t.Parallel()
	var trace []string
	reg := handler(t, func(context.Context) error { trace = append(trace, "work"); return io.EOF })
	named := func(name string) core.Middleware {
		return func(ctx context.Context, next func(context.Context) error) error {
			job, _ := core.JobFrom(ctx)
			trace = append(trace, name+" "+job.ID)
			err := next(ctx)
			trace = append(trace, "/"+name)
			return err
		}
	}
	wantInvalid(t, reg.Use(named("x"), nil), "nil middleware")
	if err := errors.Join(reg.Use(named("a"), named("b")), reg.Use(), reg.Use(named("c"))); err != nil {
		t.Fatal(err)
	}
	v := reg.Perform(t.Context(), work(nil))
	if got := strings.Join(trace, ","); got != "a id,b id,c id,work,/c,/b,/a" || !errors.Is(v.Err, io.EOF) {
		t.Errorf("got %s, %v", got, v)
	}
	// The middleware has the last word, and need not call next.
	if err := reg.Use(func(context.Context, func(context.Context) error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	trace = nil
	if v := reg.Perform(t.Context(), work(nil)); v.Action != core.Done || slices.Contains(trace, "work") {
		t.Errorf("got %v after %v", v, trace)
	}
}

func TestUseAndPerformAtTheSameTime(t *testing.T) {
	t.Parallel()
	reg := handler(t, func(context.Context) error { return nil })
	pass := func(ctx context.Context, next func(context.Context) error) error { return next(ctx) }
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if err := reg.Use(pass); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				if v := reg.Perform(t.Context(), work(nil)); v.Action != core.Done {
					t.Errorf("got %v", v)
				}
			}
		})
	}
	wg.Wait()
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		backoff := core.Exponential(time.Second, 10*time.Second)
		for name, c := range map[string]struct {
			err   error
			d     core.Delivery
			want  core.Action
			after time.Duration
			is    error
		}{
			"done":           {nil, work(nil), core.Done, 0, nil},
			"retry":          {io.EOF, work(nil), core.Retry, 0, io.EOF},
			"backoff":        {io.EOF, work(func(d *core.Delivery) { d.Backoff, d.Attempt = backoff, 3 }), core.Retry, 4 * time.Second, io.EOF},
			"attempt 0":      {io.EOF, work(func(d *core.Delivery) { d.Backoff, d.Attempt = backoff, 0 }), core.Retry, time.Second, io.EOF},
			"attempts left":  {io.EOF, work(func(d *core.Delivery) { d.MaxAttempts, d.Attempt = 3, 2 }), core.Retry, 0, io.EOF},
			"last attempt":   {io.EOF, work(func(d *core.Delivery) { d.MaxAttempts, d.Attempt = 3, 3 }), core.Dead, 0, io.EOF},
			"beyond it":      {io.EOF, work(func(d *core.Delivery) { d.MaxAttempts, d.Attempt = 3, 9 }), core.Dead, 0, io.EOF},
			"permanent":      {core.Permanent(io.EOF), work(nil), core.Dead, 0, io.EOF},
			"wrapped":        {fmt.Errorf("a: %w", core.Permanent(fmt.Errorf("b: %w", core.Permanent(io.EOF)))), work(nil), core.Dead, 0, io.EOF},
			"joined":         {errors.Join(io.ErrClosedPipe, core.Permanent(io.EOF)), work(nil), core.Dead, 0, io.EOF},
			"snooze":         {core.Snooze(time.Minute), work(func(d *core.Delivery) { d.MaxAttempts = 1 }), core.Snoozed, time.Minute, nil},
			"wrapped snooze": {fmt.Errorf("busy: %w", core.Snooze(time.Minute)), work(nil), core.Snoozed, time.Minute, nil},
			"snooze 0":       {core.Snooze(0), work(nil), core.Retry, 0, core.ErrInvalid},
			"snooze -1":      {core.Snooze(-1), work(func(d *core.Delivery) { d.MaxAttempts = 1 }), core.Dead, 0, core.ErrInvalid},
			"snooze longest": {core.Snooze(century), work(nil), core.Snoozed, century, nil},
			"snooze longer":  {core.Snooze(century + 1), work(nil), core.Retry, 0, core.ErrInvalid},
			"no more snooze": {core.Permanent(core.Snooze(time.Minute)), work(nil), core.Dead, 0, nil},
			"snooze in time": {core.Snooze(time.Minute), work(func(d *core.Delivery) { d.Deadline = now.Add(time.Minute + 1) }), core.Snoozed, time.Minute, nil},
			"snooze past":    {core.Snooze(time.Minute), work(func(d *core.Delivery) { d.Deadline = now.Add(time.Minute) }), core.Dead, 0, context.DeadlineExceeded},
			"retry in time":  {io.EOF, work(func(d *core.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second+1) }), core.Retry, time.Second, io.EOF},
			"retry past":     {io.EOF, work(func(d *core.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second) }), core.Dead, 0, io.EOF},
			"past at last":   {io.EOF, work(func(d *core.Delivery) { d.Backoff, d.Deadline = backoff, now.Add(time.Second) }), core.Dead, 0, context.DeadlineExceeded},
			"typed nil":      {(*hostile)(nil), work(nil), core.Retry, 0, nil},
			"no text":        {silent{}, work(nil), core.Retry, 0, silent{}},
			"nil permanent":  {core.Permanent(nil), work(nil), core.Done, 0, nil},
		} {
			for _, own := range []bool{false, true} {
				c.d.OwnGoroutine = own
				v := handler(t, func(context.Context) error { return c.err }).Perform(t.Context(), c.d)
				if v.Action != c.want || v.After != c.after || (v.Err == nil) != (c.want == core.Done) || c.is != nil && !errors.Is(v.Err, c.is) || v.Unhandled() {
					t.Errorf("%s: got %v, want %v after %v", name, v, c.want, c.after)
				}
			}
		}
		v := handler(t, func(context.Context) error { return core.Snooze(0) }).Perform(t.Context(), work(nil))
		wantInvalid(t, v.Err, "test.work", "snooze")
	})
	if !core.IsPermanent(fmt.Errorf("a: %w", core.Permanent(io.EOF))) || core.IsPermanent(io.EOF) || core.IsPermanent(nil) {
		t.Error("IsPermanent")
	}
	if got := fmt.Sprint(core.Done, core.Retry, core.Dead, core.Snoozed, core.Action(9)); got != "done retry dead snooze Action(9)" {
		t.Error(got)
	}
	if got := fmt.Sprint(core.Permanent(io.EOF), core.Snooze(time.Second)); got != "EOF airlock: snooze for 1s" {
		t.Error(got)
	}
}

func TestJobsAreNotStartedInVain(t *testing.T) {
	t.Parallel()
	reg := handler(t, func(context.Context) error { t.Error("called"); return nil })
	v := reg.Perform(t.Context(), work(func(d *core.Delivery) { d.Task = "test.unknown\x1b" }))
	if v.Action != core.Dead || !v.Unhandled() || !errors.Is(v.Err, core.ErrNoHandler) || strings.Contains(v.Err.Error(), "\x1b") {
		t.Errorf("unknown task: %v", v)
	}
	v = reg.Perform(t.Context(), work(func(d *core.Delivery) { d.Deadline = time.Now().Add(-time.Second) }))
	if v.Action != core.Dead || v.Unhandled() || !errors.Is(v.Err, context.DeadlineExceeded) || !strings.Contains(v.Err.Error(), "test.work") {
		t.Errorf("deadline: %v", v)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	v = reg.Perform(ctx, work(func(d *core.Delivery) { d.Backoff, d.MaxAttempts = core.Fixed(time.Minute), 1 }))
	if v.Action != core.Retry || v.After != time.Minute || !errors.Is(v.Err, context.Canceled) || !errors.Is(v.Err, io.ErrClosedPipe) {
		t.Errorf("done context: %v", v)
	}
	var noCtx context.Context
	if v = reg.Perform(noCtx, work(nil)); v.Action != core.Retry || !errors.Is(v.Err, core.ErrInvalid) {
		t.Errorf("nil context: %v", v)
	}
	if _, ok := core.JobFrom(noCtx); ok {
		t.Error("a nil context has a job")
	}
	if _, ok := core.JobFrom(t.Context()); ok {
		t.Error("any context has a job")
	}
}

func TestPanicsBecomeErrors(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"error": io.EOF, "text": "boom", "nil": nil, "typed nil": (*hostile)(nil), "permanent": core.Permanent(io.EOF)} {
		boom := func(context.Context) error { panic(value) }
		inHandler := handler(t, boom)
		inMiddleware := handler(t, func(context.Context) error { return nil })
		if err := inMiddleware.Use(func(ctx context.Context, _ func(context.Context) error) error { return boom(ctx) }); err != nil {
			t.Fatal(err)
		}
		for _, reg := range []*core.Registry{inHandler, inMiddleware} {
			for _, own := range []bool{false, true} {
				v := reg.Perform(t.Context(), work(func(d *core.Delivery) { d.OwnGoroutine = own }))
				var p *core.PanicError
				if !errors.As(v.Err, &p) || len(p.Stack) == 0 || v.Action == core.Done || (v.Action == core.Dead) != (name == "permanent") {
					t.Errorf("%s: got %v", name, v)
				}
				if err, ok := value.(error); ok && name != "typed nil" && !errors.Is(v.Err, err) {
					t.Errorf("%s: got %v", name, v)
				}
				if name != "typed nil" && !strings.Contains(string(p.Stack), "perform_test.go") {
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
	if v.Action != core.Retry || v.Err == nil || !strings.Contains(v.Err.Error(), "Goexit") {
		t.Errorf("got %v", v)
	}
	inMiddleware := handler(t, func(context.Context) error { return nil })
	if err := inMiddleware.Use(func(ctx context.Context, _ func(context.Context) error) error { return exit(ctx) }); err != nil {
		t.Fatal(err)
	}
	if v := inMiddleware.Perform(t.Context(), work(func(d *core.Delivery) { d.MaxAttempts = 1 })); v.Action != core.Dead {
		t.Errorf("got %v", v)
	}
	returned, ended := false, make(chan struct{})
	go func() {
		defer close(ended)
		reg.Perform(t.Context(), work(func(d *core.Delivery) { d.OwnGoroutine = true }))
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
			want                    core.Action
		}{
			"timeout":        {time.Minute, 0, time.Minute, core.Retry},
			"deadline":       {0, time.Minute, time.Minute, core.Dead},
			"timeout first":  {time.Minute, time.Hour, time.Minute, core.Retry},
			"deadline first": {time.Hour, time.Minute, time.Minute, core.Dead},
		} {
			began := time.Now()
			v := handler(t, wait).Perform(t.Context(), work(func(d *core.Delivery) {
				d.Timeout = c.timeout
				if c.deadline > 0 {
					d.Deadline = began.Add(c.deadline)
				}
			}))
			if v.Action != c.want || !errors.Is(v.Err, context.DeadlineExceeded) || time.Since(began) != c.took {
				t.Errorf("%s: got %v after %v", name, v, time.Since(began))
			}
		}
		// Success counts, even too late.
		v := handler(t, func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return nil }).
			Perform(t.Context(), work(func(d *core.Delivery) { d.Timeout, d.Deadline = time.Second, time.Now().Add(time.Minute) }))
		if v != (core.Verdict{Action: core.Done}) {
			t.Errorf("late success: %v", v)
		}
		// Without a limit there is none; a worker that stops is seen.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1000*time.Hour, cancel)
		v = handler(t, func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); ok {
				t.Error("a deadline out of nowhere")
			}
			return wait(ctx)
		}).Perform(ctx, work(func(d *core.Delivery) { d.Timeout = -1 }))
		if v.Action != core.Retry || !errors.Is(v.Err, context.Canceled) || time.Since(start) < 1000*time.Hour {
			t.Errorf("stopped worker: %v", v)
		}
	})
}

func TestJobTellsWhatIsRun(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "of the worker")
	for attempt, want := range map[int]int{-1: 1, 0: 1, 1: 1, 7: 7} {
		v := handler(t, func(ctx context.Context) error {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			job, ok := core.JobFrom(child)
			if !ok || job.ID != "id" || job.Task != "test.work" || job.Queue != "mail" || job.Attempt != want || job.MaxAttempts != 9 || job.Headers.Get("A") != "1" {
				t.Errorf("got %+v", job)
			}
			if ctx.Value(key{}) != "of the worker" {
				t.Error("the worker's values are gone")
			}
			return nil
		}).Perform(ctx, work(func(d *core.Delivery) {
			d.Attempt, d.MaxAttempts, d.Queue, d.Headers = attempt, 9, "mail", core.NewHeaders(map[string]string{"A": "1"})
		}))
		if v.Action != core.Done {
			t.Errorf("got %v", v)
		}
	}
}

func TestTheRegistrysHandlerComesFirst(t *testing.T) {
	t.Parallel()
	ran := ""
	task := core.NewTask("test.both", func(context.Context, int) error { ran = "task"; return nil })
	reg := must(core.NewRegistry(core.Handle(task, func(context.Context, int) error { ran = "registry"; return nil })))(t)
	d := must(task.Intent(1))(t).Delivery()
	if reg.Perform(t.Context(), d); ran != "registry" {
		t.Errorf("ran %s", ran)
	}
	if handler(t, nil).Perform(t.Context(), d); ran != "task" {
		t.Errorf("ran %s", ran)
	}
	d.Task = "test.other"
	if v := handler(t, nil).Perform(t.Context(), d); !v.Unhandled() {
		t.Errorf("got %v", v)
	}
}
