package workexec

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// Register adds a handler for each of the registry's tasks to a work.WorkerPool that
// has not been started, next to the native handlers that it may have. [Worker.Run]
// starts and stops the pool. Its queues and its concurrency are its own, so
// WorkerOptions.Queues and Concurrency must not be set; Namespace and QueueNames only
// serve to find the name of its queue. A nil opts is the zero [WorkerOptions]. A nil pool
// or registry, a pool that is started, and a task that has a handler already are
// [core.ErrInvalid], and then the pool is as it was.
//
// The pool fetches the jobs and calls the handlers of the registry inside its
// middleware. What middleware refuses before a handler is called is retried by the
// library without limit. When the middleware gets the handler's answer, it has been
// applied already: middleware can only add a run, by returning an error of its own
// where the handler returned none.
//
// A job that middleware holds for more than 30 seconds before it calls next is taken
// for lost and put back.
//
// Where you can, prefer [NewWorker], also in a process that has a pool of native
// handlers in the same namespace: each takes the jobs of its own names. A job costs a
// registered pool two round trips more, and the library writes to stdout at each try
// while Redis is away. Run returns an error if native handlers are still running when
// the time for draining is over, and then the pool's own goroutines go on.
func Register(pool *work.WorkerPool, reg *worker.Registry, opts *WorkerOptions) (*Worker, error) {
	if pool == nil || reg == nil {
		return nil, invalid("Register: nil pool or registry")
	}
	in, ok := internalsOf(pool)
	switch {
	case !ok:
		return nil, errors.New("airlock: work: this is not the work.WorkerPool of gocraft/work v0.5.1")
	case in.started:
		return nil, invalid("Register: the pool is started")
	case opts != nil && (opts.Queues != nil || opts.Concurrency != 0):
		return nil, invalid("Register: WorkerOptions.Queues and Concurrency are the pool's own")
	}
	o, err := opts.checked()
	if err != nil {
		return nil, err
	}
	spaces, err := newNamespaces(o.Namespace, o.QueueNames)
	if err != nil {
		return nil, err
	}
	w := newWorker(newBackend(in.redis), reg, o, in.id)
	w.addLists(spaces.queueOf(in.namespace), prefixOf(in.namespace))
	for _, l := range w.lists {
		if in.names[l.name] {
			return nil, invalid("Register: the pool has a handler for %s already", l.name)
		}
	}
	w.native = &nativePool{pool: pool, lists: map[string]*list{}, stopped: make(chan struct{})}
	for _, l := range w.lists {
		w.native.lists[l.name] = l
		pool.JobWithOptions(l.name, work.JobOptions{Priority: uint(l.weight), MaxFails: maxFails, SkipDead: true}, w.runNative)
	}
	return w, nil
}

// nativePool is a pool of the library's with our handlers.
type nativePool struct {
	pool    *work.WorkerPool
	lists   map[string]*list // of our handlers, by name
	stopped chan struct{}    // closed when the pool has stopped, or was never started
}

// run starts the pool, unless Redis was never there, and stops it when ctx is done. It
// does not wait for the end.
func (n *nativePool) run(ctx context.Context, alive bool) {
	if !alive {
		close(n.stopped)
		return
	}
	n.pool.Start()
	<-ctx.Done()
	go func() {
		defer close(n.stopped)
		n.pool.Stop()
	}()
}

// maxFails is more failures than any job has. A job whose count is just below it is
// dropped by the library when its handler fails: what becomes of it was applied before.
const maxFails = 1 << 30

// runNative is the handler of all of the registry's tasks. It takes the job out of the
// library's in-progress list into ours, where everything is as with [NewWorker].
func (w *Worker) runNative(job *work.Job) error {
	w.unrecorded.add(1) // until process has ended
	l, text := w.native.lists[job.Name], textOf(job)
	switch w.takeOver(l, text) {
	case notOwner:
		w.unrecorded.add(-1)
		w.log.LogAttrs(context.Background(), slog.LevelWarn, "airlock: work: "+errNotOwner.Error(),
			slog.String("task", taskOf(job.Name)), slog.String("id", job.ID), slog.String("queue", l.queue))
		return drop(job, errNotOwner)
	case unrecorded: // the library stores the job anew: twice is better than not at all
		w.unrecorded.add(-1)
		job.Fails--
		return errStopping
	}
	h := w.read(l, text)
	if h.bad == nil {
		h.delivery.Native = job
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.process(h)
	}()
	select {
	case <-done:
		return drop(job, h.answer)
	case <-w.ended: // the handler ignores its context
		return drop(job, worker.ErrStopping)
	}
}

