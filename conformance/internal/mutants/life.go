package mutants

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// after makes a bug that does something when a verdict comes that fits. The store's
// lock is held.
func after(action worker.Action, do func(s *store, j *job, d worker.Delivery, v *worker.Verdict)) bug {
	return bug{verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == action {
			do(j.holder.store, j, d, v)
		}
	}}
}

// onNew makes a bug that does something to the store when a further executor of its
// namespace makes its first call.
func onNew(do func(*store)) bug {
	var mu sync.Mutex
	known := map[*store]*system{}
	return bug{inner: func(next core.Executor, sys *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			mu.Lock()
			first := known[sys.store]
			if first == nil {
				known[sys.store] = sys
			}
			fresh := first != nil && first != sys
			if fresh {
				known[sys.store] = sys
			}
			mu.Unlock()
			if fresh {
				sys.store.mu.Lock()
				do(sys.store)
				sys.store.mu.Unlock()
			}
			return next(ctx, intents...)
		}
	}}
}

// onStop makes a bug that does something to the store when a worker stops.
func onStop(do func(s *store, now time.Time)) bug {
	return bug{system: func(out *conformance.System, sys *system) {
		stop := out.Stop
		out.Stop = func(ctx context.Context) error {
			err := stop(ctx)
			sys.store.mu.Lock()
			defer sys.store.mu.Unlock()
			do(sys.store, time.Now())
			return err
		}
	}}
}

// outcomesOf makes a bug that looks at the outcomes of the calls.
func outcomesOf(look func(s *store, in core.Intent, o *core.Outcome)) bug {
	return bug{inner: func(next core.Executor, sys *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			sys.store.mu.Lock()
			defer sys.store.mu.Unlock()
			for i := range out {
				look(sys.store, intents[i], &out[i])
			}
			return core.Combine(out)
		}
	}}
}

func nobody() *job { return &job{} }

// holdKey keeps the key of a job forever.
func holdKey(s *store, j *job) {
	if key := s.bug.uniqueKey(j.in); key != "" {
		s.unique[key] = nobody()
	}
}

func moveToReady(s *store, now time.Time, which func(*job) bool) {
	later := s.later
	s.later = nil
	for _, j := range later {
		if which(j) {
			j.at = now
		}
		s.put(j, now)
	}
}

