package airlocktest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// TB is the part of [testing.TB] that the assertions need.
type TB interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// Run runs fn in a scope and returns what it dispatched. Scopes inside it hand
// their intents to the recorder, also if they have executors of their own, unless
// they are [airlock.Independent] or Transactional. An error of fn, or of the flush,
// fails the test.
func Run(tb TB, fn func(ctx context.Context) error, opts ...airlock.RunOption) *Recorder {
	tb.Helper()
	rec := new(Recorder)
	if err := airlock.Run(tb.Context(), rec.Execute, fn, opts...); err != nil {
		tb.Fatalf("airlocktest.Run: %v", err)
	}
	return rec
}

// NoEffects runs fn in a scope that refuses every intent, see
// [airlock.AssertNoEffects]. It fails the test if fn enqueued anything, even if fn
// ignored the refusal, and if fn returned an error.
func NoEffects(tb TB, fn func(ctx context.Context) error) {
	tb.Helper()
	var mu sync.Mutex
	var tried []string // guarded by mu
	watch := airlock.Policy{OnEnqueue: func(_ context.Context, in core.Intent) error {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, in.Task)
		return nil
	}}
	err := airlock.Run(tb.Context(), new(Recorder).Execute, fn, airlock.All(watch, airlock.AssertNoEffects()))
	mu.Lock() // fn may have left a goroutine behind
	defer mu.Unlock()
	if len(tried) > 0 {
		tb.Fatalf("airlocktest.NoEffects: enqueued %s", strings.Join(tried, ", "))
		return
	}
	if err != nil {
		tb.Fatalf("airlocktest.NoEffects: %v", err)
	}
}

// RequireDispatched returns the first recorded intent of the task for which match
// returns true and which has these options. If there is none, it fails the test. A
// nil match takes any arguments. Options that are not given are not compared.
// Native options cannot be compared; look at [core.Intent.Native] of the result.
//
// A [core.Delay] is compared with the time that is left. Ask for it within a minute
// after the intent was made, and in testing/synctest before its clock moves.
func RequireDispatched[A any](tb TB, rec *Recorder, task core.Task[A], match func(A) bool, opts ...core.Option) core.Intent {
	tb.Helper()
	want, err := wanted(task, opts)
	if err != nil {
		tb.Fatalf("airlocktest.RequireDispatched: %v", err)
		return core.Intent{}
	}
	var near []string
	for _, job := range rec.Intents() {
		if job.Task != task.Name() {
			continue
		}
		args, err := task.Args(job)
		switch {
		case err != nil:
			near = append(near, fmt.Sprintf("%v: %v", job, err))
			continue
		case match != nil && !match(args):
			near = append(near, fmt.Sprintf("%v: its arguments do not match", job))
			continue
		}
		if diff := want.differences(job); len(diff) > 0 {
			near = append(near, fmt.Sprintf("%v: %s", job, strings.Join(diff, ", ")))
			continue
		}
		return job
	}
	if len(near) == 0 {
		tb.Fatalf("no %s was dispatched; dispatched were: %s", task.Name(), rec.summary())
		return core.Intent{}
	}
	tb.Fatalf("no %s was dispatched that matches; there are:\n\t%s", task.Name(), strings.Join(near, "\n\t"))
	return core.Intent{}
}

// RequireNotDispatched fails the test if an intent of the task was recorded for
// which match returns true. A nil match takes any arguments.
func RequireNotDispatched[A any](tb TB, rec *Recorder, task core.Task[A], match func(A) bool) {
	tb.Helper()
	for _, job := range rec.Intents() {
		if job.Task != task.Name() {
			continue
		}
		args, err := task.Args(job)
		if err != nil {
			tb.Fatalf("%v was dispatched: %v", job, err)
			return
		}
		if match == nil || match(args) {
			tb.Fatalf("%v was dispatched", job)
			return
		}
	}
}

// RequireNothingDispatched fails the test if anything was recorded.
func RequireNothingDispatched(tb TB, rec *Recorder) {
	tb.Helper()
	if len(rec.Intents()) > 0 {
		tb.Fatalf("want nothing dispatched; dispatched were: %s", rec.summary())
	}
}

// Args returns the arguments of every recorded intent of the task, in order.
// Arguments that cannot be decoded fail the test.
func Args[A any](tb TB, rec *Recorder, task core.Task[A]) []A {
	tb.Helper()
	var all []A
	for _, job := range rec.Intents() {
		if job.Task != task.Name() {
			continue
		}
		args, err := task.Args(job)
		if err != nil {
			tb.Fatalf("%v: %v", job, err)
			return nil
		}
		all = append(all, args)
	}
	return all
}

// summary counts what was recorded by task.
func (r *Recorder) summary() string {
	var tasks []string
	counts := map[string]int{}
	for _, job := range r.Intents() {
		if counts[job.Task]++; counts[job.Task] == 1 {
			tasks = append(tasks, job.Task)
		}
	}
	if len(tasks) == 0 {
		return "none"
	}
	for i, name := range tasks {
		tasks[i] = fmt.Sprintf("%s (%d)", name, counts[name])
	}
	return strings.Join(tasks, ", ")
}
