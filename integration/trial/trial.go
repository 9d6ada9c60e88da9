// Package trial is what the tests of the executors on Redis have in common: an
// executor under test, the runs of its jobs, and what every executor promises.
package trial

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Patience bounds every wait for something that must happen; a green run never uses it up.
const Patience = 2 * time.Minute

// Task is the task of most tests. Its argument says what the handler does.
var Task = core.DeclareTask[string]("test.work")

// Cleaner is what clients are closed by: a test, or a check of the conformance suite.
type Cleaner interface{ Cleanup(func()) }

// A Trial is an executor under test, with nobody else on its backend, and the runs of its jobs.
type Trial struct {
	*testing.T
	Ctx context.Context

	// Set by the test:
	Execute   core.Executor
	Serve     func(fn func(ctx context.Context, arg string) error) // starts workers for the default queue
	AwaitDone func(id string)                                      // waits until a job of that queue has succeeded
	AwaitDead func(id string)                                      // or failed for good

	mu      sync.Mutex
	runs    []Run         // guarded by mu, in order of their starts
	changed chan struct{} // closed and replaced at each run; guarded by mu
}

// A Run is one call of a handler.
type Run struct {
	Job   worker.Job
	Arg   string
	Began time.Time
	Limit time.Time // the context's deadline
}

// New begins a trial, whose context ends after limit.
func New(t *testing.T, limit time.Duration) *Trial {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &Trial{T: t, Ctx: ctx, changed: make(chan struct{})}
}

// Must ends the test if there is an error.
func (t *Trial) Must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Intent is one of Task's.
func (t *Trial) Intent(arg string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := Task.Intent(arg, opts...)
	t.Must(err)
	return in
}

// Batch has an intent for each number from from to before to.
func (t *Trial) Batch(from, to int, opts ...core.Option) []core.Intent {
	t.Helper()
	var intents []core.Intent
	for i := from; i < to; i++ {
		intents = append(intents, t.Intent(fmt.Sprint(i), opts...))
	}
	return intents
}

// States dispatches and returns the outcomes' states, and the error.
func (t *Trial) States(intents ...core.Intent) (string, error) {
	t.Helper()
	return StatesOf(t.Ctx, t.Execute, intents...)
}

// StatesOf is States for an executor of one's own.
func StatesOf(ctx context.Context, exec core.Executor, intents ...core.Intent) (string, error) {
	err := exec(ctx, intents...)
	var words []string
	for _, o := range core.OutcomesOf(err, intents) {
		words = append(words, o.State.String())
	}
	return strings.Join(words, ", "), err
}

// Want dispatches and demands these states.
func (t *Trial) Want(states string, intents ...core.Intent) {
	t.Helper()
	if got, err := t.States(intents...); got != states {
		t.Fatalf("%s, want %s: %v", got, states, err)
	}
}

// Note writes a run down.
func (t *Trial) Note(ctx context.Context, arg string) Run {
	job, _ := worker.JobFrom(ctx)
	limit, _ := ctx.Deadline()
	r := Run{Job: job, Arg: arg, Began: time.Now(), Limit: limit}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs = append(t.runs, r)
	close(t.changed)
	t.changed = make(chan struct{})
	return r
}

// Await returns all runs as soon as there are n.
func (t *Trial) Await(n int) []Run {
	t.Helper()
	for {
		t.mu.Lock()
		runs, changed := slices.Clone(t.runs), t.changed
		t.mu.Unlock()
		if len(runs) >= n {
			return runs
		}
		select {
		case <-changed:
		case <-t.Ctx.Done():
			t.Fatalf("%d runs, want %d", len(runs), n)
		}
	}
}

// Receive waits for what a handler sends.
func Receive[V any](t *Trial, from <-chan V) (v V) {
	t.Helper()
	select {
	case v = <-from:
	case <-t.Ctx.Done():
		t.Fatal("a handler was not called")
	}
	return v
}

// Eventually waits until cond holds for what is stored.
func (t *Trial) Eventually(what string, cond func() bool) {
	t.Helper()
	for !cond() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// Registry has a handler for Task that notes each run.
func (t *Trial) Registry(fn func(ctx context.Context, arg string) error) *worker.Registry {
	t.Helper()
	reg, err := worker.NewRegistry(worker.Handle(Task, func(ctx context.Context, arg string) error {
		t.Note(ctx, arg)
		return fn(ctx, arg)
	}))
	t.Must(err)
	return reg
}

// Succeed is a handler.
func Succeed(context.Context, string) error { return nil }
