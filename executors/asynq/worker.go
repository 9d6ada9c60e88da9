package asynqexec

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

const (
	// requeueAfter is how long asynq waits, once the drain is over, before it puts
	// back what still runs. A handler that has just returned must be heard first.
	requeueAfter = time.Second
	// recordFor is how long, once the drain is over, answers may still be recorded.
	recordFor = 5 * time.Second
)

// Worker runs jobs on an asynq.Server of its own. It is made by [NewWorker].
//
// In comparison to an asynq.Server that [ConfigureServer] has prepared, a Worker
//
//   - drains: jobs run for DrainTimeout more, then their contexts end and they are
//     put back. asynq puts a job back while its handler still runs;
//   - tries to record what became of a job for as long as it has the job's lease.
//     asynq v0.26.0 tries once: its "Will retry syncing" uses a context that was
//     cancelled before. So the jobs in hand during an outage would run again;
//   - ends the context of a run that asynq.Inspector.CancelProcessing stops, and
//     obeys the handler's answer. An ordinary error is a failed attempt. asynq takes
//     the job away and tries it again, and ignores the answer;
//   - archives a stored message that cannot be decoded. asynq keeps it among the
//     active ones, and then finds no job of a crashed worker in that queue any more.
//
// A Redis user with an ACL needs the channel asynq:cancel.
type Worker struct {
	server  *asynq.Server
	handler asynq.Handler
	client  *workerClient
	drain   *adapter.Drain
	cancels *cancellations
	lanes   laneWatch
	ran     atomic.Bool
}

// NewWorker returns a worker for the jobs of the registry's tasks. It uses the
// caller's client, which it neither dials nor closes; any redis.UniversalClient
// will do, also one that does not retry. Nil opts are the zero [WorkerOptions]. A
// nil client, a nil registry, options that contradict each other, and a
// configuration that asynq does not take are [core.ErrInvalid].
func NewWorker(rdb redis.UniversalClient, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	if isNil(rdb) {
		return nil, invalid("nil redis client")
	}
	if reg == nil {
		return nil, invalid("nil Registry")
	}
	o := WorkerOptions{}
	if opts != nil {
		o = *opts
	}
	cfg := o.Config
	o.Config = asynq.Config{}
	for _, field := range []struct {
		name   string
		set    bool
		option string
	}{
		{"Queues", cfg.Queues != nil, "Queues or Weights"},
		{"Concurrency", cfg.Concurrency != 0, "Concurrency"},
		{"ShutdownTimeout", cfg.ShutdownTimeout != 0, "DrainTimeout"},
		{"Logger", cfg.Logger != nil, "Logger"},
	} {
		if field.set {
			return nil, invalid("WorkerOptions.Config.%s is set, want WorkerOptions.%s", field.name, field.option)
		}
	}
	if o.Queues == nil && o.Weights == nil {
		o.Queues = append([]string{defaultQueue}, reg.Queues()...)
		slices.Sort(o.Queues)
		o.Queues = slices.Compact(o.Queues)
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
	}
	s, err := o.configure(&cfg)
	if err != nil {
		return nil, err
	}
	s.drain, s.cancels, s.recent = adapter.NewDrain(o.DrainTimeout), &cancellations{}, newRecentIDs(s.names, cfg.Queues)
	w := &Worker{
		handler: Handler(reg),
		client:  newWorkerClient(rdb, reg, s),
		drain:   s.drain,
		cancels: s.cancels,
		lanes:   laneWatch{rdb: rdb, logger: s.logger, queues: cfg.Queues, off: o.Lanes},
	}
	s.log.client = w.client
	cfg.ShutdownTimeout = requeueAfter
	if w.server, err = newServer(w.client, cfg); err != nil {
		return nil, err
	}
	return w, nil
}

// newServer makes asynq's server, which panics at some settings.
func newServer(rdb redis.UniversalClient, cfg asynq.Config) (server *asynq.Server, err error) {
	defer func() {
		if v := recover(); v != nil {
			server, err = nil, invalid("WorkerOptions.Config: %v", v)
		}
	}()
	return asynq.NewServerFromRedisClient(rdb, cfg), nil
}

// Run works until ctx ends. Then it fetches no more jobs and waits for those that
// run, for DrainTimeout. Then it ends their contexts, with the cause
// worker.ErrStopping, and puts their jobs back without using up an attempt.
//
// It returns nil, or a [*worker.DrainError] if handlers ignored the end of their
// contexts. A Redis that is away, at the start or later, is no error: the worker
// tries again, and logs once when it is lost and once when it is back. If Redis does
// not answer when the worker stops, Run returns 5 seconds after the drain, or when the
// client's own time limits end a call that fetches a job or records a run. Run can be
// called once. A second call, and a nil or zero Worker, are [core.ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	switch {
	case w == nil || w.server == nil:
		return invalid("zero Worker: workers are made by NewWorker")
	case ctx == nil:
		return invalid("Run: nil context")
	case w.ran.Swap(true):
		return invalid("Run was called before")
	case ctx.Err() != nil:
		return nil
	}
	w.drain.Until(ctx)
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer stopWatching()
	watchers.Go(func() { watch(watching, func() { w.cancels.listen(watching, w.client.UniversalClient) }) })
	watchers.Go(func() { watch(watching, func() { w.lanes.run(watching) }) })

	if err := w.server.Start(w.handler); err != nil {
		return invalid("asynq does not start: %s", adapter.ErrorText(err, 0))
	}
	<-ctx.Done()

	drained := w.drain.Context()
	defer context.AfterFunc(drained, func() { w.cancels.cancelAll(context.Cause(drained)) })()
	w.client.stopFetching()
	fetching := make(chan struct{})
	go func() { defer close(fetching); w.server.Stop() }()
	err := w.drain.Stop()
	giveUp := time.AfterFunc(recordFor, w.client.giveUp)
	defer giveUp.Stop()
	<-fetching
	w.server.Shutdown()
	return err
}

// watch calls fn and returns when it has ended, or when ctx has: fn may be in a call to
// Redis, which ends with the client's own time limits.
func watch(ctx context.Context, fn func()) {
	end := make(chan struct{})
	go func() { defer close(end); fn() }()
	_ = wait(ctx, end) // ctx ends when the worker stops
}
