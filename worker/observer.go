package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"
)

// Run is one run of a job as an [Observer] sees it.
type Run struct {
	Delivery Delivery      // the job and the attempt
	Verdict  Verdict       // the result
	Took     time.Duration // how long the handler and its middleware ran; 0 if they were not called

	// Known says that the task has a handler here, so that its name comes from the
	// program and not from the queue. [Registry.Report] sets it.
	Known bool
}

// String returns the job's task, ID and queue, and the verdict's action.
func (r Run) String() string { return r.Delivery.String() + ": " + r.Verdict.Action.String() }

// Format prints the same as String for every verb, so that no verb can print the
// payload.
func (r Run) Format(s fmt.State, _ rune) { io.WriteString(s, r.String()) } // fmt keeps the error

// Observer is called with the verdict after every run. It also sees what a
// [Middleware] does not: tasks without a handler, deadlines in the past, and jobs
// that a worker ends without a run, such as a job that it cannot decode. It is called
// before the queue records the verdict, and so also for a run whose verdict is dropped
// because another worker has the job by then. It must
// be safe for concurrent use. It should return soon, since the worker waits for it
// before it takes the next job. If it panics, the panic is logged with slog's
// default logger. The verdict and the other observers are not affected.
type Observer func(ctx context.Context, run Run)

// Report calls the registry's observers with a run. [Registry.Perform] calls it
// for every run. An adapter calls it for a job that it ends without Perform.
func (r *Registry) Report(ctx context.Context, run Run) {
	if r == nil {
		return
	}
	run.Known = r.knows(&run.Delivery)
	for _, observe := range r.observers {
		report(ctx, observe, run)
	}
}

func report(ctx context.Context, observe Observer, run Run) {
	defer func() {
		if v := recover(); v != nil {
			slog.ErrorContext(ctx, "airlock: an Observer panicked", "error", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	observe(ctx, run)
}
