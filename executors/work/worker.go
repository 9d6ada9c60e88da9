package workexec

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// Worker runs the jobs of a registry's tasks. It is made by [NewWorker] or
// [Register].
//
// What becomes of a job that has run:
//
//	nil               it is gone
//	an error          it waits among the library's retries for its backoff, rounded up
//	                  to the second, or for the library's own schedule
//	worker.Snooze     the same, and the attempt is not counted
//	worker.Permanent  dead, as is a job whose attempts or time are used up, or whose
//	                  message or arguments cannot be read
//	a panic, Goexit   a failed attempt
//
// The handler's answer counts even after its time is up, and nothing takes the job
// away meanwhile as long as the worker sends heartbeats. A success is recorded
// with as many tries as it takes. If the job was given to another worker
// nevertheless, the worker remembers the success, and does not run the job again if
// it comes back here.
//
// A Worker also looks after its namespaces:
//
//   - It moves scheduled jobs and retries to their lists once a second, and buries
//     members of these sets that are no jobs. For the library's own pools one of them
//     stops everything that is delayed.
//   - It takes back jobs of its tasks from workers that have sent no heartbeat for
//     10 seconds, once it has sent its own for as long. The library's pools look for
//     dead ones every 10 minutes.
//   - It takes back jobs that it has fetched without learning so, because the answer
//     of Redis was lost, within 5 seconds.
//   - It brings back jobs that one of the library's pools has buried because it did not
//     know their name, also if that was before this worker was started.
//   - It buries messages that are no jobs, in a form that the library's tools can show.
//   - It reports jobs of a task that no worker and no pool of the namespace knows as
//     parked, in the log and to observers, every WorkerOptions.ParkFor. They stay in
//     their list. Of a list it reports the 100 oldest jobs.
//   - It logs once when jobs wait in a lane, and the workers were made without
//     WorkerOptions.Lanes.
//
// The library's web interface shows the worker like a pool, and what each slot is
// running. Job.Checkin does nothing, except in a pool of [Register].
type Worker struct {
	backend backend
	reg     *worker.Registry
	opts    WorkerOptions
	log     *slog.Logger
	outages outageLog

	id     string // among the pools of its namespaces
	owner  string // of its in-progress lists
	lists  []*list
	spaces []space
	native *nativePool // nil if made by NewWorker

	slots        slots
	fetched      fetchedJobs
	remembered   remembered
	observations observations
	drain        *adapter.Drain
	unrecorded   waitGroup // jobs in progress whose handlers are not running
	heartbeats   heartbeats

	begun atomic.Bool
	over  func() bool   // Run's context has ended: no further job is begun
	ended chan struct{} // closed when nothing is waited for any more
}

// NewWorker returns a worker for the registry's tasks on the caller's pool of
// connections, which it does not close. It does no I/O. Nil opts are the zero
// [WorkerOptions]. A nil pool or registry, and options that are not what their
// comments say, are [core.ErrInvalid].
func NewWorker(pool *redis.Pool, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	switch {
	case pool == nil:
		return nil, invalid("NewWorker: nil redis pool")
	case reg == nil:
		return nil, invalid("NewWorker: nil registry")
	}
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	spaces, err := newNamespaces(o.Namespace, o.QueueNames)
	if err != nil {
		return nil, err
	}
	queues, err := adapter.WorkedQueues(name, o.Queues, reg.Queues())
	if err != nil {
		return nil, err
	}
	w := newWorker(newBackend(pool), reg, o, newID())
	w.slots, w.observations.slots = newSlots(o.Concurrency), make([]observed, o.Concurrency)
	for _, queue := range queues {
		w.addLists(queue, spaces.of(queue))
	}
	return w, nil
}

func newWorker(b backend, reg *worker.Registry, opts WorkerOptions, id string) *Worker {
	return &Worker{
		backend: b, reg: reg, opts: opts, log: opts.Logger, outages: newOutageLog(opts.Logger),
		id: id, owner: id + ownerSuffix,
		fetched: fetchedJobs{jobs: map[jobKey]int{}}, remembered: remembered{jobs: map[rememberedKey]struct{}{}},
		drain: adapter.NewDrain(opts.DrainTimeout), heartbeats: heartbeats{alive: make(chan struct{})}, ended: make(chan struct{}),
	}
}

// newID returns an ID as the library's pools have them.
func newID() string {
	var b [12]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	return hex.EncodeToString(b[:])
}

// addLists adds the lists of a queue.
func (w *Worker) addLists(queue, prefix string) {
	w.spaces = append(w.spaces, space{queue, prefix})
	for _, task := range w.reg.Tasks() {
		for _, l := range lanesOf(task, w.opts.Lanes) {
			w.lists = append(w.lists, newList(queue, prefix, l, w.owner))
		}
	}
}

// Run runs jobs until ctx is done. Then it takes no further ones, waits
// WorkerOptions.DrainTimeout for those that run, ends their contexts with the cause
// [worker.ErrStopping], and puts jobs that fail because of that back to the head of
// their lists, at no attempt's cost. If handlers do not return within 5 seconds more, it
// puts their jobs back too and returns a [*worker.DrainError] that names them, else
// nil.
//
// A Redis that is away, when Run begins or later, is tried again until it is back.
// Run works once: a second call, and one of a Worker that NewWorker or Register has
// not made, is [core.ErrInvalid].
func (w *Worker) Run(ctx context.Context) error {
	switch {
	case w == nil || w.drain == nil:
		return invalid("zero Worker: workers are made by NewWorker")
	case ctx == nil:
		return invalid("Run: nil context")
	case !w.begun.CompareAndSwap(false, true):
		return invalid("Run: the worker has been run before")
	}
	w.drain.Until(ctx)
	w.over = func() bool { return ctx.Err() != nil }
	var loops, pulse sync.WaitGroup
	alive, stopPulse := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPulse()
	pulse.Go(func() { w.heartbeatLoop(alive) })
	pulse.Go(func() { w.observeLoop(alive) })
	loops.Go(func() {
		alive := w.awaitFirstHeartbeat(ctx)
		switch {
		case w.native != nil:
			w.native.run(ctx, alive)
		case alive:
			w.fetchLoop(ctx)
		}
	})
	loops.Go(func() { w.requeueLoop(ctx) })
	loops.Go(func() { w.recoveryLoop(ctx) })
	<-ctx.Done()
	err := w.drain.Stop()
	loops.Wait()
	w.unrecorded.wait(recordingGrace)
	close(w.ended)
	if native := w.native.awaitStop(); native != nil {
		err = errors.Join(err, native)
	} else {
		_ = w.native.putBackAll(context.Background(), w) // logged by outageLog
	}
	_ = w.putBackUnanswered(context.Background(), true) // the same; then other workers find the jobs
	stopPulse()
	pulse.Wait()
	w.removeHeartbeats()
	return err
}

// recordingGrace is how long verdicts may take to be recorded when the worker stops.
const recordingGrace = 5 * time.Second

// space is a namespace of a worker.
type space struct{ queue, prefix string }
