package worker_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func TestRegistryReportsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, int) error { return nil }
	a, b := worker.Handle(core.DeclareTask[int]("reg.a"), fn), worker.Handle(core.DeclareTask[int]("reg.b"), fn)
	_, err := worker.NewRegistry(a, b, a, worker.Handler{}, worker.Handle(core.DeclareTask[int]("reg bad"), fn), b,
		nil, worker.Middleware(nil), worker.Observer(nil), worker.Handle[int](core.DeclareTask[int]("reg.nil"), nil))
	if !errors.Is(err, core.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"task reg.a: two handlers", "task reg.b: two handlers", "zero Handler", `"reg bad"`, "nil Part", "nil Middleware", "nil Observer", "task reg.nil: nil handler"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
	reg := must(worker.NewRegistry(b, a))(t)
	if got := reg.Tasks(); !slices.Equal(got, []string{"reg.a", "reg.b"}) || !reg.Handles("reg.a") || reg.Handles("reg.c") {
		t.Errorf("got %v", got)
	}
	var none *worker.Registry
	if none.Tasks() != nil || none.Queues() != nil || none.Handles("reg.a") {
		t.Error("a nil registry knows tasks")
	}
	none.Report(t.Context(), worker.Run{})
	empty := must(worker.NewRegistry())(t)
	if len(empty.Tasks()) != 0 || len(empty.Queues()) != 0 || empty.Perform(t.Context(), work(nil)).Action != worker.Parked {
		t.Error("an empty registry knows tasks")
	}
}

func TestMiddlewareRunsOutermostFirst(t *testing.T) {
	t.Parallel()
	var trace []string
	doWork := func(context.Context) error { trace = append(trace, "work"); return io.EOF }
	named := func(name string) worker.Middleware {
		return func(ctx context.Context, next func(context.Context) error) error {
			job, _ := worker.JobFrom(ctx)
			trace = append(trace, name+" "+job.ID)
			err := next(ctx)
			trace = append(trace, "/"+name)
			return err
		}
	}
	reg := handler(t, doWork, named("a"), named("b"), named("c"))
	for range 2 {
		trace = nil
		v := reg.Perform(t.Context(), work(nil))
		if got := strings.Join(trace, ","); got != "a id,b id,c id,work,/c,/b,/a" || !errors.Is(v.Err, io.EOF) {
			t.Errorf("got %s, %v", got, v)
		}
	}
	// The result of the outermost middleware counts. It need not call next.
	skip := func(context.Context, func(context.Context) error) error { return nil }
	reg = handler(t, doWork, named("a"), worker.Middleware(skip))
	trace = nil
	if v := reg.Perform(t.Context(), work(nil)); v.Action != worker.Done || strings.Join(trace, ",") != "a id,/a" {
		t.Errorf("got %v after %v", v, trace)
	}
	// What it gives to next reaches the handler.
	type key struct{}
	add := func(ctx context.Context, next func(context.Context) error) error {
		return next(context.WithValue(ctx, key{}, 1))
	}
	if v := handler(t, func(ctx context.Context) error {
		if ctx.Value(key{}) != 1 {
			t.Error("the middleware's context is lost")
		}
		return nil
	}, worker.Middleware(add)).Perform(t.Context(), work(nil)); v.Action != worker.Done {
		t.Errorf("got %v", v)
	}
}

func TestARegistryIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	pass := func(ctx context.Context, next func(context.Context) error) error { return next(ctx) }
	var runs atomic.Int64
	reg := handler(t, func(context.Context) error { return nil }, worker.Middleware(pass), worker.Middleware(pass),
		worker.Observer(func(context.Context, worker.Run) { runs.Add(1) }))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if v := reg.Perform(t.Context(), work(func(d *worker.Delivery) { d.OwnGoroutine = i%2 == 0 })); v.Action != worker.Done {
					t.Errorf("got %v", v)
				}
				if len(reg.Tasks()) != 1 || reg.Queues() != nil {
					t.Error("the registry changed")
				}
			}
		})
	}
	wg.Wait()
	if runs.Load() != 160 {
		t.Errorf("the observer was called %d times", runs.Load())
	}
}

func TestQueuesAreThoseOfTheDefaults(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, int) error { return nil }
	reg := must(worker.NewRegistry(
		worker.Handle(core.DeclareTask[int]("reg.a", core.Queue("mail")), fn), worker.Handle(core.DeclareTask[int]("reg.b"), fn),
		worker.Handle(core.DeclareTask[int]("reg.c", core.Queue("bulk")), fn), worker.Handle(core.DeclareTask[int]("reg.d", core.Queue("mail")), fn),
		worker.Handle(core.NewTask("reg.e", fn, core.Queue("first"), core.Queue("last")), fn),
	))(t)
	if got := reg.Queues(); !slices.Equal(got, []string{"bulk", "last", "mail"}) {
		t.Errorf("got %v", got)
	}
	if got := reg.Tasks(); !slices.Equal(got, []string{"reg.a", "reg.b", "reg.c", "reg.d", "reg.e"}) {
		t.Errorf("got %v", got)
	}
}

