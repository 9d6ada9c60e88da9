package mutants

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

var inspectMutants = []Variant{
	view("inspects", "", "has an inspector", func(inspect.Inspector, *system) altered { return altered{} }),
	view("inspects-only-the-dead", "", "cannot look at jobs that are not dead", onlyDead).like("AMQP has no way to look at a queue"),

	view("missing-is-empty", "V01", "counts no jobs in a queue that does not exist", func(v inspect.Inspector, _ *system) altered {
		return altered{depth: func(ctx context.Context, queue string) (inspect.Depth, error) {
			d, err := v.Depth(ctx, queue)
			if errors.Is(err, inspect.ErrNotFound) {
				err = nil
			}
			return d, err
		}}
	}),
	listing("any-state", "V02", "lists waiting jobs for a state that it does not know", func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
		if q.State == "odd" {
			q.State = inspect.Waiting
		}
		return v.List(ctx, q)
	}),
	counting("running-is-nothing", "V03", "counts no running jobs", func(d *inspect.Depth) { d.Running = inspect.CountOf(0) }),
	counting("age-is-zero", "V03", "says that no job has waited", func(d *inspect.Depth) { d.Oldest = inspect.AgeOf(0) }),
	counting("parked-is-nothing", "V04", "counts no parked jobs", func(d *inspect.Depth) { d.Parked = inspect.CountOf(0) }),
	view("refuses-without-reason", "V04", "refuses a list without saying why", func(v inspect.Inspector, _ *system) altered {
		return altered{list: func(ctx context.Context, q inspect.Query) (inspect.Page, error) {
			if q.State == inspect.Done {
				return inspect.Page{}, core.ErrUnsupported
			}
			return v.List(ctx, q)
		}}
	}),
	showing("shows-no-headers", "V05", "shows no headers", func(j inspect.Job) inspect.Job { j.Headers = core.Headers{}; return j }),
	showing("shows-native-limit", "V05", "shows one attempt more than the job may have", func(j inspect.Job) inspect.Job { j.MaxAttempts++; return j }),
	listing("any-task", "V06", "lists jobs of every task", func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
		q.Task = ""
		return v.List(ctx, q)
	}),
	listing("any-limit", "V06", "lists all jobs at once", func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
		q.Limit = max(q.Limit, inspect.MaxLimit)
		return v.List(ctx, q)
	}),
	listing("pages-end-at-twelve", "V12", "forgets that there are more jobs behind a page of more than eleven", func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
		page, err := v.List(ctx, q)
		if q.State == inspect.Delayed && len(page.Jobs) > 11 {
			page.Next = ""
		}
		return page, err
	}),
	listing("shows-first-time", "V12", "lists all jobs of a page with the time of its first one", func(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
		page, err := v.List(ctx, q)
		for i := range page.Jobs {
			page.Jobs[i].Due = page.Jobs[0].Due
		}
		return page, err
	}),
	listing("pages-by-rank", "V07", "begins a page after as many jobs as were listed, although some have left", pagesByRank).
		like("hibiken/asynq: pages are ranges of a list"),
	view("done-waits", "V08", "counts jobs as waiting if all are done", func(v inspect.Inspector, _ *system) altered {
		return altered{depth: func(ctx context.Context, queue string) (inspect.Depth, error) {
			d, err := v.Depth(ctx, queue)
			done, _ := v.List(ctx, inspect.Query{Queue: queue, State: inspect.Done})
			if d.Waiting == inspect.CountOf(0) && d.Running == d.Waiting && d.Delayed == d.Waiting && d.Dead == d.Waiting && d.Parked == d.Waiting {
				d.Waiting = inspect.CountOf(int64(len(done.Jobs)))
			}
			return d, err
		}}
	}),
	showing("native-is-ours", "V09", "takes jobs of another producer for its own", func(j inspect.Job) inspect.Job { j.Native = false; return j }),
	showing("hides-what-is-wrong", "V10", "shows a message that is no job as one", func(j inspect.Job) inspect.Job { j.Unreadable = ""; return j }),
	view("quotes-payload", "V11", "quotes the payload in an error", func(v inspect.Inspector, _ *system) altered {
		return altered{retry: func(ctx context.Context, queue, id string) error {
			err := v.Retry(ctx, queue, id)
			if j, other := v.Get(ctx, queue, id); err != nil && other == nil {
				err = fmt.Errorf("%w: %s", err, j.Payload())
			}
			return err
		}}
	}),

	retrying("retry-is-another-attempt", "V20", "leaves a retried job with its attempts used up, if it has any left", func(_ *store, j *job) {
		if j.state == conformance.Buried && j.attempt < j.in.Options.MaxAttempts {
			j.in.Options.MaxAttempts -= j.attempt
		}
	}),
	retrying("inspector-loses-headers", "V20", "loses the headers of a job that is retried", func(_ *store, j *job) { j.headers = core.Headers{} }),
	view("retry-keeps-used-up", "V21", "leaves a job that has used up its attempts with one", func(v inspect.Inspector, s *system) altered {
		return altered{retry: func(ctx context.Context, queue, id string) error {
			used := 0
			if j, err := v.Get(ctx, queue, id); err == nil && j.State == inspect.Dead && j.Attempts == j.MaxAttempts {
				used = j.Attempts
			}
			i := v.(*inspector)
			return i.one(ctx, queue, id, func(j *job) error {
				err := i.retry(j)
				if err == nil && used > 0 {
					j.attempt = used
				}
				return err
			})
		}}
	}).like("hibiken/asynq: Inspector.RunTask"),
	view("retry-starts-over", "V22", "gives a delayed job that is retried all of its attempts", func(v inspect.Inspector, _ *system) altered {
		i := v.(*inspector)
		return altered{retry: func(ctx context.Context, queue, id string) error {
			return i.one(ctx, queue, id, func(j *job) error {
				if err := i.retry(j); err != nil {
					return err
				}
				j.attempt = 1
				return nil
			})
		}}
	}),
	view("retries-what-runs", "V23", "reports success for the retry of a running job", func(v inspect.Inspector, _ *system) altered {
		return altered{retry: func(ctx context.Context, queue, id string) error {
			if err := v.Retry(ctx, queue, id); !errors.Is(err, inspect.ErrRunning) {
				return err
			}
			return nil
		}}
	}),
	view("retries-all-of-them", "V24", "knows no limit of RetryAll", func(v inspect.Inspector, _ *system) altered {
		return altered{retryAll: func(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
			if s.Limit > 1 {
				s.Limit = 1 << 30
			}
			return v.RetryAll(ctx, s)
		}}
	}),
	retrying("retry-takes-the-key", "V25", "retries a job although another one holds its key", func(s *store, j *job) {
		if j.state == conformance.Buried {
			delete(s.unique, s.bug.uniqueKey(j.in))
		}
	}).like("hibiken/asynq: Inspector.RunTask knows no unique locks"),
	view("discard-keeps-the-key", "V26", "leaves the unique key of a discarded job taken", func(v inspect.Inspector, s *system) altered {
		return altered{discard: func(ctx context.Context, queue, id string) error {
			j, err := v.Get(ctx, queue, id)
			err = errors.Join(err, v.Discard(ctx, queue, id))
			if err == nil && j.Unique != "" && j.State == inspect.Delayed {
				s.store.mu.Lock()
				defer s.store.mu.Unlock()
				s.store.unique[j.Task+"\n"+nativeQueue(queue)+"\n"+j.Unique] = &job{}
			}
			return err
		}}
	}),
	view("discard-hides", "V26", "hides a discarded job that waits, which runs all the same", func(v inspect.Inspector, _ *system) altered {
		var hidden sync.Map
		return altered{
			discard: func(ctx context.Context, queue, id string) error {
				j, err := v.Get(ctx, queue, id)
				if _, gone := hidden.Load(id); gone {
					return fmt.Errorf("reference: %w", inspect.ErrNotFound)
				}
				if err != nil || j.State != inspect.Waiting {
					return v.Discard(ctx, queue, id)
				}
				hidden.Store(id, true)
				return nil
			},
			get: func(ctx context.Context, queue, id string) (inspect.Job, error) {
				if _, gone := hidden.Load(id); gone {
					return inspect.Job{}, fmt.Errorf("reference: %w", inspect.ErrNotFound)
				}
				return v.Get(ctx, queue, id)
			},
		}
	}),
	view("pauses-nothing", "V27", "pauses nothing", func(v inspect.Inspector, _ *system) altered {
		return altered{pause: func(ctx context.Context, _ string) error {
			_, err := v.Queues(ctx)
			return err
		}}
	}),
}

func pagesByRank(ctx context.Context, v inspect.Inspector, q inspect.Query) (inspect.Page, error) {
	all := inspect.Query{Queue: q.Queue, State: q.State, Task: q.Task, Limit: inspect.MaxLimit}
	page, err := v.List(ctx, all)
	if err != nil || q.State != inspect.Delayed && q.State != inspect.Dead {
		return v.List(ctx, q)
	}
	from, limit := 0, q.Limit
	if limit == 0 {
		limit = inspect.DefaultLimit
	}
	if q.Cursor != "" {
		if _, err := fmt.Sscan(q.Cursor, &from); err != nil {
			return page, fmt.Errorf("reference: the cursor is malformed: %w", core.ErrInvalid)
		}
	}
	from = min(from, len(page.Jobs))
	to := min(from+limit, len(page.Jobs))
	next := ""
	if to < len(page.Jobs) {
		next = fmt.Sprint(to)
	}
	return inspect.Page{Jobs: page.Jobs[from:to], Next: next}, nil
}
