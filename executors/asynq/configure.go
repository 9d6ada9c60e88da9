package asynqexec

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

const (
	defaultParkFor     = time.Minute
	defaultConcurrency = 10
)

// settings are what the handler needs of WorkerOptions. They reach it with
// Config.BaseContext.
type settings struct {
	names   adapter.QueueNames
	parkFor time.Duration
	logger  *slog.Logger
	log     *logBridge     // for asynq's own lines; nil if the Config has a Logger
	drain   *adapter.Drain // nil on a server that is not a Worker's
	cancels *cancellations // nil likewise
	recent  *recentIDs     // nil likewise, and if there is one queue
}

type settingsKey struct{}

// ConfigureServer prepares the configuration of a server of your own for
// [Handler] and [Middleware], before it is given to asynq.NewServer. It is for
// programs that have native handlers next to ours. All others use [NewWorker].
//
// What the configuration already says goes on to hold for native jobs:
//
//   - RetryDelayFunc obeys core.Backoff and worker.Snooze, rounded up to the second,
//     and asks the function that was there for every other job.
//   - IsFailure says that a job which is snoozed, parked or put back has not failed.
//   - ErrorHandler is not called for a job that is snoozed or put back.
//   - BaseContext carries the settings to the handler.
//
// Of opts, which may be nil, Queues, Weights, QueueNames and Lanes become
// cfg.Queues, Concurrency becomes cfg.Concurrency, DrainTimeout becomes
// cfg.ShutdownTimeout and Logger becomes cfg.Logger, unless they are unset.
// Registry.Queues are not added.
//
// Such a server runs a job of more than 30 seconds again if another task of the same
// ID, from another queue, begins or ends on it meanwhile: asynq v0.26.0 knows the
// leases of running tasks by their ID alone. A [Worker] runs one of them at a time.
//
// What is set in both, opts.Config, values that are impossible and a nil cfg are
// [core.ErrInvalid].
func ConfigureServer(cfg *asynq.Config, opts *WorkerOptions) error {
	if cfg == nil {
		return invalid("ConfigureServer: nil asynq.Config")
	}
	if opts == nil {
		opts = &WorkerOptions{}
	}
	_, err := opts.configure(cfg)
	return err
}

// configure applies the options to a configuration.
func (o *WorkerOptions) configure(cfg *asynq.Config) (*settings, error) {
	s := &settings{parkFor: defaultParkFor, logger: o.Logger}
	var err error
	if s.names, err = newQueueNames(o.QueueNames); err != nil {
		return nil, err
	}
	queues, err := o.nativeQueues(s.names)
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{cfg.Queues != nil && queues != nil, "Queues are set in asynq.Config and in WorkerOptions"},
		{cfg.Concurrency != 0 && o.Concurrency != 0, "Concurrency is set in asynq.Config and in WorkerOptions"},
		{cfg.ShutdownTimeout != 0 && o.DrainTimeout != 0, "asynq.Config.ShutdownTimeout and WorkerOptions.DrainTimeout are both set"},
		{cfg.Logger != nil && o.Logger != nil, "Logger is set in asynq.Config and in WorkerOptions"},
		{!reflect.ValueOf(o.Config).IsZero(), "WorkerOptions.Config is set, want everything in the asynq.Config"},
		{o.Concurrency < 0, "WorkerOptions.Concurrency is less than 0"},
		{o.ParkFor < 0, "WorkerOptions.ParkFor is less than 0"},
		{o.ParkFor > longest, "WorkerOptions.ParkFor is more than 100 years"},
		{cfg.LogLevel < 0 || cfg.LogLevel > asynq.FatalLevel, "Config.LogLevel is unknown"},
	} {
		if c.bad {
			return nil, invalid("%s", c.text)
		}
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if o.ParkFor > 0 {
		s.parkFor = o.ParkFor
	}
	if queues != nil {
		cfg.Queues = queues
	}
	if o.Concurrency > 0 {
		cfg.Concurrency = o.Concurrency
	}
	switch {
	case o.DrainTimeout > 0:
		cfg.ShutdownTimeout = o.DrainTimeout
	case o.DrainTimeout < 0:
		cfg.ShutdownTimeout = 1 // asynq puts 8 s in the place of 0
	}
	if cfg.Logger == nil {
		s.log = &logBridge{logger: s.logger, level: cfg.LogLevel}
		cfg.Logger = s.log
	}
	s.hook(cfg)
	return s, nil
}

// nativeQueues returns asynq's Config.Queues, nil if the options name none.
func (o *WorkerOptions) nativeQueues(names adapter.QueueNames) (map[string]int, error) {
	listed := o.Queues
	if listed == nil {
		listed = slices.Sorted(maps.Keys(o.Weights))
	}
	switch {
	case len(listed) == 0 && (o.Queues != nil || o.Weights != nil):
		return nil, invalid("WorkerOptions: no queue, want nil or at least one")
	case len(listed) == 0 && (o.Lanes || names.Native(defaultQueue) != defaultQueue):
		listed = []string{defaultQueue}
	case len(listed) == 0:
		return nil, nil
	}
	listed, err := names.Worked(listed, nil)
	if err != nil {
		return nil, err
	}
	queues := make(map[string]int, len(listed))
	for _, queue := range listed {
		queues[names.Native(queue)] = 1
	}
	for queue, weight := range o.Weights {
		if !slices.Contains(listed, queue) {
			return nil, invalid("WorkerOptions.Weights: queue %s is not in Queues", queue)
		}
		if weight < 1 || weight > maxWeight {
			return nil, invalid("WorkerOptions.Weights: queue %s: weight %d, want 1 to %d", queue, weight, maxWeight)
		}
		queues[names.Native(queue)] = weight
	}
	if o.Lanes {
		queues = Lanes(queues)
	}
	return queues, nil
}

// maxWeight bounds a weight: asynq makes a list as long as the sum of all weights
// whenever it looks for work.
const maxWeight = 1000

// hook puts ours around the functions of a configuration.
func (s *settings) hook(cfg *asynq.Config) {
	delay, failure, handler, base := cfg.RetryDelayFunc, cfg.IsFailure, cfg.ErrorHandler, cfg.BaseContext
	if delay == nil {
		delay = asynq.DefaultRetryDelayFunc
	}
	cfg.RetryDelayFunc = func(n int, err error, t *asynq.Task) time.Duration {
		wait, ours := waitFor(n, err, t)
		switch {
		case !ours:
			return delay(n, err, t)
		case wait == 0:
			return 0
		}
		return untilSecond(time.Now(), wait)
	}
	cfg.IsFailure = func(err error) bool {
		var a *answer
		if errors.As(err, &a) {
			return !a.atNoCost()
		}
		return failure == nil || failure(err)
	}
	cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, t *asynq.Task, err error) {
		var a *answer
		ours := errors.As(err, &a)
		if id, ok := asynq.GetTaskID(ctx); ok && ours && a.action == worker.Dead && s.log != nil {
			s.log.omit(asynq.WarnLevel, lineExhausted+id)
		}
		if handler != nil && (!ours || a.action != worker.Snoozed && a.action != worker.Interrupted) {
			handler.HandleError(ctx, t, err)
		}
	})
	cfg.BaseContext = func() context.Context {
		ctx := context.Background()
		if base != nil {
			ctx = base()
		}
		return context.WithValue(ctx, settingsKey{}, s)
	}
}

// untilSecond makes a wait end on a full second: asynq cuts the fraction of the
// time off, and the job would be early.
func untilSecond(now time.Time, wait time.Duration) time.Duration {
	return adapter.RoundUpTime(now.Add(wait), time.Second).Sub(now)
}
