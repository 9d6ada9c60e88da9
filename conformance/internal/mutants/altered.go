package mutants

import (
	"context"
	"fmt"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/inspect"
)

// altered is an inspector some methods of which are broken.
type altered struct {
	inspect.Inspector
	queues   func(ctx context.Context) ([]string, error)
	depth    func(ctx context.Context, queue string) (inspect.Depth, error)
	list     func(ctx context.Context, q inspect.Query) (inspect.Page, error)
	get      func(ctx context.Context, queue, id string) (inspect.Job, error)
	retry    func(ctx context.Context, queue, id string) error
	retryAll func(ctx context.Context, s inspect.Selection) (inspect.Result, error)
	discard  func(ctx context.Context, queue, id string) error
	pause    func(ctx context.Context, queue string) error
}

func (a altered) Queues(ctx context.Context) ([]string, error) {
	if a.queues != nil {
		return a.queues(ctx)
	}
	return a.Inspector.Queues(ctx)
}

func (a altered) Depth(ctx context.Context, queue string) (inspect.Depth, error) {
	if a.depth != nil {
		return a.depth(ctx, queue)
	}
	return a.Inspector.Depth(ctx, queue)
}

func (a altered) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	if a.list != nil {
		return a.list(ctx, q)
	}
	return a.Inspector.List(ctx, q)
}

func (a altered) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	if a.get != nil {
		return a.get(ctx, queue, id)
	}
	return a.Inspector.Get(ctx, queue, id)
}

func (a altered) Retry(ctx context.Context, queue, id string) error {
	if a.retry != nil {
		return a.retry(ctx, queue, id)
	}
	return a.Inspector.Retry(ctx, queue, id)
}

func (a altered) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	if a.retryAll != nil {
		return a.retryAll(ctx, s)
	}
	return a.Inspector.RetryAll(ctx, s)
}

func (a altered) Discard(ctx context.Context, queue, id string) error {
	if a.discard != nil {
		return a.discard(ctx, queue, id)
	}
	return a.Inspector.Discard(ctx, queue, id)
}

func (a altered) Pause(ctx context.Context, queue string) error {
	if a.pause != nil {
		return a.pause(ctx, queue)
	}
	return a.Inspector.Pause(ctx, queue)
}

// view returns a variant of the reference system's inspector.
func view(name, target, breaks string, change func(v inspect.Inspector, s *system) altered) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Levels: []conformance.Level{conformance.Inspect}, Harness: func() conformance.Harness {
		h := queueHarness(bug{inspector: func(v inspect.Inspector, s *system) inspect.Inspector {
			a := change(v, s)
			a.Inspector = v
			return a
		}})
		h.Inspects = true
		return h
	}}
}

// counting returns a variant that counts wrongly.
func counting(name, target, breaks string, change func(d *inspect.Depth)) Variant {
	return view(name, target, breaks, func(v inspect.Inspector, _ *system) altered {
		return altered{depth: func(ctx context.Context, queue string) (inspect.Depth, error) {
			d, err := v.Depth(ctx, queue)
			change(&d)
			return d, err
		}}
	})
}

// showing returns a variant that shows jobs wrongly.
func showing(name, target, breaks string, change func(j inspect.Job) inspect.Job) Variant {
	return view(name, target, breaks, func(v inspect.Inspector, _ *system) altered {
		return altered{
			get: func(ctx context.Context, queue, id string) (inspect.Job, error) {
				j, err := v.Get(ctx, queue, id)
				return change(j), err
			},
			list: func(ctx context.Context, q inspect.Query) (inspect.Page, error) {
				page, err := v.List(ctx, q)
				for n, j := range page.Jobs {
					page.Jobs[n] = change(j)
				}
				return page, err
			},
		}
	})
}

// listing returns a variant that lists wrongly.
func listing(name, target, breaks string, list func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error)) Variant {
	return view(name, target, breaks, func(v inspect.Inspector, _ *system) altered {
		return altered{list: func(ctx context.Context, q inspect.Query) (inspect.Page, error) { return list(ctx, v, q) }}
	})
}

// retrying returns a variant that retries wrongly. before is called with the lock held.
func retrying(name, target, breaks string, before func(s *store, j *job)) Variant {
	return view(name, target, breaks, func(v inspect.Inspector, s *system) altered {
		i := v.(*inspector)
		return altered{
			retry: func(ctx context.Context, queue, id string) error {
				return i.one(ctx, queue, id, func(j *job) error {
					before(s.store, j)
					return i.retry(j)
				})
			},
		}
	})
}

// onlyDead refuses all that a queue cannot do whose other jobs nobody can look at.
func onlyDead(v inspect.Inspector, _ *system) altered {
	refuse := func(action string) error {
		return &inspect.UnsupportedError{Executor: "reference", Action: action, Reason: "it cannot look at jobs that are not dead"}
	}
	return altered{
		queues: func(context.Context) ([]string, error) { return nil, refuse("list queues") },
		depth: func(ctx context.Context, queue string) (inspect.Depth, error) {
			d, err := v.Depth(ctx, queue)
			d.Delayed, d.Running, d.Parked, d.Oldest = inspect.Count{}, inspect.Count{}, inspect.Count{}, inspect.Age{}
			return d, err
		},
		list: func(ctx context.Context, q inspect.Query) (inspect.Page, error) {
			if q, err := q.Checked(); err == nil && q.State != inspect.Dead {
				return inspect.Page{}, refuse("list jobs that are " + string(q.State))
			}
			return v.List(ctx, q)
		},
		get: func(ctx context.Context, queue, id string) (inspect.Job, error) {
			j, err := v.Get(ctx, queue, id)
			if err == nil && j.State != inspect.Dead {
				return inspect.Job{}, fmt.Errorf("reference: %w", inspect.ErrNotFound)
			}
			return j, err
		},
		retry: func(ctx context.Context, queue, id string) error {
			if j, err := v.Get(ctx, queue, id); err == nil && j.State != inspect.Dead {
				return fmt.Errorf("reference: %w", inspect.ErrNotFound)
			}
			return v.Retry(ctx, queue, id)
		},
		discard: func(ctx context.Context, queue, id string) error {
			if j, err := v.Get(ctx, queue, id); err == nil && j.State != inspect.Dead {
				return fmt.Errorf("reference: %w", inspect.ErrNotFound)
			}
			return v.Discard(ctx, queue, id)
		},
	}
}
