package natsexec

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/goairlock/airlock/core"
)

// The defaults of [Options] and [WorkerOptions].
const (
	defaultAckTimeout  = 5 * time.Second
	defaultAckWait     = 30 * time.Second
	defaultParkFor     = time.Minute
	defaultConcurrency = 10
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Lanes lets intents have a Priority, by three lanes: 8 to 10; 4 to 7 and
	// unset; 1 to 3. The workers need [WorkerOptions].Lanes then: a worker
	// without it serves the middle lane only.
	Lanes bool

	// AckTimeout is how long to wait for each intent's acknowledgement. 0 means
	// 5 seconds.
	AckTimeout time.Duration

	// Atomic stores all intents of a call or none, with JetStream's atomic batch:
	// at most 1000 intents a call, on a stream that allows it, as [EnsureStream]
	// makes it.
	Atomic bool

	// QueueNames maps portable queue names to the names that subjects and
	// consumers have, for queues with another name in NATS: {"critical":
	// "Critical"}. A queue without an entry keeps its name. A native name is one
	// token of a subject: up to 64 visible ASCII characters without . * > / \
	// and without two dashes in a row.
	QueueNames map[string]string

	// Logger gets a line at Error when a job was stored by a second stream too.
	// Nil means slog.Default().
	Logger *slog.Logger
}

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Queues are the portable names of the queues to serve. None means the queue
	// of intents without one, default, and those that the registry's tasks name
	// in their defaults.
	Queues []string

	// QueueNames is the same as in [Options].
	QueueNames map[string]string

	// Concurrency is how many jobs run at a time. The worker never fetches more.
	// 0 means 10.
	Concurrency int

	// Lanes makes the worker serve all three lanes, see [Options]. While jobs
	// wait in all of them they start at a ratio of 6 to 3 to 1.
	Lanes bool

	// AckWait is the lease: after how long without a sign of its worker a job is
	// given to another one. A worker gives three signs in that time. It is used
	// for consumers that the worker creates. A consumer that exists keeps its own.
	// 0 means 30 seconds; at least 1 second.
	AckWait time.Duration

	// Backoff is the wait between the attempts of jobs that bring no Backoff. The
	// zero value means 1 second, doubled up to 10 minutes.
	Backoff core.BackoffPolicy

	// DrainTimeout is how long Run lets jobs go on once its context has ended,
	// before it ends their contexts. 0 means adapter.DefaultDrainTimeout, less
	// than 0 means no time at all.
	DrainTimeout time.Duration

	// ParkFor is how long a job waits whose task the worker does not know, or
	// whose envelope is of a later version. 0 means 1 minute.
	ParkFor time.Duration

	// Logger gets a line about every run, and about what the worker cannot return.
	// Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) orDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.AckTimeout < 0 {
		return opts, invalidf("Options.AckTimeout of %v", opts.AckTimeout)
	}
	if opts.AckTimeout == 0 {
		opts.AckTimeout = defaultAckTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}

func (o *WorkerOptions) orDefaults() (WorkerOptions, error) {
	var opts WorkerOptions
	if o != nil {
		opts = *o
	}
	if opts.AckWait == 0 {
		opts.AckWait = defaultAckWait
	}
	if opts.ParkFor == 0 {
		opts.ParkFor = defaultParkFor
	}
	if opts.Concurrency == 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.Backoff.IsZero() {
		opts.Backoff = core.Exponential(time.Second, 10*time.Minute)
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	switch {
	case opts.AckWait < time.Second:
		return opts, invalidf("WorkerOptions.AckWait of %v, want at least 1s", opts.AckWait)
	case opts.ParkFor < 0:
		return opts, invalidf("WorkerOptions.ParkFor of %v", opts.ParkFor)
	case opts.Concurrency < 0:
		return opts, invalidf("WorkerOptions.Concurrency of %d", opts.Concurrency)
	case opts.Backoff.First <= 0 || opts.Backoff.Max < opts.Backoff.First:
		return opts, invalidf("WorkerOptions.Backoff from %v to %v", opts.Backoff.First, opts.Backoff.Max)
	}
	return opts, nil
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("airlock: nats: %s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}
