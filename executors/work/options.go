package workexec

import (
	"log/slog"
	"time"

	"github.com/goairlock/airlock/adapter"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Namespace is the namespace of the queue "default" in Redis: what the library's
	// worker pools are given. See [Namespace] for the other queues. It must not
	// contain ":queue:". "" means "work", as for the library's own commands.
	Namespace string

	// QueueNames are the namespaces of queues that have one of their own, by queue
	// name: {"critical": "critical-app"}. Two queues must not have the same one.
	QueueNames map[string]string

	// IDWindow is for how long an ID is remembered, counted from the dispatch or,
	// with a delay, from the time at which the job is due. Each takes some 150
	// bytes of Redis for that long. It is rounded up to the millisecond. 0 means 5
	// minutes, and the most is 100 years.
	IDWindow time.Duration

	// Lanes honours core.Priority with two more job names for each task. Only
	// workers with WorkerOptions.Lanes find the jobs there.
	Lanes bool

	// PlainArgs stores arguments that encode to a JSON object as the library does,
	// for handlers that read job.ArgInt64("user_id"). The library's own scripts
	// damage some of these when a job is delayed or retried: numbers of more than
	// 14 digits, empty arrays, half a surrogate pair, deep nesting. Arguments with
	// such a value, with a key twice, or with a key that is ours (airlock,
	// airlock_payload, airlock_base64) are refused, with core.ErrInvalid. Keys may
	// come back in another order, and numbers written otherwise. Arguments that
	// are no object are stored as without PlainArgs.
	PlainArgs bool
}

const (
	defaultIDWindow = 5 * time.Minute
	longest         = 100 * 365 * 24 * time.Hour // what core allows a duration to be
)

// window returns how long an ID is remembered, in full milliseconds.
func (o *Options) window() (time.Duration, error) {
	switch w := o.IDWindow; {
	case w < 0 || w > longest:
		return 0, invalid("Options.IDWindow: %v, want more than 0 and at most %v", w, longest)
	case w == 0:
		return defaultIDWindow, nil
	default:
		return adapter.RoundUp(w, time.Millisecond), nil
	}
}

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Namespace and QueueNames are those of the executor's [Options].
	Namespace  string
	QueueNames map[string]string

	// Queues are the queues to take jobs from. Nil means "default" and the queues
	// that the registry's tasks name in their default options.
	Queues []string

	// Concurrency is how many jobs run at a time, of all queues together. 0 means 10.
	Concurrency int

	// DrainTimeout is how long running jobs may take to end when the worker stops.
	// 0 means adapter.DefaultDrainTimeout, and less than 0 no time at all.
	DrainTimeout time.Duration

	// ParkFor is how long a job waits that has an envelope of a later version, until
	// a worker looks at it again, and how often a job is reported whose task no worker
	// knows. It is rounded up to the second. 0 means 1 minute.
	ParkFor time.Duration

	// Lanes takes jobs out of the lanes of Options.Lanes as well. As long as jobs of
	// a task wait in each lane, of ten starts the lane for priorities 8 to 10 gets
	// six, the task's own name three, and the lane for 1 to 3 one.
	Lanes bool

	// Logger gets a line about every run, see adapter.LogRun, and about jobs that are
	// taken back, messages that are no jobs, and a Redis that cannot be reached. Nil
	// means slog.Default().
	Logger *slog.Logger
}

const (
	defaultConcurrency = 10
	defaultParkFor     = time.Minute
)

// checked returns the options with their defaults.
func (o *WorkerOptions) checked() (WorkerOptions, error) {
	var opts WorkerOptions
	if o != nil {
		opts = *o
	}
	switch {
	case opts.Concurrency < 0:
		return opts, invalid("WorkerOptions.Concurrency: %d, want more than 0", opts.Concurrency)
	case opts.ParkFor < 0 || opts.ParkFor > longest:
		return opts, invalid("WorkerOptions.ParkFor: %v, want more than 0 and at most %v", opts.ParkFor, longest)
	}
	if opts.Concurrency == 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.ParkFor == 0 {
		opts.ParkFor = defaultParkFor
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}