func TestHandlersOfBadTasksAreRefused(t *testing.T) {
	t.Parallel()
	fn := func(context.Context, int) error { return nil }
	for name, h := range map[string]worker.Handler{
		"zero Task": worker.Handle(core.Task[int]{}, fn), "bad name": worker.Handle(core.DeclareTask[int]("bad name"), fn),
		"priority": worker.Handle(core.DeclareTask[int]("reg.priority", core.Priority(0)), fn), "nil codec": worker.Handle(core.DeclareTask[int]("reg.codec").Codec(nil), fn),
		"task reg.nil: nil handler":      worker.Handle[int](core.DeclareTask[int]("reg.nil"), nil),
		"task reg.declared: nil handler": worker.Handle(core.DeclareTask[int]("reg.declared"), core.DeclareTask[int]("reg.declared").Func()),
		"nil function":                   worker.Handle(core.NewTask[int]("reg.new", nil), fn),
	} {
		reg, err := worker.NewRegistry(h)
		if reg != nil {
			t.Errorf("%s: got a registry", name)
		}
		wantInvalid(t, err, name)
	}
	task := core.NewTask("reg.own", fn)
	if h := worker.Handle(task, task.Func()); h.Task() != "reg.own" {
		t.Errorf("got %q", h.Task())
	}
}

func TestTheRegistrysHandlerComesFirst(t *testing.T) {
	t.Parallel()
	ran := ""
	task := core.NewTask("test.both", func(context.Context, int) error { ran = "task"; return nil })
	reg := must(worker.NewRegistry(worker.Handle(task, func(context.Context, int) error { ran = "registry"; return nil })))(t)
	in := must(task.Intent(1))(t)
	d := worker.FirstDelivery(&in)
	if reg.Perform(t.Context(), d); ran != "registry" {
		t.Errorf("ran %s", ran)
	}
	if handler(t, nil).Perform(t.Context(), d); ran != "task" {
		t.Errorf("ran %s", ran)
	}
	var none *worker.Registry
	ran = ""
	if v := none.Perform(t.Context(), d); v.Action != worker.Done || ran != "task" {
		t.Errorf("ran %s: %v", ran, v)
	}
	d.Task = "test.other"
	if v := handler(t, nil).Perform(t.Context(), d); v.Action != worker.Parked || !errors.Is(v.Err, core.ErrNoHandler) {
		t.Errorf("got %v", v)
	}
}

func TestRegistryCheckRejectsTasksWithoutHandler(t *testing.T) {
	t.Parallel()
	declared, other := core.DeclareTask[int]("check.declared"), core.DeclareTask[int]("check.other")
	own := core.NewTask("check.own", func(context.Context, int) error { return nil })
	reg, err := worker.NewRegistry(worker.Handle(declared, func(context.Context, int) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := declared.Intent(1)
	b, _ := own.Intent(1)
	c, _ := other.Intent(1)
	if err := reg.Check(a, b, a, b); err != nil {
		t.Errorf("known tasks: %v", err)
	}
	if err := reg.Check(core.Intent{}); !errors.Is(err, core.ErrNoHandler) {
		t.Errorf("zero intent: got %v", err)
	}
	if err := reg.Check(); err != nil {
		t.Errorf("no intents: %v", err)
	}
	err = reg.Check(a, c, b, c)
	out := core.OutcomesOf(err, []core.Intent{a, c, b, c})
	for i, want := range []core.State{core.NotSent, core.Rejected, core.NotSent, core.Rejected} {
		if out[i].State != want {
			t.Errorf("intent %d is %v, want %v", i, out[i].State, want)
		}
	}
	if !errors.Is(out[1].Err, core.ErrNoHandler) {
		t.Errorf("got %v, want ErrNoHandler", out[1].Err)
	}
	var none *worker.Registry
	if err := none.Check(b); err != nil {
		t.Errorf("nil registry, task with its handler: %v", err)
	}
	if err := none.Check(a); err == nil {
		t.Error("nil registry knows a declared task")
	}
	b.Task = "check.forged" // its handler is another task's
	if err := none.Check(b); err == nil {
		t.Error("a handler counts for a task that is not its own")
	}
}
