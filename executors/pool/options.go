package poolexec

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/goairlock/airlock/core"
)

// Options tune a pool. The zero value works and is safe; a nil *Options is the
// same.
type Options struct {
	// Registry has the handlers of tasks that were only declared, and middleware.
	// Without it the pool runs only the tasks of core.NewTask.
	Registry *core.Registry

	// Workers is how many jobs run at a time, at most. 0 means four for each CPU
	// that Go uses (runtime.GOMAXPROCS): side effects mostly wait for others.
	Workers int

	// Capacity is how many jobs may wait, at most: those that are due, delayed
	// ones, and those between two attempts. 0 means 10 000, which take about
	// 3 MB and their payloads. A job that fails and is to run again always finds
	// its place, even beyond it.
	Capacity int

	// RefuseWhenFull says what a call does when there is no room. False: it
	// waits for room, in the order of the calls, until its context ends; what was
	// taken by then is Accepted and the rest NotSent. True: all intents of the
	// call are NotSent at once, with an error that wraps core.ErrUnavailable.
	RefuseWhenFull bool

	// RememberIDs is how many IDs of jobs that succeeded are remembered, so that
	// the same intent sent again is no second job. 0 means 10 000, which take
	// about 1.5 MB once that many jobs have run. Less than 0 remembers none. IDs
	// of jobs that wait or run are always known.
	RememberIDs int

	// OnDone is called once for each job that is over, by the worker that ran it:
	// with a verdict of core.Done, or of core.Dead and why. It is the place to
	// keep dead jobs, since a pool has no other. By then the job's ID (if it is
	// dead) and its Unique key are free again. A panic is contained and logged.
	// Nil: dead jobs are logged with slog's default logger.
	OnDone func(core.Intent, core.Verdict)
}

const (
	workersPerCPU   = 4
	defaultCapacity = 10_000
	defaultRemember = 10_000
	defaultAttempts = 25
	defaultPriority = 5
)

// defaultBackoff is for jobs that bring none: 25 attempts last some 2.6 hours.
var defaultBackoff = core.Exponential(time.Second, 10*time.Minute)

// withDefaults returns the options that hold.
func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	for _, f := range []struct {
		name  string
		value *int
		unset int
	}{
		{"Workers", &opts.Workers, workersPerCPU * runtime.GOMAXPROCS(0)},
		{"Capacity", &opts.Capacity, defaultCapacity},
	} {
		switch {
		case *f.value < 0:
			return Options{}, fmt.Errorf("airlock: pool: Options.%s of %d, want 0 or more: %w", f.name, *f.value, core.ErrInvalid)
		case *f.value == 0:
			*f.value = f.unset
		}
	}
	switch {
	case opts.RememberIDs == 0:
		opts.RememberIDs = defaultRemember
	case opts.RememberIDs < 0:
		opts.RememberIDs = 0
	}
	if opts.OnDone == nil {
		return opts, nil
	}
	hook := opts.OnDone
	opts.OnDone = func(in core.Intent, v core.Verdict) {
		defer func() {
			if p := recover(); p != nil {
				slog.Error("airlock: pool: Options.OnDone panicked", "job", in, "panic", fmt.Sprint(p))
			}
		}()
		hook(in, v)
	}
	return opts, nil
}

func logDead(in core.Intent, v core.Verdict) {
	slog.Error("airlock: pool: job is dead", "job", in, "err", v.Err)
}
