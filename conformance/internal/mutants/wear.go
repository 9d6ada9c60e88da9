package mutants

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// afterJobs makes a bug that begins after the worker has run n jobs.
func afterJobs(n int, then func(w *brokenWorker)) bug {
	return bug{early: func(w *brokenWorker, _ *job) {
		w.store.mu.Lock()
		w.done++
		now := w.done == n
		w.store.mu.Unlock()
		if now {
			then(w)
		}
	}}
}

// atStop makes a bug of what becomes of the stored jobs when a worker is stopped.
func atStop(change func(s *store)) bug {
	return stops(func(ctx context.Context, s *system, stop func(context.Context) error) error {
		err := stop(ctx)
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		change(s.store)
		return err
	})
}

// stacked starts the newest of some jobs first.
func stacked(which func(j *job) bool) bug {
	return bug{order: func(a, b *job) int {
		if a.rank == b.rank && which(a) && which(b) {
			return b.seq - a.seq
		}
		return byRank(a, b)
	}}
}

// wearMutants are right at first, or at rest.
var wearMutants = []Variant{
	queue("ends-after-6000", "L15", "takes no more jobs after 6000", afterJobs(6000, func(w *brokenWorker) { w.loseSlot(0); w.end(false) })),
	queue("slot-for-each-1000", AnyEnding, "loses a slot with each 1000 jobs", bug{early: func(w *brokenWorker, _ *job) {
		w.store.mu.Lock()
		w.done++
		lost := w.done%1000 == 0
		w.store.mu.Unlock()
		if lost {
			w.loseSlot(1)
		}
	}}),
	queue("keys-fill-up", "L15", "does not look at unique keys any more after 20 of them", bug{inner: func(next core.Executor, _ *system) core.Executor {
		var keys atomic.Int64
		return func(ctx context.Context, intents ...core.Intent) error {
			plain := make([]core.Intent, len(intents))
			for i := range intents {
				if plain[i] = intents[i]; intents[i].Options.Unique != "" && keys.Add(1) > 20 {
					plain[i] = intents[i].Without(core.OptionUnique)
				}
			}
			return next(ctx, plain...)
		}
	}}),
	inline("inline-ends-after-6000", "L15", "runs nothing any more after 6000 jobs", inlineCaps(), func(_ core.Executor, reg *worker.Registry) core.Executor {
		var runs atomic.Int64
		return adapter.Each(inlineCaps(), func(ctx context.Context, in core.Intent) error {
			if runs.Add(1) > 6000 {
				return nil
			}
			return runHere(ctx, reg, in)
		})
	}),
	queue("stack-of-urgent-jobs", "L14", "starts the newest of the urgent jobs first", stacked(func(j *job) bool { return j.rank > 5 })),
	queue("stack-of-minor-jobs", "L14", "starts the newest of the minor jobs first", stacked(func(j *job) bool { return j.rank < 5 })),
	queue("stack-while-busy", "L14", "starts the newest of the jobs first that come while more than 10 wait", bug{admit: func(s *store, j *job) bool {
		if len(s.ready) > 10 && len(s.later) > 0 {
			j.seq = s.ready[len(s.ready)-1].seq - 1
		}
		return true
	}}),
	queue("stop-frees-keys", "F15", "frees unique keys when a worker is stopped", atStop(func(s *store) { clear(s.unique) })),
	queue("stop-frees-ids", "F15", "forgets IDs when a worker is stopped", atStop(func(s *store) { clear(s.ids) })),
	queue("stop-makes-jobs-due", "F15", "runs delayed jobs at once when the worker was replaced", atStop(func(s *store) {
		for _, j := range s.later {
			j.at = time.Now()
		}
	})),
	queue("stop-loses-headers", "F15", "loses the headers of waiting jobs when a worker is stopped", atStop(func(s *store) {
		for _, j := range s.all {
			if j.state == conformance.Waiting {
				j.headers = core.Headers{}
			}
		}
	})),
	queue("stop-resets-attempts", "F15", "counts attempts anew in the next worker", atStop(func(s *store) {
		for _, j := range s.all {
			j.attempt = 1
		}
	})),
	queue("exchange-is-an-attempt", "F15", "counts the end of a worker as an attempt of the jobs that wait", atStop(func(s *store) {
		for _, j := range s.all {
			if j.state == conformance.Waiting {
				j.attempt++
			}
		}
	})),
	queue("stop-loses-retries", "F15", "loses jobs that wait for their retry when a worker is stopped", atStop(func(s *store) {
		kept := s.later[:0]
		for _, j := range s.later {
			if j.attempt == 1 {
				kept = append(kept, j)
			}
		}
		s.later = kept
	})),
	queue("stop-loses-timeouts", "F15", "loses the timeouts of waiting jobs when a worker is stopped", atStop(func(s *store) {
		for _, j := range s.all {
			j.in = j.in.Without(core.OptionTimeout)
		}
	})),
	always(onLine("keys-in-memory", "F14", "keeps unique keys in memory", lineBug{forgetsKeysOnRestart: true})),
}

// always is for a variant that fails every time in the checks of stored state.
func always(v Variant) Variant {
	v.Sometimes = nil
	return v
}
