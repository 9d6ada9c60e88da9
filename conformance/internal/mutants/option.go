package mutants

import (
	"context"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var optionMutants = []Variant{
	queue("underdeclares", "P01", "refuses an option that it declares", bug{inner: refusing(func(in core.Intent) bool { return in.Has(core.OptionPriority) }, core.ErrUnsupported)}),
	queue("overdeclares", "P01", "takes an option that it declares as refused", bug{
		caps:  func(c *core.Capabilities) { delete(c.Options, core.OptionTimeout) },
		outer: stripping(core.OptionTimeout),
	}).like("rails#33823: the feature table said priority, the adapter dropped it"),
	queue("anonymous-refusal", "P01", "does not name the option that it refuses", bug{
		caps:  func(c *core.Capabilities) { delete(c.Options, core.OptionDelay) },
		outer: changingErrors(func(err error) error { return core.ErrUnsupported }),
	}),
	queue("hidden-timeout", "P02", "gives every job a timeout", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Timeout == 0 && d.Deadline.IsZero() {
			d.Timeout = 1000 * time.Hour
		}
	}}).like("asynq: 30 minutes by default"),
	queue("hidden-attempts", "P02", "runs failing jobs more often than it declares", bug{deliver: unsetIs(30)}),
	queue("tells-other-attempts", "P02", "shows handlers more attempts than the job has", bug{deliver: unsetIs(30), verdict: unsetEndsAfter(defaultAttempts)}),
	queue("unique-drops-delay", "P03", "forgets the delay of unique jobs", bug{admit: func(_ *store, j *job) bool {
		if j.in.Has(core.OptionUnique) && j.in.Options.Timeout == 0 {
			j.at = time.Time{}
		}
		return true
	}}).like("asynq#338"),
	queue("deadline-drops-timeout", "P03", "forgets the timeout of jobs with a deadline", bug{deliver: func(_ *job, d *worker.Delivery) {
		if !d.Deadline.IsZero() {
			d.Timeout = 0
		}
	}}),
	queue("permanent-by-identity", "P04", "compares errors with == to find permanent ones", bug{verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Dead && worker.IsPermanent(v.Err) && v.Err.Error() == "outer: inner: failed on purpose" && d.Attempt < d.MaxAttempts {
			v.Action = worker.Retry
		}
	}}),
	queue("whole-seconds", "P05", "cuts timeouts to whole seconds", bug{deliver: func(_ *job, d *worker.Delivery) { d.Timeout = d.Timeout.Truncate(time.Second) }}).
		like("asynq v0.26: Timeout(500ms) is stored as 0; asynq#1162"),
	queue("early-by-a-second", "P05", "cuts delays to whole seconds", bug{admit: func(_ *store, j *job) bool {
		j.at = j.at.Truncate(time.Second)
		return true
	}}).like("asynq v0.26: ProcessIn floors to whole seconds"),
	queue("backoff-in-seconds", "P05", "cuts backoffs to whole seconds, and uses its own instead of 0", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && v.After%time.Second != 0 && v.After > time.Second {
			v.After = v.After.Truncate(time.Second)
		}
	}}),
	queue("one-queue", "P06", "sends everything to the default queue", without(core.OptionQueue)),
	queue("works-all-queues", "P06", "serves queues that it was not given", bug{anyQueue: true}),
	queue("ignores-priority", "P07", "ignores priorities", without(core.OptionPriority)).like("rails#19425"),
	queue("inverts-priority", "P07", "treats 1 as the highest priority", bug{order: func(a, b *job) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return a.seq - b.seq
	}}),
	queue("late-timer", "P08", "starts delayed jobs a quarter of an hour late", bug{admit: func(_ *store, j *job) bool {
		if time.Until(j.at) >= 30*time.Minute && time.Until(j.at) < 24*time.Hour {
			j.at = j.at.Add(15 * time.Minute)
		}
		return true
	}}),
	queue("delay-from-dispatch", "P08", "measures a long delay from the dispatch, and starts early", bug{admit: func(_ *store, j *job) bool {
		if time.Until(j.at) > 40*time.Minute {
			j.at = j.at.Add(-time.Second)
		}
		return true
	}}),
	queue("past-never", "P09", "never runs jobs whose time is past", bug{admit: func(_ *store, j *job) bool {
		return j.at.IsZero() || time.Until(j.at) > -time.Minute
	}}),
	queue("far-is-now", "P09", "runs jobs of the far future immediately", bug{admit: func(_ *store, j *job) bool {
		if time.Until(j.at) > 24*365*time.Hour {
			j.at = time.Time{}
		}
		return true
	}}),
	queue("one-retry-more", "P10", "treats max attempts as max retries", bug{deliver: func(j *job, d *worker.Delivery) { d.MaxAttempts = 0 }, verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		most := j.in.Options.MaxAttempts
		if most == 0 {
			most = defaultAttempts - 1
		}
		if v.Action == worker.Retry && j.attempt > most {
			v.Action = worker.Dead
		}
	}}),
	queue("tries-for-ever", "P21", "retries jobs without max attempts forever", bug{deliver: unsetIs(0)}),
	queue("gives-up-early", "P21", "runs jobs without max attempts once less than it declares", bug{verdict: unsetEndsAfter(defaultAttempts - 1)}),
	queue("always-attempt-1", "P10", "does not count attempts for the handler", bug{deliver: func(j *job, d *worker.Delivery) {
		if d.Attempt < d.MaxAttempts && d.Backoff.First < 20*time.Millisecond {
			d.Attempt = 1
		}
	}}),
	queue("storms", "P11", "retries failed jobs immediately", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry {
			v.After = time.Nanosecond
		}
	}}),
	queue("constant-backoff", "P11", "waits the same after every attempt", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Backoff.First > 0 {
			v.After = d.Backoff.First
		}
	}}),
	queue("backoff-off-by-one", "P11", "counts attempts from 2 for the backoff", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Backoff.First != d.Backoff.Max {
			v.After = d.Backoff.Wait(d.Attempt + 1)
		}
	}}),
	queue("timeout-once", "P13", "applies the timeout only to the first attempt", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Attempt > 1 {
			d.Timeout = 0
		}
	}}),
	queue("timeout-shared", "P13", "uses one timeout for all attempts", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Attempt > 1 && d.Timeout > 0 {
			d.Timeout = time.Nanosecond
		}
	}}),
	queue("timeout-succeeds", "P13", "treats a timeout as success", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Timeout > 0 {
			v.Action = worker.Done
		}
	}}),
	queue("late-start", "P14", "starts jobs after their deadline", bug{deliver: func(_ *job, d *worker.Delivery) {
		if !d.Deadline.IsZero() && time.Now().After(d.Deadline) {
			d.Deadline = time.Now().Add(time.Hour)
		}
	}}),
	queue("late-retry", "P14", "forgets the deadline of retries", bug{deliver: func(_ *job, d *worker.Delivery) {
		if d.Attempt > 1 {
			d.Deadline = time.Time{}
		}
	}, verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Dead && j.attempt < 20 && !d.Deadline.IsZero() {
			*v = worker.Verdict{Action: worker.Retry, After: 10 * time.Minute}
		}
	}}),
	queue("ignores-unique", "P15", "forgets unique keys", without(core.OptionUnique)),
	queue("unique-by-text", "P15", "reports the duplicate of a unique key only in the text", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			for i, o := range core.OutcomesOf(err, intents) {
				if o.State == core.Duplicate && intents[i].Has(core.OptionUnique) && !intents[i].ChosenID() && len(intents) == 1 {
					return errorString("task already exists")
				}
			}
			return err
		}
	}}),
	queue("check-then-set", "P16", "checks the unique key first and sets it later", uniqueRace()),
	queue("unique-everywhere", "P17", "applies a unique key to all tasks and queues", bug{key: func(in core.Intent) string { return in.Options.Unique }}),
	queue("unique-per-task", "P17", "applies a unique key to all queues", bug{key: func(in core.Intent) string { return in.Task + in.Options.Unique }}),
	queue("never-releases", "P17", "keeps unique keys forever", bug{keepUnique: true}).like("asynq#492"),
	queue("releases-between-attempts", "P17", "releases a unique key when an attempt fails", bug{retryReleases: true}),
	queue("snooze-is-attempt", "P18", "counts a snooze as an attempt", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed {
			v.Action = worker.Retry
		}
	}}),
	queue("snooze-is-now", "P18", "runs a snoozed job again immediately", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed {
			v.After = time.Nanosecond
		}
	}}),
	queue("unique-replaces-id", "P19", "uses the unique key as the ID", bug{id: func(in core.Intent) string {
		if in.Has(core.OptionUnique) && in.ChosenID() {
			return in.Options.Unique
		}
		return in.ID
	}}),
	queue("stricter-than-claimed", "P20", "refuses what its capabilities accept", bug{inner: refusing(func(in core.Intent) bool { return in.Options.Priority == 10 && in.Options.At.IsZero() }, core.ErrUnsupported)}),
	queue("batch-drops-delay", "B03", "forgets delays in batches", batchOnly(without(core.OptionDelay))).like("river#161: uniqueness was lost on the batch path"),
	queue("batch-drops-headers", "B03", "forgets headers in batches", batchOnly(without(core.OptionHeader))),
	queue("batch-drops-attempts", "B03", "forgets max attempts in batches", batchOnly(without(core.OptionMaxAttempts))),
	queue("batch-drops-unique", "B04", "forgets unique keys in batches", batchOnly(without(core.OptionUnique))).like("river#161"),
	queue("batch-hides-duplicates", "B04", "says accepted for duplicates in a batch", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			if len(intents) < 2 {
				return err
			}
			out := core.OutcomesOf(err, intents)
			for i := range out {
				if out[i].State == core.Duplicate {
					out[i].State, out[i].Err = core.Accepted, nil
				}
			}
			return core.Combine(out)
		}
	}}).like("asynq: an existing TaskID is skipped and shows success"),
	queue("forgets-ids", "I01", "declares to remember IDs and does not", bug{id: forgetting(func(core.Intent) bool { return true })}),
	queue("forgets-generated-ids", "I01", "remembers only chosen IDs", bug{id: forgetting(func(in core.Intent) bool { return !in.ChosenID() })}),
	queue("says-duplicate-always", "I01", "says duplicate for a generated ID that is sent again", bug{inner: func(next core.Executor, s *system) core.Executor {
		var mu sync.Mutex
		seen := map[string]bool{}
		return func(ctx context.Context, intents ...core.Intent) error {
			out := core.OutcomesOf(next(ctx, intents...), intents)
			mu.Lock()
			defer mu.Unlock()
			for i := range out {
				if seen[out[i].ID] && out[i].State == core.Accepted {
					out[i].State, out[i].Err = core.Duplicate, core.ErrDuplicate
				}
				seen[out[i].ID] = true
			}
			return core.Combine(out)
		}
	}}),
	queue("id-race", "I02", "checks the ID first and remembers it later", idRace()),
	queue("batch-forgets-ids", "I03", "does not look for an ID within one batch", bug{inner: func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) != 3 || intents[0].ID != intents[2].ID {
				return next(ctx, intents...)
			}
			s.store.mu.Lock()
			defer s.store.mu.Unlock()
			for i := range intents {
				delete(s.store.ids, intents[0].ID)
				s.store.add(intents[i], time.Now())
			}
			return nil
		}
	}}),
	queue("forgets-done-ids", "I04", "forgets an ID when its job is done", bug{forgetsDone: true}),
	queue("id-per-lane", "I05", "remembers IDs per priority", bug{id: func(in core.Intent) string { return in.ID + string(rune('0'+in.Options.Priority)) }}),
	queue("remembers-for-ever", "I06", "never forgets an ID", bug{id: func(in core.Intent) string { return in.ID }, endlessIDs: true}),
}

