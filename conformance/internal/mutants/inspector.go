package mutants

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// inspector is that of the reference system.
type inspector struct{ store *store }

func nativeQueue(queue string) string {
	if queue == "default" {
		return ""
	}
	return queue
}

func portableQueue(queue string) string {
	if queue == "" {
		return "default"
	}
	return queue
}

// in calls fn with the jobs of a queue, whose lock is held.
func (i *inspector) in(ctx context.Context, queue string, fn func(jobs []*job) error) error {
	switch {
	case ctx == nil:
		return fmt.Errorf("reference: nil context: %w", core.ErrInvalid)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	i.store.mu.Lock()
	defer i.store.mu.Unlock()
	var jobs []*job
	for _, j := range i.store.all {
		if j.queue == nativeQueue(queue) {
			jobs = append(jobs, j)
		}
	}
	if len(jobs) == 0 {
		return fmt.Errorf("reference: queue %q: %w", queue, inspect.ErrNotFound)
	}
	return fn(jobs)
}

// one calls fn with a job, which is the newest of its ID.
func (i *inspector) one(ctx context.Context, queue, id string, fn func(j *job) error) error {
	return i.in(ctx, queue, func(jobs []*job) error {
		for _, j := range slices.Backward(jobs) {
			if j.in.ID == id {
				return fn(j)
			}
		}
		return fmt.Errorf("reference: job %q: %w", id, inspect.ErrNotFound)
	})
}

func stateOf(j *job, now time.Time) inspect.State {
	switch {
	case j.state == conformance.Running:
		return inspect.Running
	case j.state == conformance.Finished:
		return inspect.Done
	case j.state == conformance.Buried:
		return inspect.Dead
	case j.parked:
		return inspect.Parked
	case j.at.After(now):
		return inspect.Delayed
	}
	return inspect.Waiting
}

func jobOf(j *job, now time.Time) inspect.Job {
	out := inspect.Job{
		ID: j.in.ID, Task: j.in.Task, Queue: portableQueue(j.queue), State: stateOf(j, now), Attempts: j.attempt - 1,
		MaxAttempts: j.in.Options.MaxAttempts, Error: j.err, FailedAt: j.failed, Deadline: j.in.Options.Deadline, Native: j.native,
		Unique: j.in.Options.Unique, Headers: j.headers,
	}
	switch out.State {
	case inspect.Running, inspect.Dead:
		out.Attempts++
	case inspect.Delayed:
		out.Due = j.at
	}
	if j.poison {
		out.Unreadable = "it is no job"
	}
	return out.WithPayload(j.payload)
}

func (i *inspector) Queues(ctx context.Context) ([]string, error) {
	if ctx == nil {
		return nil, fmt.Errorf("reference: nil context: %w", core.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i.store.mu.Lock()
	defer i.store.mu.Unlock()
	var queues []string
	for _, j := range i.store.all {
		queues = append(queues, portableQueue(j.queue))
	}
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

func (i *inspector) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	d := inspect.Depth{Queue: portableQueue(queue)}
	err := i.in(ctx, queue, func(jobs []*job) error {
		counts, oldest, now := map[inspect.State]int64{}, time.Duration(0), time.Now()
		for _, j := range jobs {
			state := stateOf(j, now)
			counts[state]++
			if state == inspect.Waiting {
				oldest = max(oldest, now.Sub(j.since))
			}
		}
		d.Waiting, d.Delayed, d.Running = inspect.CountOf(counts[inspect.Waiting]), inspect.CountOf(counts[inspect.Delayed]), inspect.CountOf(counts[inspect.Running])
		d.Dead, d.Parked = inspect.CountOf(counts[inspect.Dead]), inspect.CountOf(counts[inspect.Parked])
		d.Oldest, d.Paused = inspect.AgeOf(oldest), i.store.paused[nativeQueue(queue)]
		return nil
	})
	return d, err
}

func (i *inspector) List(ctx context.Context, q inspect.Query) (page inspect.Page, err error) {
	if q, err = q.Checked(); err != nil {
		return page, err
	}
	after := 0
	if q.Cursor != "" {
		if after, err = strconv.Atoi(q.Cursor); err != nil {
			return page, fmt.Errorf("reference: the cursor is malformed: %w", core.ErrInvalid)
		}
	}
	err = i.in(ctx, q.Queue, func(jobs []*job) error {
		now := time.Now()
		for _, j := range jobs {
			if j.seq <= after || stateOf(j, now) != q.State || q.Task != "" && j.in.Task != q.Task {
				continue
			}
			if len(page.Jobs) == q.Limit {
				page.Next = strconv.Itoa(after)
				break
			}
			after = j.seq
			page.Jobs = append(page.Jobs, jobOf(j, now))
		}
		return nil
	})
	return page, err
}

func (i *inspector) Get(ctx context.Context, queue, id string) (out inspect.Job, err error) {
	err = i.one(ctx, queue, id, func(j *job) error { out = jobOf(j, time.Now()); return nil })
	return out, err
}

func (i *inspector) Retry(ctx context.Context, queue, id string) error {
	return i.one(ctx, queue, id, i.retry)
}

// retry is Retry while the lock is held.
func (i *inspector) retry(j *job) error {
	s, now := i.store, time.Now()
	key := s.bug.uniqueKey(j.in)
	state := stateOf(j, now)
	switch {
	case state == inspect.Running:
		return fmt.Errorf("reference: %w", inspect.ErrRunning)
	case state == inspect.Done:
		return fmt.Errorf("reference: %w", inspect.ErrDone)
	case state == inspect.Dead && j.poison:
		return fmt.Errorf("reference: %w", inspect.ErrUnreadable)
	case state == inspect.Waiting:
		return nil
	case state == inspect.Dead && key != "" && s.unique[key] != nil:
		return fmt.Errorf("reference: %w", core.ErrDuplicate)
	case state == inspect.Dead:
		j.attempt = 1
		if key != "" {
			s.unique[key] = j
		}
	default:
		i.take(j)
	}
	j.at, j.parked = time.Time{}, false
	s.put(j, now)
	return nil
}

// take removes a job from those that wait.
func (i *inspector) take(j *job) {
	same := func(other *job) bool { return other == j }
	i.store.ready = slices.DeleteFunc(i.store.ready, same)
	i.store.later = slices.DeleteFunc(i.store.later, same)
}

func (i *inspector) RetryAll(ctx context.Context, s inspect.Selection) (r inspect.Result, err error) {
	if err := s.Check(); err != nil {
		return r, err
	}
	err = i.in(ctx, s.Queue, func(jobs []*job) error {
		for _, j := range jobs {
			if r.Retried == s.Limit {
				break
			}
			if j.state != conformance.Buried || s.Task != "" && j.in.Task != s.Task {
				continue
			}
			if i.retry(j) == nil {
				r.Retried++
			} else {
				r.Skipped++
			}
		}
		return nil
	})
	return r, err
}

func (i *inspector) Discard(ctx context.Context, queue, id string) error {
	return i.one(ctx, queue, id, func(j *job) error {
		if j.state == conformance.Running {
			return fmt.Errorf("reference: %w", inspect.ErrRunning)
		}
		i.take(j)
		i.store.release(j)
		i.store.all = slices.DeleteFunc(i.store.all, func(other *job) bool { return other == j })
		return nil
	})
}

func (i *inspector) Pause(ctx context.Context, queue string) error { return i.pause(ctx, queue, true) }

func (i *inspector) Resume(ctx context.Context, queue string) error {
	return i.pause(ctx, queue, false)
}

func (i *inspector) pause(ctx context.Context, queue string, paused bool) error {
	return i.in(ctx, queue, func([]*job) error {
		i.store.paused[nativeQueue(queue)] = paused
		i.store.stir()
		return nil
	})
}
