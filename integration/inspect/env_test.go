package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

// patience bounds every wait for something that must happen; a green run never uses it up.
const patience = time.Minute

var errBroken = errors.New("the printer is on fire")

var (
	quiet = slog.New(slog.DiscardHandler)
	tasks = [...]core.Task[string]{core.DeclareTask[string]("test.a"), core.DeclareTask[string]("test.b")}
)

// A system is a queue under test.
type system struct {
	exec    core.Executor
	inspect inspect.Inspector
	// run starts a worker of one queue that runs one job at a time, and returns a function that stops it.
	run         func(t reporter, reg *worker.Registry, queue string) (stop func())
	forgetsDead bool // dead jobs are not kept

	// perCase makes a system for one case, of a queue in this process. Its jobs run without run, as soon as onRun has a
	// handler.
	perCase   func(t reporter) system
	inProcess bool
	onRun     *atomic.Pointer[func(context.Context, string) error]
}

// reporter is what a system needs of a test.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// env is a test on a system, with a queue of its own.
type env struct {
	reporter
	system
	ctx   context.Context
	queue string

	mu   sync.Mutex
	runs []worker.Job // guarded by mu, in order of their starts
}

var queues atomic.Int64

func newEnv(t reporter, s system) *env {
	if s.perCase != nil {
		s = s.perCase(t)
	}
	return &env{reporter: t, system: s, ctx: t.Context(), queue: fmt.Sprintf("q-%d", queues.Add(1))}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v", err)
	}
}

// send dispatches a job and returns its ID.
func (e *env) send(task int, arg string, opts ...core.Option) string {
	e.Helper()
	in, err := tasks[task].Intent(arg, append([]core.Option{core.Queue(e.queue)}, opts...)...)
	e.must(err)
	e.must(e.exec(e.ctx, in))
	return in.ID
}

// serve runs jobs with fn until the function that it returns is called, or to the end of the case.
func (e *env) serve(fn func(ctx context.Context, arg string) error) (stop func()) {
	e.Helper()
	handler := func(ctx context.Context, arg string) error {
		job, _ := worker.JobFrom(ctx)
		e.mu.Lock()
		e.runs = append(e.runs, job)
		e.mu.Unlock()
		return fn(ctx, arg)
	}
	if e.inProcess {
		e.onRun.Store(&handler)
		return func() {}
	}
	reg, err := worker.NewRegistry(worker.Handle(tasks[0], handler), worker.Handle(tasks[1], handler))
	e.must(err)
	stop = sync.OnceFunc(e.run(e, reg, e.queue))
	e.Cleanup(stop)
	return stop
}

// await waits until ok returns true.
func (e *env) await(what string, ok func() bool) {
	e.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			e.Fatalf("waited in vain for: %s", what)
		}
	}
}

// awaitState waits until a job is in a state.
func (e *env) awaitState(id string, state inspect.State) {
	e.Helper()
	e.await(fmt.Sprintf("%s is %s", id, state), func() bool {
		job, err := e.inspect.Get(e.ctx, e.queue, id)
		return err == nil && job.State == state
	})
}

// dead makes dead jobs of these arguments and returns their IDs.
func (e *env) dead(jobs ...func() string) (ids []string) {
	e.Helper()
	for _, job := range jobs {
		ids = append(ids, job())
	}
	stop := e.serve(func(context.Context, string) error { return worker.Permanent(errBroken) })
	for _, id := range ids {
		e.awaitState(id, inspect.Dead)
	}
	stop()
	e.mu.Lock()
	e.runs = nil
	e.mu.Unlock()
	return ids
}

// list returns the IDs of all jobs in a state.
func (e *env) list(state inspect.State, task string) (ids []string) {
	e.Helper()
	for job, err := range inspect.All(e.ctx, e.inspect, inspect.Query{Queue: e.queue, State: state, Task: task}) {
		e.must(err)
		ids = append(ids, job.ID)
	}
	return ids
}

func (e *env) depth() inspect.Depth {
	e.Helper()
	d, err := e.inspect.Depth(e.ctx, e.queue)
	e.must(err)
	return d
}

func (e *env) wantCounts(waiting, delayed, running, dead int64) {
	e.Helper()
	d := e.depth()
	for name, c := range map[string]struct {
		got  inspect.Count
		want int64
	}{"waiting": {d.Waiting, waiting}, "delayed": {d.Delayed, delayed}, "running": {d.Running, running}, "dead": {d.Dead, dead}} {
		n, ok := c.got.Known()
		if name == "dead" && e.forgetsDead {
			if ok {
				e.Errorf("the number of dead jobs is %d, want unknown", n)
			}
			continue
		}
		if !ok || n != c.want {
			e.Errorf("%s: %v, want %d", name, c.got, c.want)
		}
	}
}

// open starts what a system needs and is given back after the test.
type open func(t *testing.T) system
