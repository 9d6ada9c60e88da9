package celeryexec

import (
	"log/slog"
	"strings"
	"time"

	"github.com/goairlock/airlock/core"
)

// RedisOptions say how the Celery workers use Redis. All programs that share a Redis
// database need the same. The zero value is Celery's own default.
type RedisOptions struct {
	// VisibilityTimeout is broker_transport_options["visibility_timeout"]: a job that
	// a worker has held for longer is given to another worker. It is also the longest
	// delay. 0 means 1 hour.
	VisibilityTimeout time.Duration

	// KeyPrefix is broker_transport_options["global_keyprefix"], which is before
	// every key.
	KeyPrefix string
}

// AMQPOptions say how RabbitMQ is set up. The zero value is RabbitMQ's own default.
type AMQPOptions struct {
	// ConsumerTimeout is the server's consumer_timeout. RabbitMQ takes a job away that
	// a worker has had for longer without acknowledging it, and ends the worker's
	// channel. 0 means 30 minutes.
	//
	// For an executor, a delay may be as long as nine tenths of it. With Options.AcksLate a worker has a
	// job also while it runs: then a core.Timeout may be as long as half of it, and a
	// delay as long as nine tenths of the other half.
	ConsumerTimeout time.Duration
}

// Options tune an [Executor]. The zero value works.
type Options struct {
	// Redis says how the workers use Redis. It is for [New].
	Redis RedisOptions

	// AMQP says how RabbitMQ is set up. It is for [NewAMQP].
	AMQP AMQPOptions

	// QueueNames gives queues another name in Celery: portable to native. Without an
	// entry for "default" its native name is "celery".
	QueueNames map[string]string

	// Priorities honours core.Priority.
	//
	// On RabbitMQ the queues must have been declared with x-max-priority 10, which is
	// task_queue_max_priority of Celery. A message without a priority ranks last.
	//
	// On Redis a queue of kombu on Redis is four lists, of
	// which the first one is served first, and messages without a priority are in the
	// first one. So without this option all jobs go there, and with it those without a
	// priority go to the second one: they rank after the jobs of Python programs that
	// set none.
	Priorities bool

	// AcksLate says that the tasks have acks_late, so that a job survives the crash of
	// its worker. It changes only what the executor declares. On RabbitMQ that is also
	// how long a delay and a core.Timeout may be.
	AcksLate bool

	// Attempts says how often the tasks run a job that fails, max_retries + 1. It
	// changes only what the executor declares. 0 means unknown: a task without a retry
	// runs once.
	Attempts int
}

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Redis says how Celery workers and producers use Redis. It is for [NewWorker].
	Redis RedisOptions

	// AMQP says how RabbitMQ is set up. It is for [NewAMQPWorker].
	AMQP AMQPOptions

	// QueueNames are those of Options.
	QueueNames map[string]string

	// Queues are the portable names of the queues to work. Nil means the default
	// queue and Registry.Queues.
	Queues []string

	// Concurrency is how many jobs run at a time. 0 means 10.
	Concurrency int

	// MaxAttempts is how often a job runs that fails each time. A Python producer does
	// not say. 0 means core.DefaultMaxAttempts.
	MaxAttempts int

	// Backoff is the wait between two attempts. The zero value means 1 second, doubled
	// up to 10 minutes.
	Backoff core.BackoffPolicy

	// DrainTimeout is how long running jobs may go on once the worker stops. Then
	// their contexts end. 0 means adapter.DefaultDrainTimeout, less than 0 none.
	DrainTimeout time.Duration

	// ParkFor is how long a job waits whose task has no handler here. 0 means 1
	// minute.
	ParkFor time.Duration

	// PollInterval is how long an idle worker on Redis waits before it looks for jobs
	// again. 0 means 200 milliseconds. RabbitMQ needs none, and [NewAMQPWorker] refuses
	// it.
	PollInterval time.Duration

	// Logger gets a line about every run, see adapter.LogRun, and when the broker cannot
	// be reached. Nil means slog.Default.
	Logger *slog.Logger
}

const (
	defaultVisibility      = time.Hour // kombu's Channel.visibility_timeout
	defaultConsumerTimeout = 30 * time.Minute
	defaultPoll            = 200 * time.Millisecond
	longest                = 100 * 365 * 24 * time.Hour // what core allows a duration to be
)

var defaultBackoff = core.Exponential(time.Second, 10*time.Minute)

func (o RedisOptions) checked() (RedisOptions, error) {
	switch {
	case o.VisibilityTimeout < 0 || o.VisibilityTimeout > 0 && o.VisibilityTimeout < time.Second || o.VisibilityTimeout > longest:
		return o, invalid("RedisOptions.VisibilityTimeout: %v, want at least 1s and at most 100 years", o.VisibilityTimeout)
	case strings.ContainsFunc(o.KeyPrefix, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return o, invalid("RedisOptions.KeyPrefix: control characters")
	}
	if o.VisibilityTimeout == 0 {
		o.VisibilityTimeout = defaultVisibility
	}
	return o, nil
}

func (o AMQPOptions) checked() (AMQPOptions, error) {
	switch {
	case o.ConsumerTimeout < 0 || o.ConsumerTimeout > 0 && o.ConsumerTimeout < time.Second || o.ConsumerTimeout > longest:
		return o, invalid("AMQPOptions.ConsumerTimeout: %v, want at least 1s and at most 100 years", o.ConsumerTimeout)
	case o.ConsumerTimeout == 0:
		o.ConsumerTimeout = defaultConsumerTimeout
	}
	return o, nil
}

func (o *WorkerOptions) checked() (WorkerOptions, error) {
	var opts WorkerOptions
	if o != nil {
		opts = *o
	}
	switch {
	case opts.Concurrency < 0:
		return opts, invalid("WorkerOptions.Concurrency: %d, want at least 1", opts.Concurrency)
	case opts.MaxAttempts < 0:
		return opts, invalid("WorkerOptions.MaxAttempts: %d, want at least 1", opts.MaxAttempts)
	case opts.ParkFor < 0 || opts.ParkFor > longest:
		return opts, invalid("WorkerOptions.ParkFor: %v, want more than 0 and at most 100 years", opts.ParkFor)
	case opts.PollInterval < 0 || opts.PollInterval > longest:
		return opts, invalid("WorkerOptions.PollInterval: %v, want more than 0 and at most 100 years", opts.PollInterval)
	}
	if opts.Concurrency == 0 {
		opts.Concurrency = 10
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = core.DefaultMaxAttempts
	}
	if opts.Backoff.IsZero() {
		opts.Backoff = defaultBackoff
	}
	if opts.ParkFor == 0 {
		opts.ParkFor = time.Minute
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = defaultPoll
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts, nil
}