var errNotOwner = errors.New("the job was given to another worker before it began")

// drop makes the library remove the job from its own in-progress list and do nothing else. Its
// middleware gets err, in a form that the library can print and that does not panic.
func drop(job *work.Job, err error) error {
	if err == nil {
		return nil
	}
	job.Fails = maxFails - 1 // the library adds one
	return &failure{adapter.ErrorText(err, 0), err}
}

// failure is a handler's error for the library's middleware.
type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// takeOver moves a job from the pool's in-progress list into ours. It tries until it knows
// whether it did: afterwards the library removes the job from the pool's list, and
// one that is only there would be lost.
func (w *Worker) takeOver(l *list, text string) result {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		if moved, err := w.tryTakeOver(l, text); err == nil {
			if moved {
				return recorded
			}
			return notOwner
		}
		select {
		case <-w.ended:
			return unrecorded
		case <-time.After(wait):
		}
	}
}

func (w *Worker) tryTakeOver(l *list, text string) (bool, error) {
	w.fetched.fetching.RLock()
	defer w.fetched.fetching.RUnlock()
	keys := []string{l.inProgress(w.id), l.inProgress(w.owner), l.lock(), l.lockInfo()}
	reply, _, err := w.eval(context.Background(), "begin a job", takeOverScript, keys, text, w.owner)
	n, err := redis.Int(reply, err)
	if n == 1 && err == nil {
		w.fetched.add(l, text, 1)
	}
	return n == 1, err
}

// takeOverScript moves a message from one owner's in-progress list to another's, unless an
// earlier try has done so.
var takeOverScript = newScript(`
local function has(key)
	for _, message in ipairs(redis.call("LRANGE", key, 0, -1)) do
		if message == ARGV[1] then
			return true
		end
	end
	return false
end

if not has(KEYS[1]) then
	return has(KEYS[2]) and 1 or 0
end
redis.call("LPUSH", KEYS[2], ARGV[1])
redis.call("INCR", KEYS[3])
redis.call("HINCRBY", KEYS[4], ARGV[2], 1)
redis.call("LREM", KEYS[1], 1, ARGV[1])
return 1
`)

// awaitStop waits for the pool's end.
func (n *nativePool) awaitStop() error {
	if n == nil {
		return nil
	}
	timer := time.NewTimer(recordingGrace)
	defer timer.Stop()
	select {
	case <-n.stopped:
		return nil
	case <-timer.C:
		return errors.New("airlock: work: the worker stopped while native handlers of its pool were still running")
	}
}

// jobNames returns all names that the pool works.
func (n *nativePool) jobNames() string {
	in, _ := internalsOf(n.pool)
	return strings.Join(slices.Sorted(maps.Keys(in.names)), ",")
}

// putBackIdle puts back jobs of our handlers that the pool has fetched and that have
// not begun for a while: the answer to the fetch was lost. The library itself keeps
// such a job from running until the process crashes.
func (n *nativePool) putBackIdle(ctx context.Context, w *Worker, idle map[idleKey]time.Time) error {
	if n == nil {
		return nil
	}
	for _, l := range w.lists {
		if err := n.putBack(ctx, w, l, func(text string) bool { return idleFor(idle, idleKey{l, w.id, text}, unknownAfter) }); err != nil {
			return err
		}
	}
	return nil
}

// putBackAll puts back what is left in progress in the pool, once it has stopped.
func (n *nativePool) putBackAll(ctx context.Context, w *Worker) error {
	if n == nil {
		return nil
	}
	in, _ := internalsOf(n.pool)
	for name := range in.names {
		l := &list{queue: w.spaces[0].queue, prefix: w.spaces[0].prefix, name: name}
		if err := n.putBack(ctx, w, l, func(string) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

func (n *nativePool) putBack(ctx context.Context, w *Worker, l *list, due func(text string) bool) error {
	texts, err := w.jobsInProgress(ctx, l, w.id)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if due(text) {
			if err := w.takeBack(ctx, l, w.id, text, false); err != nil {
				return err
			}
		}
	}
	return nil
}
