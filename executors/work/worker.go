package workexec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/core"
)

// WorkerOptions tune a [Worker]. The zero value works.
type WorkerOptions struct {
	// Lanes takes jobs out of the lanes of Options.Lanes too. Of a task's starts the
	// lane for priorities 8 to 10 gets six, the task's own name three and the lane
	// for 1 to 3 one, as long as jobs wait in each: that is their
	// JobOptions.Priority, so that a native handler beside them has its share with
	// 3. Each lane costs the pool more work when it looks for jobs.
	Lanes bool

	// Logger is told of jobs that were brought back, of messages that are no jobs,
	// and of errors of Redis on the way. Nil means slog.Default().
	Logger *slog.Logger
}

// Worker is a pool of the library's with the handlers of a registry. It is made
// by [Register].
//
// What becomes of a job that has run, in the one transaction in which the library
// takes it off the worker's hands:
//
//	nil                it is gone
//	an error           it waits among the retries for its backoff, rounded up to
//	                   the second, or for the library's own schedule
//	core.Snooze        the same, and the failure is not counted
//	core.Permanent     dead, as is a job whose attempts or time are used up, or
//	                   whose message or arguments cannot be read. Its number of
//	                   failures in Redis is then 1073741824
//	a panic, Goexit    a failed attempt
//
// While it runs, a Worker also does what the library leaves undone, for the jobs
// of the registry's tasks:
//
//   - A job that was scheduled or is to be retried is put among the dead by any
//     pool of the namespace that does not know its name. It is brought back
//     within seconds, also if it died before this worker was started.
//   - A job whose worker never learned that it had it, since the answer of Redis
//     was lost, is put back when nobody has run it for half a minute, at the
//     latest by Stop. The library itself keeps such a job from running until this
//     process crashes, and for ever if the pool is stopped in good order.
//     Middleware should not take that long before it calls next.
//   - A job of a pool that died before its first sign of life is put back as well:
//     the library never finds that pool dead.
//   - A message that is no job is put among the dead then, in a form that the
//     library's tools can show.
//   - A count of zero, which the library keeps for ever of each pool that was
//     stopped, is removed.
type Worker struct {
	pool  *work.WorkerPool
	in    insides
	queue string
	reg   *core.Registry
	names map[string]bool // the job names that are the registry's
	log   *slog.Logger
	waits waits

	ctx    context.Context // of the handlers
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	begun    bool           // guarded by mu
	stopping bool           // guarded by mu: no handler is called any more
	running  map[string]int // guarded by mu: how many runs each job ID has here
	stopped  chan struct{}  // closed when nothing runs any more; nil before Stop; guarded by mu

	keeper sync.WaitGroup
}

// Register adds a handler for each of the registry's tasks to a pool that has not
// been started, beside the native handlers that it may have. A nil opts is the
// zero [WorkerOptions]. A nil pool or registry, a pool that is started, and a task
// that has a handler already are [core.ErrInvalid], and then the pool is as it was.
//
// The pool is to be started and stopped by [Worker.Start] and [Worker.Stop]. With
// the pool's own Start the handlers work too, and what is said about bringing jobs
// back does not hold.
//
// The pool's middleware runs around the handlers. What middleware refuses before a
// handler is called is a failure like any other, but bounded by no MaxAttempts.
func Register(pool *work.WorkerPool, reg *core.Registry, opts *WorkerOptions) (*Worker, error) {
	if pool == nil || reg == nil {
		return nil, invalid("Register: nil pool or registry")
	}
	if opts == nil {
		opts = &WorkerOptions{}
	}
	in, ok := lookInto(pool)
	switch {
	case !ok:
		return nil, errors.New("airlock: work: this is not the work.WorkerPool of gocraft/work v0.5.1")
	case in.started:
		return nil, invalid("Register: the pool is started")
	}
	w := &Worker{
		pool: pool, in: in, queue: queueOf(in.namespace), reg: reg, log: opts.Logger,
		names: map[string]bool{}, running: map[string]int{},
	}
	if w.log == nil {
		w.log = slog.Default()
	}
	var lanes []lane
	for _, task := range reg.Tasks() {
		for _, l := range lanesOf(task, opts.Lanes) {
			if in.names[l.name] {
				return nil, invalid("Register: the pool has a handler for %s already", l.name)
			}
			lanes = append(lanes, l)
		}
	}
	for _, l := range lanes {
		w.names[l.name] = true
		pool.JobWithOptions(l.name, work.JobOptions{Priority: l.weight, MaxFails: maxFails, Backoff: w.backoff}, w.run)
	}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w, nil
}

// Start starts the pool. It does nothing when called again, or after Stop.
func (w *Worker) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun || w.stopped != nil {
		return
	}
	w.begun = true
	w.in, _ = lookInto(w.pool) // the native handlers too
	w.pool.Start()
	w.keeper.Go(w.keep)
}

// Stop stops the pool: no further job of the registry is begun, and running jobs
// may end until ctx is done. Then their contexts end, with [ErrStopped] as the
// cause, and Stop returns an error that wraps the context's. A job that fails
// because of that is put back and has used no attempt. One that does not end goes
// on; if the process ends meanwhile it runs again once another pool of the
// namespace has found this one dead: 10 seconds after that pool was started, or at
// one of the looks that it takes every 10 minutes.
//
// Stop may be called again, and by many at once: each call waits for the same end.
// Without limit in its context it waits for as long as the jobs take.
func (w *Worker) Stop(ctx context.Context) error {
	if ctx == nil {
		return invalid("Stop: nil context")
	}
	w.mu.Lock()
	if w.stopped == nil {
		w.stopped, w.stopping = make(chan struct{}), true
		go w.stop(w.begun, w.stopped)
	}
	stopped := w.stopped
	w.mu.Unlock()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-stopped:
		return nil
	default:
	}
	w.cancel(ErrStopped)
	return fmt.Errorf("%w: %d jobs still run", contextError(ctx), w.runs())
}

// ErrStopped is the cause with which the context of a job ends that
// [Worker.Stop] did not wait for.
var ErrStopped = errors.New("airlock: work: the worker is stopped")

func (w *Worker) stop(begun bool, stopped chan<- struct{}) {
	defer close(stopped)
	if begun {
		w.pool.Stop()
		w.cancel(ErrStopped) // nothing runs; it ends the keeper
		w.keeper.Wait()
		w.tidy()
	}
	w.cancel(ErrStopped)
}

// runs counts the jobs that run.
func (w *Worker) runs() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, more := range w.running {
		n += more
	}
	return n
}

// enter notes that a job is begun, unless the worker is stopping: the library may
// fetch a further job after it was told to stop.
func (w *Worker) enter(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		return false
	}
	w.running[id]++
	return true
}

func (w *Worker) leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[id]--; w.running[id] == 0 {
		delete(w.running, id)
	}
}

func (w *Worker) conn() redis.Conn { return w.in.redis.Get() }
