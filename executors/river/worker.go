package riverexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

const (
	defaultConcurrency = 10
	defaultParkFor     = time.Minute

	// stopLimit bounds the wait for River's own services once all jobs have ended.
	// Their last writes may take 40 seconds if the database does not answer.
	stopLimit = time.Minute
)

// Worker works the jobs of a registry's tasks. It is made by [NewWorker]. TTx is the
// transaction of the driver: pgx.Tx or *sql.Tx.
type Worker[TTx any] struct {
	client  *river.Client[TTx]
	jobs    *jobWorker
	drain   *adapter.Drain
	state   *driverState
	queues  []string // River's names
	started atomic.Bool
}

// NewWorker returns a worker for the tasks of the registry. The driver's
// connections stay the caller's. A nil driver or registry, and options that
// contradict each other, are [core.ErrInvalid]. Nil opts are the zero
// [WorkerOptions]. NewWorker does no I/O.
//
// A handler's [worker.Permanent] cancels the job. [worker.Snooze], an interruption
// and parking use up no attempt. The last failed attempt discards the job. A panic
// is a failed attempt with its stack in the attempt's error. River's JobCancel ends a
// running job's context with the cause [worker.ErrCanceled]. If the handler then returns
// an error, that is a failed attempt, and the job is dead. Config.ErrorHandler,
// and the hooks and middleware of the Config, see our jobs as well. Handlers may use
// river.ClientFromContext.
//
// A job that an [Executor] stored has the limits it was dispatched with and no
// others: without a Timeout it may run as long as it likes. A job that River's own
// client inserted has the client's JobTimeout.
func NewWorker[TTx any](driver riverdriver.Driver[TTx], reg *worker.Registry, opts *WorkerOptions) (*Worker[TTx], error) {
	if isNil(driver) {
		return nil, fmt.Errorf("airlock: river: nil driver: %w", core.ErrInvalid)
	}
	if reg == nil {
		return nil, errNilRegistry
	}
	if opts == nil {
		opts = &WorkerOptions{}
	}
	config, names, err := opts.clientConfig(reg)
	if err != nil {
		return nil, err
	}
	jobs, err := addWorkers(config, reg, names, opts.ParkFor)
	if err != nil {
		return nil, err
	}
	w := &Worker[TTx]{jobs: jobs, drain: adapter.NewDrain(opts.DrainTimeout), state: &driverState{jobs: jobs, fetched: make(chan struct{})}}
	jobs.drain, jobs.abandon = w.drain, make(chan struct{})
	for queue := range config.Queues {
		w.queues = append(w.queues, queue)
	}
	config.Logger = slog.New(&riverLog{config.Logger.Handler(), jobs, w.state})
	w.client, err = river.NewClient(wrapDriver(driver, w.state), config)
	if err != nil {
		return nil, fmt.Errorf("airlock: river: %w: %w", core.ErrInvalid, err)
	}
	return w, nil
}

// clientConfig returns the client's Config, complete but for our workers.
func (o *WorkerOptions) clientConfig(reg *worker.Registry) (*river.Config, adapter.QueueNames, error) {
	bad := func(format string, args ...any) (*river.Config, adapter.QueueNames, error) {
		return nil, adapter.QueueNames{}, fmt.Errorf("airlock: river: WorkerOptions: "+format+": %w", append(args, core.ErrInvalid)...)
	}
	config := o.Config
	names, err := newQueueNames(o.QueueNames)
	if err != nil {
		return nil, adapter.QueueNames{}, err
	}
	switch {
	case o.Concurrency < 0:
		return bad("Concurrency of %d", o.Concurrency)
	case o.ParkFor < 0:
		return bad("ParkFor of %v", o.ParkFor)
	case config.Queues != nil && (o.Queues != nil || o.Concurrency != 0):
		return bad("Config.Queues together with Queues or Concurrency")
	case o.Logger != nil && config.Logger != nil && o.Logger != config.Logger:
		return bad("Logger and Config.Logger are two loggers")
	}
	if config.Queues == nil {
		if config.Queues, err = o.queueConfigs(reg, names); err != nil {
			return nil, adapter.QueueNames{}, err
		}
	}
	drain := o.DrainTimeout
	switch {
	case drain == 0:
		drain = adapter.DefaultDrainTimeout
	case drain < 0:
		drain = 1 // River takes 0 for no limit
	}
	if config.SoftStopTimeout != 0 && config.SoftStopTimeout != drain {
		return bad("Config.SoftStopTimeout of %v contradicts DrainTimeout", config.SoftStopTimeout)
	}
	config.SoftStopTimeout = drain
	if config.Logger == nil {
		config.Logger = o.Logger
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &config, names, ConfigureClient(&config)
}

func (o *WorkerOptions) queueConfigs(reg *worker.Registry, names adapter.QueueNames) (map[string]river.QueueConfig, error) {
	queues, err := names.Worked(o.Queues, reg.Queues())
	if err != nil {
		return nil, err
	}
	slots := o.Concurrency
	if slots == 0 {
		slots = defaultConcurrency
	}
	configs := make(map[string]river.QueueConfig, len(queues))
	for _, queue := range queues {
		configs[names.Native(queue)] = river.QueueConfig{MaxWorkers: slots}
	}
	if len(configs) == 0 {
		return nil, fmt.Errorf("airlock: river: WorkerOptions: no queues: %w", core.ErrInvalid)
	}
	return configs, nil
}

// Run works until ctx ends. Then it fetches no more jobs and waits for those that
// run, for DrainTimeout. What still runs then has its context ended, with the cause
// [worker.ErrStopping], and is put back without using up an attempt. Run returns a
// [*worker.DrainError] if handlers ignored even that for 5 seconds: their jobs run
// again after Config.RescueStuckJobsAfter. Otherwise it returns nil, also because
// ctx ended.
//
// A database that does not answer, at the start or later, is tried again, and
// logged once when it is lost and once when it is back. The same holds for
// connections that break during the start. Run can be called once.
// Another call, and a Worker that NewWorker did not make, are [core.ErrInvalid].
func (w *Worker[TTx]) Run(ctx context.Context) error {
	switch {
	case w == nil || w.client == nil:
		return fmt.Errorf("airlock: river: Run of a worker that NewWorker did not make: %w", core.ErrInvalid)
	case ctx == nil:
		return fmt.Errorf("airlock: river: Run with a nil context: %w", core.ErrInvalid)
	case !w.started.CompareAndSwap(false, true):
		return fmt.Errorf("airlock: river: a second Run of a worker: %w", core.ErrInvalid)
	}
	w.drain.Until(ctx)
	if !w.start(ctx) {
		return nil
	}
	var parked sync.WaitGroup
	parked.Go(func() { w.logParked(ctx) })
	<-ctx.Done()
	err := w.stop()
	parked.Wait()
	return err
}

// start starts River's client, once the database answers. It reports whether the
// client runs.
func (w *Worker[TTx]) start(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		err := w.client.Start(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			break
		}
		w.state.noteLost(err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return false
}

func (w *Worker[TTx]) stop() error {
	ended := make(chan struct{})
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			<-ended
			select {
			case <-time.After(stopLimit):
				cancel()
			case <-ctx.Done():
			}
		}()
		stopped <- w.client.Stop(ctx)
	}()
	drained := w.drain.Stop()
	close(w.jobs.abandon)
	close(ended)
	if err := <-stopped; err != nil {
		return errors.Join(drained, fmt.Errorf("airlock: river: native jobs still run, or the database does not take the last results: %w", err))
	}
	return drained
}
