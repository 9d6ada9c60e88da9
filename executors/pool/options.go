package poolexec

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// Options tune a pool. The zero value works; a nil *Options is the same.
type Options struct {
	// Registry has the handlers of declared tasks, the middleware and the
	// observers. Nil: the pool runs only tasks of core.NewTask.
	Registry *worker.Registry

	// Workers is how many jobs run at a time, at most. 0 means four for each CPU
	// that Go uses (runtime.GOMAXPROCS), since side effects mostly wait for I/O.
	// Less than 0 is core.ErrInvalid.
	Workers int

	// Capacity is how many jobs may wait, at most: jobs that are due, delayed, or
	// between two attempts. 0 means 10 000, which take about 3 MB in addition to
	// their payloads. Less than 0 is core.ErrInvalid. A failed job that has
	// attempts left always waits, even beyond the capacity.
	Capacity int

	// RefuseWhenFull says what a call does when there is no room. False: it waits
	// until its context ends, and calls get room in the order in which they were
	// made. What was taken by then is Accepted, the rest is NotSent. True: every
	// intent of the call is NotSent at once, with core.ErrUnavailable.
	RefuseWhenFull bool

	// RememberIDs is how many IDs of jobs that succeeded are remembered, so that
	// the same intent sent again is not run again. 0 means 10 000, which take about
	// 1.5 MB. Less than 0 remembers none. The IDs of jobs that wait or run are
	// always known.
	RememberIDs int

	// OnDone is called once for each job that has ended, on the worker's goroutine:
	// with a verdict of worker.Done, or of worker.Dead and the reason. Use it to
	// keep dead jobs, because the pool does not. Before the call the job's Unique
	// key, and the ID of a dead job, have become free. A panic is contained and
	// logged. May be nil.
	OnDone func(core.Intent, worker.Verdict)

	// Logger gets one line for each run: Debug for a job that is done or snoozed,
	// Warn for a failed attempt, Error for a dead job. See adapter.LogRun. Nil
	// means slog.Default().
	Logger *slog.Logger
}

const (
	workersPerCPU   = 4
	defaultCapacity = 10_000
	defaultRemember = 10_000
)

// defaultBackoff is for jobs without a Backoff. 25 attempts take 2.6 hours.
var defaultBackoff = core.Exponential(time.Second, 10*time.Minute)

// withDefaults returns the options with every unset field filled in.
func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	switch {
	case opts.Workers < 0:
		return Options{}, fmt.Errorf("airlock: pool: Options.Workers is %d, want 0 or more: %w", opts.Workers, core.ErrInvalid)
	case opts.Capacity < 0:
		return Options{}, fmt.Errorf("airlock: pool: Options.Capacity is %d, want 0 or more: %w", opts.Capacity, core.ErrInvalid)
	}
	if opts.Workers == 0 {
		opts.Workers = workersPerCPU * runtime.GOMAXPROCS(0)
	}
	if opts.Capacity == 0 {
		opts.Capacity = defaultCapacity
	}
	switch {
	case opts.RememberIDs == 0:
		opts.RememberIDs = defaultRemember
	case opts.RememberIDs < 0:
		opts.RememberIDs = 0
	}
	return opts, nil
}

// onDone calls OnDone and contains its panic.
func (o *Options) onDone(in core.Intent, v worker.Verdict) {
	if o.OnDone == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			logger := o.Logger
			if logger == nil {
				logger = slog.Default()
			}
			logger.Error("airlock: pool: Options.OnDone panicked", "job", in, "error", fmt.Sprint(p))
		}
	}()
	o.OnDone(in, v)
}
