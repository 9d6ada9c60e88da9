package riverexec

import (
	"errors"
	"log/slog"
	"regexp"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/riverqueue/river"
)

// Options tune an [Executor]. The zero value works.
type Options struct {
	// NoIdentity stores no unique key for generated IDs, which keeps the index small.
	// They are then not remembered: an intent that is sent again after a lost answer
	// is a second job. Chosen IDs and Unique keys still hold.
	NoIdentity bool

	// Wrap stores a payload that the database would refuse, because it is not
	// JSON or has what jsonb refuses, as a JSON string of its base64. Our worker
	// unwraps it; a native worker sees the string.
	Wrap bool

	// QueueNames says which queues have another name in River: the name given to
	// core.Queue → River's name. "default" is the key for intents without a queue.
	QueueNames map[string]string
}

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Queues are the queues to work, by their portable names. Nil: the default
	// queue and those that the tasks' default options name (Registry.Queues).
	Queues []string

	// QueueNames says which queues have another name in River, as in [Options].
	// worker.Job.Queue is the portable name.
	QueueNames map[string]string

	// Concurrency is how many jobs run at a time in each queue, not in all of them
	// together: River has slots per queue. A worker of 3 queues with a Concurrency of
	// 20 runs up to 60 jobs at a time. 0: 10. Config.Queues gives each queue a number
	// of its own.
	Concurrency int

	// DrainTimeout is how long running jobs may take to end once Run's context has
	// ended. 0: adapter.DefaultDrainTimeout, 20 seconds. Less than 0: no time.
	DrainTimeout time.Duration

	// ParkFor is how long a parked job waits before it is tried again. 0: a minute.
	ParkFor time.Duration

	// Logger gets a line for every run, and River's own log. River's lines that
	// repeat one of ours are Debug. Nil: Config.Logger, or else slog.Default().
	Logger *slog.Logger

	// Config is the base of the client's Config: timeouts, periodic jobs, native
	// workers, and so on. Workers may hold native workers; the registry's are
	// added to it. Queues excludes the options Queues and Concurrency. Logger and
	// SoftStopTimeout must be unset or equal to Logger and DrainTimeout.
	// FetchOnlyKnownKinds is always on.
	Config river.Config
}

// What River 0.51 takes as the name of a queue.
var queueName = regexp.MustCompile(`^(?:[a-z0-9])+(?:[_|\-]?[a-z0-9]+)*$`)

func validQueue(name string) bool { return len(name) <= 64 && queueName.MatchString(name) }

func newQueueNames(names map[string]string) (adapter.QueueNames, error) {
	return adapter.NewQueueNames(name, names, func(native string) error {
		if !validQueue(native) {
			return errors.New("want words of a-z and 0-9 joined by single _, - or |, at most 64 bytes")
		}
		return nil
	})
}
