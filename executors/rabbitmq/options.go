package rabbitexec

import (
	"log/slog"
	"time"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Topology says which queues there are. Workers and EnsureQueues need the same.
	Topology

	// ConfirmTimeout is how long RabbitMQ may take to confirm what was published, and
	// to open a channel. After that an intent is Unknown. 0 means 10 seconds.
	ConfirmTimeout time.Duration

	// Channels is how many calls publish at the same time. Further calls wait. 0
	// means 8.
	Channels int

	// ConsumerTimeout is the consumer_timeout of the server. A job with a longer
	// core.Timeout is refused. 0 means 30 minutes, RabbitMQ's own default.
	ConsumerTimeout time.Duration

	// Logger gets a line when the connection is lost and one when it is back. Nil
	// means slog.Default.
	Logger *slog.Logger
}

func (o *Options) checked() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	switch {
	case opts.ConfirmTimeout < 0:
		return opts, invalid("Options.ConfirmTimeout: %v, want more than 0", opts.ConfirmTimeout)
	case opts.Channels < 0 || opts.Channels > maxChannels:
		return opts, invalid("Options.Channels: %d, want 1 to %d", opts.Channels, maxChannels)
	case opts.ConsumerTimeout < 0:
		return opts, invalid("Options.ConsumerTimeout: %v, want more than 0", opts.ConsumerTimeout)
	}
	if opts.ConfirmTimeout == 0 {
		opts.ConfirmTimeout = defaultConfirmTimeout
	}
	if opts.Channels == 0 {
		opts.Channels = defaultChannels
	}
	if opts.ConsumerTimeout == 0 {
		opts.ConsumerTimeout = defaultConsumerTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}

const (
	defaultConfirmTimeout  = 10 * time.Second
	defaultChannels        = 8
	maxChannels            = 1000 // RabbitMQ's channel_max is 2047 by default
	defaultConsumerTimeout = 30 * time.Minute
)

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Topology is that of the executor's Options.
	Topology

	// Queues are the portable names of the queues to work. Nil means the default
	// queue and Registry.Queues. A queue that does not exist is tried again.
	Queues []string

	// Concurrency is how many jobs run at a time, of all queues together. It is also
	// how many messages of each queue the worker holds. 0 means 10.
	Concurrency int

	// DrainTimeout is how long running jobs may go on once the worker stops. Then
	// their contexts end. 0 means adapter.DefaultDrainTimeout, less than 0 none.
	DrainTimeout time.Duration

	// ParkFor is how long a job waits that nobody here can run: its task has no
	// handler, or its envelope is of a later version. It is rounded up to 100 ms. 0
	// means 1 minute.
	ParkFor time.Duration

	// Logger gets a line about every run, see adapter.LogRun, and when RabbitMQ
	// cannot be reached. Nil means slog.Default.
	Logger *slog.Logger
}

func (o *WorkerOptions) checked() (WorkerOptions, error) {
	var opts WorkerOptions
	if o != nil {
		opts = *o
	}
	switch {
	case opts.Concurrency < 0 || opts.Concurrency > maxPrefetch:
		return opts, invalid("WorkerOptions.Concurrency: %d, want 1 to %d", opts.Concurrency, maxPrefetch)
	case opts.ParkFor < 0 || opts.ParkFor > longestDelay:
		return opts, invalid("WorkerOptions.ParkFor: %v, want more than 0 and at most %v", opts.ParkFor, longestDelay)
	}
	if opts.Concurrency == 0 {
		opts.Concurrency = 10
	}
	if opts.ParkFor == 0 {
		opts.ParkFor = time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}

const maxPrefetch = 1<<16 - 1 // a 16 bit number in AMQP
