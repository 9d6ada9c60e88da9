package riverexec

import (
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/riverqueue/river"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// AddWorkers prepares the Config of a client that works native jobs as well: it adds
// a worker for each task of the registry to config.Workers. The program makes,
// starts and stops the client itself. A task that has a worker already is
// [core.ErrInvalid], and so is a nil config or registry.
//
// AddWorkers turns on config.FetchOnlyKnownKinds, so that a job that this client has
// no worker for uses up no attempt. Set config.RescueStuckJobsAfter before the call.
// Of opts it takes QueueNames, ParkFor and Logger. Any other option that is set is
// [core.ErrInvalid], because the Config decides it.
//
// Jobs are worked as [NewWorker] says, with four differences. Unlike a [Worker],
// the client discards stuck jobs of kinds that it does not know if it is the
// leader, and logs no jobs that wait for another worker. If a connection breaks while
// it starts, River v0.51.1 may report a start that works no queue. How it stops is up
// to the program: see Config.SoftStopTimeout.
func AddWorkers(config *river.Config, reg *worker.Registry, opts *WorkerOptions) error {
	if config == nil {
		return fmt.Errorf("airlock: river: nil config: %w", core.ErrInvalid)
	}
	if opts == nil {
		opts = &WorkerOptions{}
	}
	names, err := newQueueNames(opts.QueueNames)
	switch {
	case err != nil:
		return err
	case opts.Queues != nil || opts.Concurrency != 0 || opts.DrainTimeout != 0 || !isZero(opts.Config):
		return fmt.Errorf("airlock: river: AddWorkers takes QueueNames, ParkFor and Logger alone: %w", core.ErrInvalid)
	case opts.ParkFor < 0:
		return fmt.Errorf("airlock: river: WorkerOptions: ParkFor of %v: %w", opts.ParkFor, core.ErrInvalid)
	}
	w, err := addWorkers(config, reg, names, opts.ParkFor)
	if err != nil {
		return err
	}
	if opts.Logger != nil {
		w.logger = opts.Logger
	}
	if config.Logger != nil { // River's default logs no line below Warn
		config.Logger = slog.New(&riverLog{config.Logger.Handler(), w, nil})
	}
	return nil
}

func addWorkers(config *river.Config, reg *worker.Registry, names adapter.QueueNames, parkFor time.Duration) (*jobWorker, error) {
	if reg == nil {
		return nil, errNilRegistry
	}
	if parkFor == 0 {
		parkFor = defaultParkFor
	}
	w := &jobWorker{registry: reg, queues: names, parkFor: parkFor, logger: config.Logger,
		rescueAfter: rescueAfter(config), tasks: map[string]bool{}}
	tasks := reg.Tasks()
	for _, task := range tasks {
		w.tasks[task] = true
	}
	if config.Workers == nil {
		config.Workers = river.NewWorkers()
		if len(tasks) == 0 {
			tasks = []string{noTask}
		}
	}
	for _, task := range tasks {
		if err := addWorker(config.Workers, w, task); err != nil {
			return nil, err
		}
	}
	config.FetchOnlyKnownKinds = true
	return w, nil
}

var errNilRegistry = fmt.Errorf("airlock: river: nil registry: %w", core.ErrInvalid)

// noTask is the kind that a client without any task has a worker for: River starts
// none without. It cannot be a task's name.
const noTask = "airlock[none]"

// addWorker registers the worker for a task. AddWorkerSafely cannot: it asks a zero
// value for the kind, and ours is known at run time only.
func addWorker(workers *river.Workers, w *jobWorker, task string) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("airlock: river: task %s: %v: %w", task, v, core.ErrInvalid)
		}
	}()
	river.AddWorkerArgs(workers, arguments{task}, w)
	return nil
}

// isZero reports whether a Config has no field set.
func isZero(config river.Config) bool { return reflect.ValueOf(config).IsZero() }
