package poolexec

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// Inspector looks at the jobs of a pool in this process and acts on them. It is made
// by [NewInspector] and is an [inspect.Inspector].
//
// A queue exists while it has a job. The states are
//
//	Waiting  due
//	Delayed  not due
//	Running  running
//	Dead     not kept: see Options.OnDone. Their number is unknown
//	Done     not kept
//	Parked   none, since the pool refuses a task without a handler
//
// A pool cannot be paused. A stopped pool has no jobs but those that still run.
type Inspector struct{ pool *Executor }

var _ inspect.Inspector = (*Inspector)(nil)

// NewInspector returns an inspector of the pool. A pool that [New] did not make is
// [core.ErrInvalid].
func NewInspector(pool *Executor) (*Inspector, error) {
	if pool == nil || pool.guarded == nil {
		return nil, errNotMade
	}
	return &Inspector{pool}, nil
}

// Queues returns the queues that have a job.
func (i *Inspector) Queues(ctx context.Context) ([]string, error) {
	if err := i.check(ctx); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	i.each(func(s stored) { names[queueOf(&s.in)] = true })
	queues := make([]string, 0, len(names))
	for name := range names {
		queues = append(queues, name)
	}
	slices.Sort(queues)
	return queues, nil
}

// Depth counts the jobs of a queue. The age of the oldest one is unknown, since the
// pool does not note when a job became due.
func (i *Inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	if err := i.check(ctx); err != nil {
		return inspect.Depth{}, err
	}
	name, counts := nameOf(queue), map[inspect.State]int64{}
	i.each(func(s stored) {
		if queueOf(&s.in) == name {
			counts[s.state]++
		}
	})
	if len(counts) == 0 {
		return inspect.Depth{}, noQueue(name)
	}
	d := inspect.Depth{
		Queue: name, Waiting: inspect.CountOf(counts[inspect.Waiting]), Delayed: inspect.CountOf(counts[inspect.Delayed]),
		Running: inspect.CountOf(counts[inspect.Running]), Parked: inspect.CountOf(0),
	}
	if counts[inspect.Waiting] == 0 {
		d.Oldest = inspect.AgeOf(0)
	}
	return d, nil
}

// List returns a page of the jobs of a queue, ordered by ID.
func (i *Inspector) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	if err := i.check(ctx); err != nil {
		return inspect.Page{}, err
	}
	name := nameOf(q.Queue)
	switch q.State {
	case inspect.Dead:
		return inspect.Page{}, unsupported("list dead jobs", deadAreGone)
	case inspect.Done:
		return inspect.Page{}, unsupported("list jobs that are done", "they are not kept")
	}
	var found []stored
	known := false
	i.each(func(s stored) {
		if queueOf(&s.in) != name {
			return
		}
		known = true
		if s.state == q.State && s.in.ID > q.Cursor && (q.Task == "" || s.in.Task == q.Task) {
			found = append(found, s)
		}
	})
	if !known {
		return inspect.Page{}, noQueue(name)
	}
	slices.SortFunc(found, func(a, b stored) int { return cmp.Compare(a.in.ID, b.in.ID) })
	var page inspect.Page
	for n, s := range found {
		if n == q.Limit {
			page.Next = found[n-1].in.ID
			break
		}
		page.Jobs = append(page.Jobs, jobOf(s))
	}
	return page, nil
}

// Get returns a job.
func (i *Inspector) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	if err := i.check(ctx); err != nil {
		return inspect.Job{}, err
	}
	var job inspect.Job
	i.each(func(s stored) {
		if s.in.ID == id && queueOf(&s.in) == nameOf(queue) {
			job = jobOf(s)
		}
	})
	if job.ID == "" {
		return job, noJob(queue, id)
	}
	return job, nil
}

// Retry makes a delayed job due. A dead job is not found: see Options.OnDone.
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	if err := i.check(ctx); err != nil {
		return err
	}
	e := i.pool
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.find(queue, id)
	switch {
	case !ok:
		return noJob(queue, id)
	case s.state == inspect.Running:
		return fmt.Errorf("airlock: pool: retry job %q: %w", id, inspect.ErrRunning)
	case s.state == inspect.Delayed:
		e.removeDelayed(id)
		e.push(s.job)
		e.startWorker()
	}
	return nil
}

