package asynqexec

import (
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// IDWindow is for how long after its success a job's ID is remembered, so that
	// the same intent sent again is no second job. It is stored as the job's
	// retention, rounded up to the second, unless [Native] asks for a longer one:
	// that long a completed job takes memory in Redis. 0 means 5 minutes. Less
	// than 0 means that an ID is remembered only until the job has succeeded; a
	// reply that is lost can then mean a second run.
	IDWindow time.Duration

	// Lanes honours core.Priority with two more queues for each queue. Its workers
	// need WorkerOptions.Lanes. Executors that share a queue should agree about it:
	// one without Lanes does not see an ID or a unique key that is in a lane.
	Lanes bool

	// QueueNames gives queues another name in asynq: portable to native. A native
	// name is not blank and has no brace, control character or invalid UTF-8. A
	// queue that is not listed keeps its name. The workers need the same names.
	QueueNames map[string]string
}

// WorkerOptions tune a [Worker], and a server that [ConfigureServer] prepares. The
// zero value works.
type WorkerOptions struct {
	// Queues are the portable names of the queues to work. Nil means those of
	// Weights, and without Weights the default queue and Registry.Queues.
	Queues []string

	// Weights says how large a share of the starts a queue gets while jobs wait in
	// several of them. A queue without a weight has 1. With Config.StrictPriority
	// a queue of a higher weight always goes first.
	Weights map[string]int

	// QueueNames are those of the executor's Options. Job.Queue is the portable
	// name.
	QueueNames map[string]string

	// Lanes also works the lanes of each queue, see [Lanes], where executors with
	// Options.Lanes put jobs with a priority. A [Worker] without it logs a warning
	// if jobs wait in a lane that no server works.
	Lanes bool

	// Concurrency is how many jobs run at a time. 0 means 10.
	Concurrency int

	// DrainTimeout is how long running jobs may go on once the worker stops. Then
	// their contexts end. 0 means adapter.DefaultDrainTimeout, less than 0 none.
	DrainTimeout time.Duration

	// ParkFor is how long a job waits that nobody here can run: its task has no
	// handler, or its envelope is of a later version. Rounded up to the second. 0
	// means 1 minute.
	ParkFor time.Duration

	// Logger gets a line for every run, and asynq's own log. Nil means
	// slog.Default.
	Logger *slog.Logger

	// Config is the base for asynq's configuration, such as its check intervals,
	// RetryDelayFunc for jobs without a backoff, or ErrorHandler. Queues,
	// Concurrency, ShutdownTimeout and Logger must be unset: the options above set
	// them. LogLevel is that of asynq's own lines.
	Config asynq.Config
}