// lifeMutants forget who a job is, or until when, at some stage of its life.
var lifeMutants = []Variant{
	queue("id-lost-between-attempts", "M03", "forgets an ID when an attempt fails", after(worker.Retry, func(s *store, j *job, _ worker.Delivery, _ *worker.Verdict) {
		delete(s.ids, j.in.ID)
	})),
	queue("id-lost-when-snoozed", "M03", "forgets an ID when its job snoozes", after(worker.Snoozed, func(s *store, j *job, _ worker.Delivery, _ *worker.Verdict) {
		delete(s.ids, j.in.ID)
	})),
	queue("id-lost-when-dead", "M01", "forgets an ID when its job has failed twice", after(worker.Retry, func(s *store, j *job, d worker.Delivery, _ *worker.Verdict) {
		if d.Attempt > 1 {
			delete(s.ids, j.in.ID)
		}
	})),
	queue("ids-end-with-the-executor", "M03", "forgets all IDs when another executor starts", onNew(func(s *store) { clear(s.ids) })),
	queue("keys-end-with-the-executor", "M03", "forgets all unique keys when another executor starts", onNew(func(s *store) { clear(s.unique) })),
	queue("key-freed-at-start", "M03", "releases a unique key when its job starts for the first time as a retry", bug{early: func(w *brokenWorker, j *job) {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		if j.attempt > 1 {
			w.store.release(j)
		}
	}}),
	queue("key-freed-by-snooze", "M03", "releases a unique key when its job snoozes", after(worker.Snoozed, func(s *store, j *job, _ worker.Delivery, _ *worker.Verdict) { s.release(j) })),
	queue("key-of-delayed-freed", "M03", "holds the unique key of a delayed job only from when it is due", bug{key: func(in core.Intent) string {
		if in.Options.At.After(time.Now()) {
			return ""
		}
		return in.Task + "\n" + in.Options.Queue + "\n" + in.Options.Unique
	}}),
	queue("key-kept-by-the-dead", "M03", "never releases the unique key of a job that has failed in its last attempt", after(worker.Dead, func(s *store, j *job, d worker.Delivery, _ *worker.Verdict) {
		if d.Attempt > 1 {
			holdKey(s, j)
		}
	})),
	queue("key-kept-by-panics", "M01", "never releases the unique key of a job that has panicked", after(worker.Retry, func(s *store, j *job, _ worker.Delivery, v *worker.Verdict) {
		if pe := (*core.PanicError)(nil); errors.As(v.Err, &pe) {
			holdKey(s, j)
		}
	})),
	queue("duplicate-takes-the-key", "M03", "takes the unique key of a job whose ID is a duplicate", outcomesOf(func(s *store, in core.Intent, o *core.Outcome) {
		if key := s.bug.uniqueKey(in); o.State == core.Duplicate && in.ChosenID() && key != "" && s.unique[key] == nil {
			s.unique[key] = nobody()
		}
	})),
	queue("duplicate-takes-the-id", "M03", "remembers the ID of a job whose key is a duplicate", outcomesOf(func(s *store, in core.Intent, o *core.Outcome) {
		if _, seen := s.ids[in.ID]; o.State == core.Duplicate && in.Options.Unique != "" && !seen {
			s.ids[in.ID] = time.Now().Add(idWindow)
		}
	})),
	queue("refused-takes-the-id", "M03", "remembers the IDs of a call that it refuses", bug{outer: func(next core.Executor, sys *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			if slices.ContainsFunc(out, func(o core.Outcome) bool { return o.State == core.Rejected }) {
				sys.store.mu.Lock()
				defer sys.store.mu.Unlock()
				for i := range out {
					if out[i].State == core.NotSent {
						sys.store.ids[intents[i].ID] = time.Now().Add(idWindow)
					}
				}
			}
			return core.Combine(out)
		}
	}}),
	queue("late-call-takes-the-key", "M03", "takes the keys of a call whose context is done", bug{outer: func(next core.Executor, sys *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if ctx != nil && ctx.Err() != nil {
				sys.store.mu.Lock()
				defer sys.store.mu.Unlock()
				for _, in := range intents {
					if key := sys.bug.uniqueKey(in); key != "" && sys.store.unique[key] == nil {
						sys.store.unique[key] = nobody()
					}
				}
			}
			return next(ctx, intents...)
		}
	}}),
	queue("replacement-forgets-delays", "M01", "runs all delayed jobs when a worker stops", onStop(func(s *store, now time.Time) {
		moveToReady(s, now, func(*job) bool { return true })
	})),
	queue("replacement-forgets-backoffs", "M02", "runs jobs at once that wait for their next attempt when a worker stops", onStop(func(s *store, now time.Time) {
		moveToReady(s, now, func(j *job) bool { return j.attempt > 1 })
	})),
	queue("replacement-loses-retries", "M02", "loses the jobs that wait for their next attempt when a worker stops", onStop(func(s *store, _ time.Time) {
		s.later = slices.DeleteFunc(s.later, func(j *job) bool { return j.attempt > 1 })
	})),
	queue("replacement-counts-anew", "M02", "counts attempts from one again in the next worker", onStop(func(s *store, _ time.Time) {
		for _, j := range s.later {
			j.attempt = 1
		}
	})),
	queue("replacement-is-an-attempt", "M01", "counts an attempt when a worker stops", onStop(func(s *store, _ time.Time) {
		for _, j := range s.later {
			if j.attempt > 1 {
				j.attempt++
			}
		}
	})),
	queue("crash-counts-anew", "M01", "counts attempts from one again after a crash", bug{system: func(out *conformance.System, sys *system) {
		kill := out.Kill
		out.Kill = func() error {
			err := kill()
			sys.store.mu.Lock()
			defer sys.store.mu.Unlock()
			for _, j := range sys.store.later {
				j.attempt = 1
			}
			return err
		}
	}}),
	queue("cancelled-removes-delayed", "M05", "removes a delayed job when the context of its dispatch is cancelled later", bug{inner: func(next core.Executor, sys *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			intents = slices.Clone(intents) // the caller's slice is used again
			context.AfterFunc(ctx, func() {
				sys.store.mu.Lock()
				defer sys.store.mu.Unlock()
				sys.store.later = slices.DeleteFunc(sys.store.later, func(j *job) bool {
					return slices.ContainsFunc(intents, func(in core.Intent) bool { return in.ID == j.in.ID })
				})
			})
			return err
		}
	}}),
	queue("cause-ends-retries", "M05", "makes no further attempt if the context of the dispatch has ended with a cause", bug{
		inner: func(next core.Executor, sys *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				sys.store.mu.Lock()
				for _, in := range intents {
					sys.store.contexts[in.ID] = ctx
				}
				sys.store.mu.Unlock()
				return next(ctx, intents...)
			}
		},
		verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
			if ctx := j.holder.store.contexts[j.in.ID]; v.Action == worker.Retry && ctx != nil && context.Cause(ctx) != ctx.Err() {
				v.Action = worker.Dead
			}
		},
	}),
	queue("own-contexts-reach-the-job", "M05", "runs a job in the context of its dispatch, if that is of the caller's own type", bug{
		inner: func(next core.Executor, sys *system) core.Executor {
			return func(ctx context.Context, intents ...core.Intent) error {
				if _, own := ctx.(interface{ AfterFunc(func()) func() bool }); !own && !strings.HasPrefix(typeOf(ctx), "*context.") {
					sys.store.mu.Lock()
					for _, in := range intents {
						sys.store.contexts[in.ID] = ctx
					}
					sys.store.mu.Unlock()
				}
				return next(ctx, intents...)
			}
		},
		perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
			w.store.mu.Lock()
			ctx := w.store.contexts[d.ID]
			w.store.mu.Unlock()
			if ctx == nil {
				return w.registry.Perform(w.ctx, d)
			}
			both, cancel := context.WithCancel(w.ctx)
			defer cancel()
			go func() {
				select {
				case <-ctx.Done():
					cancel()
				case <-both.Done():
				}
			}()
			v := w.registry.Perform(both, d)
			if v.Action == worker.Interrupted && w.ctx.Err() == nil {
				v.Action = worker.Dead
			}
			return v
		},
	}),
}