// RetryAll is refused: the pool keeps no dead jobs.
func (i *Inspector) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	if err := s.Check(); err != nil {
		return inspect.Result{}, err
	}
	if err := i.check(ctx); err != nil {
		return inspect.Result{}, err
	}
	return inspect.Result{}, unsupported("retry dead jobs", deadAreGone)
}

// Discard removes a job that waits. Options.OnDone is not called for it.
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	if err := i.check(ctx); err != nil {
		return err
	}
	e := i.pool
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.find(queue, id)
	switch {
	case !ok:
		return noJob(queue, id)
	case s.state == inspect.Running:
		return fmt.Errorf("airlock: pool: discard job %q: %w", id, inspect.ErrRunning)
	case s.state == inspect.Delayed:
		e.removeDelayed(id)
	default:
		e.removeDue(id)
	}
	e.known.Release(id)
	if s.in.Options.Unique != "" {
		delete(e.unique, uniqueKeyOf(&s.in))
	}
	e.wakeWaiter()
	return nil
}

// Pause is refused.
func (i *Inspector) Pause(ctx context.Context, queue string) error { return i.noPause(ctx, "pause") }

// Resume is refused.
func (i *Inspector) Resume(ctx context.Context, queue string) error { return i.noPause(ctx, "resume") }

func (i *Inspector) noPause(ctx context.Context, action string) error {
	if err := i.check(ctx); err != nil {
		return err
	}
	return unsupported(action, "a pool runs what it has accepted until it is stopped")
}

const deadAreGone = "the pool does not keep them, see Options.OnDone"

func unsupported(action, reason string) error {
	return &inspect.UnsupportedError{Executor: "pool", Action: action, Reason: reason}
}

func (i *Inspector) check(ctx context.Context) error {
	switch {
	case i == nil || i.pool == nil:
		return fmt.Errorf("airlock: pool: zero Inspector: %w", core.ErrInvalid)
	case ctx == nil:
		return fmt.Errorf("airlock: pool: nil context: %w", core.ErrInvalid)
	case ctx.Err() != nil:
		return core.ContextError(ctx)
	}
	return nil
}

func noQueue(name string) error {
	return fmt.Errorf("airlock: pool: queue %q has no jobs: %w", name, inspect.ErrNotFound)
}

func noJob(queue, id string) error {
	return fmt.Errorf("airlock: pool: job %q in queue %q: %w", id, nameOf(queue), inspect.ErrNotFound)
}

// nameOf returns the name of a queue, "default" for none.
func nameOf(queue string) string { return cmp.Or(queue, "default") }

func queueOf(in *core.Intent) string { return nameOf(in.Options.Queue) }

// stored is a job and where it is.
type stored struct {
	job
	state inspect.State
	due   time.Time // of a delayed job
}

// each calls fn for every job that the pool has.
func (i *Inspector) each(fn func(stored)) {
	i.pool.mu.Lock()
	defer i.pool.mu.Unlock()
	i.pool.each(fn)
}

func (e *Executor) each(fn func(stored)) {
	e.sortInbox()
	for level := range e.levels {
		q := &e.levels[level]
		for n := range q.len {
			fn(stored{job: q.ring[(q.first+n)%len(q.ring)], state: inspect.Waiting})
		}
	}
	for _, d := range e.delayed {
		fn(stored{d.job, inspect.Delayed, d.due})
	}
	for _, s := range e.workers {
		if s.running {
			fn(stored{job: s.job, state: inspect.Running})
		}
	}
}

// find returns the job of an ID in a queue.
func (e *Executor) find(queue, id string) (found stored, ok bool) {
	e.each(func(s stored) {
		if s.in.ID == id && queueOf(&s.in) == nameOf(queue) {
			found, ok = s, true
		}
	})
	return found, ok
}

func jobOf(s stored) inspect.Job {
	d := deliveryOf(&s.job)
	job := inspect.Job{
		ID: s.in.ID, Task: s.in.Task, Queue: queueOf(&s.in), State: s.state, Attempts: s.runs, MaxAttempts: d.MaxAttempts,
		Due: s.due, Deadline: d.Deadline, Unique: s.in.Options.Unique, Headers: d.Headers,
	}
	if s.state == inspect.Running {
		job.Attempts++
	}
	return job.WithPayload(d.Payload)
}