type errorString string

func (e errorString) Error() string { return string(e) }

// stripping removes an option before the guard can refuse it.
func stripping(names ...core.OptionName) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			plain := make([]core.Intent, len(intents))
			for i := range intents {
				plain[i] = intents[i].Without(names...)
			}
			return next(ctx, plain...)
		}
	}
}

// changingErrors changes the errors of refused options.
func changingErrors(change func(error) error) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			err := next(ctx, intents...)
			if err == nil {
				return nil
			}
			out := core.OutcomesOf(err, intents)
			for i := range out {
				if out[i].State == core.Rejected && intents[i].Has(core.OptionDelay) {
					out[i].Err = change(out[i].Err)
				}
			}
			return core.Combine(out)
		}
	}
}

// forgetting remembers some IDs under a name that is never used again.
func forgetting(which func(core.Intent) bool) func(core.Intent) string {
	return func(in core.Intent) string {
		if which(in) {
			return in.ID + string(core.Fixed(time.Duration(nextNumber())).First.String())
		}
		return in.ID
	}
}

// late makes an executor that checks a key now and sets it a moment later, so that
// concurrent calls all find it free. Without concurrency it is correct.
func late(key func(core.Intent) string) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, s *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			if len(intents) != 1 || key(intents[0]) == "" {
				return next(ctx, intents...)
			}
			s.store.mu.Lock()
			free := s.store.free(intents[0], time.Now())
			s.store.mu.Unlock()
			time.Sleep(time.Microsecond)
			if !free {
				return next(ctx, intents...)
			}
			s.store.mu.Lock()
			s.store.forget(intents[0])
			s.store.mu.Unlock()
			return next(ctx, intents...)
		}
	}
}

func uniqueRace() bug {
	return bug{inner: late(func(in core.Intent) string { return in.Options.Unique })}
}

func idRace() bug {
	return bug{inner: late(func(in core.Intent) string {
		if in.Has(core.OptionUnique) {
			return ""
		}
		return in.ID
	})}
}

// unsetIs sets the max attempts of jobs without a number.
func unsetIs(n int) func(*job, *worker.Delivery) {
	return func(j *job, d *worker.Delivery) {
		if !j.in.Has(core.OptionMaxAttempts) {
			d.MaxAttempts = n
		}
	}
}

// unsetEndsAfter ends jobs without max attempts after this number of runs.
func unsetEndsAfter(n int) func(*job, worker.Delivery, *worker.Verdict) {
	return func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && !j.in.Has(core.OptionMaxAttempts) && j.attempt >= n {
			v.Action = worker.Dead
		}
	}
}
