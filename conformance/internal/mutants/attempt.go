package mutants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

func typeOf(v any) string { return fmt.Sprintf("%T", v) }

// onError makes a bug that takes some errors of handlers for something else.
func onError(is func(err error) bool, instead worker.Action) bug {
	return bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Err != nil && v.Action != instead && is(v.Err) {
			v.Action, v.After = instead, time.Minute
		}
	}}
}

func wraps(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// onOptions makes a bug that handles jobs with some options differently.
func onOptions(has func(o core.Options) bool, b bug) bug {
	with := b
	if b.verdict != nil {
		with.verdict = func(j *job, d worker.Delivery, v *worker.Verdict) {
			if has(j.in.Options) {
				b.verdict(j, d, v)
			}
		}
	}
	if b.deliver != nil {
		with.deliver = func(j *job, d *worker.Delivery) {
			if has(j.in.Options) {
				b.deliver(j, d)
			}
		}
	}
	if b.admit != nil {
		with.admit = func(s *store, j *job) bool { return !has(j.in.Options) || b.admit(s, j) }
	}
	return with
}

func hasDelay(o core.Options) bool    { return !o.At.IsZero() }
func hasKey(o core.Options) bool      { return o.Unique != "" }
func hasPriority(o core.Options) bool { return o.Priority != 0 }

// ownSchedule ignores the backoff.
var ownSchedule = bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
	if v.Action == worker.Retry {
		v.After = 0
	}
}}

// changing makes a bug that changes a job when it is put back.
func changing(action worker.Action, change func(j *job)) bug {
	return bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == action {
			change(j)
		}
	}}
}

// snoozedBefore remembers which jobs have snoozed.
type snoozedBefore struct {
	mu   sync.Mutex
	jobs map[*job]int
}

func (s *snoozedBefore) add(j *job) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		s.jobs = map[*job]int{}
	}
	s.jobs[j]++
	return s.jobs[j]
}

func (s *snoozedBefore) count(j *job) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[j]
}

func timeoutLostBySnooze() bug {
	var seen snoozedBefore
	return bug{
		verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
			if v.Action == worker.Snoozed {
				seen.add(j)
			}
		},
		deliver: func(j *job, d *worker.Delivery) {
			if seen.count(j) > 0 {
				d.Timeout = 0
			}
		},
	}
}

func secondSnoozeIsAttempt() bug {
	var seen snoozedBefore
	return bug{verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed && seen.add(j) == 2 && d.Attempt < d.MaxAttempts {
			j.attempt++
		}
	}}
}

// attemptMutants go wrong in what follows an attempt, mostly if the job has some
// option besides.
var attemptMutants = []Variant{
	queue("last-snooze-is-dead", "M02", "buries a job that snoozes in its last attempt", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed && d.Attempt > 1 && d.Attempt == d.MaxAttempts {
			v.Action = worker.Dead
		}
	}}),
	queue("second-snooze-is-attempt", "M01", "counts a job's second snooze as an attempt", secondSnoozeIsAttempt()),
	queue("permanent-must-be-last", "M02", "takes only an unjoined error for permanent", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		permanent := false
		for err := v.Err; err != nil; err = errors.Unwrap(err) {
			permanent = permanent || typeOf(err) == "*worker.permanentError"
		}
		if v.Action == worker.Dead && worker.IsPermanent(v.Err) && !permanent && d.Attempt < d.MaxAttempts {
			v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
		}
	}}),
	queue("snooze-wins", "M02", "lets a job snooze that has failed permanently", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if after, ok := worker.IsSnooze(v.Err); ok && worker.IsPermanent(v.Err) {
			v.Action, v.After = worker.Snoozed, after
		}
	}}),
	queue("canceled-is-interrupted", "M02", "counts no attempt if a handler returns context.Canceled", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && errors.Is(v.Err, context.Canceled) {
			v.Action = worker.Snoozed
		}
	}}),
	queue("late-is-dead", "M02", "buries a job whose handler returns context.DeadlineExceeded", onError(func(err error) bool {
		return errors.Is(err, context.DeadlineExceeded) && !worker.IsPermanent(err)
	}, worker.Dead)),
	queue("no-handler-is-parked", "M02", "parks a job whose handler returns core.ErrNoHandler", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && errors.Is(v.Err, core.ErrNoHandler) && d.Task == "conformance.job" {
			v.Action = worker.Parked
		}
	}}),
	queue("duplicate-is-done", "M02", "calls a job done whose handler returns core.ErrDuplicate", onError(wraps(core.ErrDuplicate), worker.Done)),
	queue("silence-is-success", "M02", "calls a job done whose error has no text", onError(func(err error) bool { return err.Error() == "" }, worker.Done)),
	queue("nil-pointer-is-success", "M02", "calls a job done whose error is a nil pointer", onError(func(err error) bool {
		v := reflect.ValueOf(err)
		return v.Kind() == reflect.Pointer && v.IsNil()
	}, worker.Done)),
	queue("runtime-error-is-dead", "M02", "buries a job that panics with a runtime error", onError(func(err error) bool {
		var re runtime.Error
		return errors.As(err, &re)
	}, worker.Dead)),
	queue("goexit-is-done", "M02", "calls a job done that ends its goroutine after the first attempt", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Err != nil && v.Action != worker.Done && d.Attempt > 1 && bytes.Contains([]byte(v.Err.Error()), []byte("runtime.Goexit")) {
			v.Action = worker.Done
		}
	}}),
	queue("panic-cannot-snooze", "M02", "counts an attempt for a handler that panics with a snooze", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if pe := (*core.PanicError)(nil); v.Action == worker.Snoozed && errors.As(v.Err, &pe) {
			v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
		}
	}}),
	queue("delayed-ignores-backoff", "M01", "ignores the backoff of delayed jobs", onOptions(hasDelay, ownSchedule)),
	queue("unique-ignores-backoff", "M01", "ignores the backoff of unique jobs", onOptions(hasKey, ownSchedule)),
	queue("delayed-runs-once-more", "M01", "makes one attempt more of a delayed job", onOptions(hasDelay, bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Dead && d.Attempt == d.MaxAttempts && !worker.IsPermanent(v.Err) && d.Deadline.IsZero() {
			v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
		}
	}})),
	queue("backoff-stops-growing", "M01", "doubles a backoff only twice", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && v.After > 0 {
			v.After = d.Backoff.Wait(min(d.Attempt, 3))
		}
	}}),
	queue("backoff-at-most-an-hour", "M01", "cuts backoffs to twenty minutes", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry {
			v.After = min(v.After, 20*time.Minute)
		}
	}}),
	queue("backoff-from-the-start", "M01", "counts the backoff from the start of an attempt", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		began := time.Now()
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Retry && v.After > 0 {
			v.After = max(v.After-time.Since(began), time.Nanosecond)
		}
		return v
	}}),
	queue("retry-by-the-minute", "M01", "looks for retries once a minute", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && v.After > time.Minute {
			v.After = v.After.Truncate(time.Minute) + time.Minute
		}
	}}),
	queue("snooze-is-doubled", "M01", "waits twice as long as a long snooze wants", bug{verdict: func(_ *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed && v.After > time.Minute {
			v.After *= 2
		}
	}}),
	queue("deadline-after-delay", "M01", "counts the deadline from when a delayed job is due", onOptions(hasDelay, bug{deliver: func(j *job, d *worker.Delivery) {
		if !d.Deadline.IsZero() {
			d.Deadline = d.Deadline.Add(time.Until(j.in.Options.At).Abs() + time.Second)
		}
	}})),
	queue("deadline-of-first-attempt", "M01", "lets a snooze lead beyond the deadline", bug{
		deliver: func(j *job, d *worker.Delivery) {
			if j.state == "" {
				d.Deadline = time.Time{}
			}
		},
		perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
			end := d.Deadline
			v := w.registry.Perform(w.ctx, d)
			if after, ok := worker.IsSnooze(v.Err); ok && v.Action == worker.Dead && !end.IsZero() && !worker.IsPermanent(v.Err) {
				return worker.Verdict{Action: worker.Snoozed, After: max(min(after, time.Until(end)-1), 1), Err: v.Err}
			}
			return v
		},
	}),
	queue("timeout-lost-by-snooze", "M01", "forgets the timeout of a job that has snoozed", timeoutLostBySnooze()),
	queue("delayed-has-no-timeout", "M01", "forgets the timeout of delayed jobs", onOptions(hasDelay, bug{deliver: func(_ *job, d *worker.Delivery) { d.Timeout = 0 }})),
	queue("retry-loses-priority", "M01", "forgets the priority of a job that is tried again", changing(worker.Retry, func(j *job) { j.rank = 1 })),
	queue("snooze-gains-priority", "M01", "puts a job that has snoozed before all others", changing(worker.Snoozed, func(j *job) { j.rank = 11 })),
	queue("delayed-loses-priority", "M01", "forgets the priority of delayed jobs", onOptions(hasDelay, bug{admit: func(_ *store, j *job) bool {
		j.rank = 1
		return true
	}})),
	queue("priority-breaks-order", "M01", "starts the last of the jobs with a high priority first", bug{order: func(a, b *job) int {
		if a.rank != b.rank {
			return b.rank - a.rank
		}
		if a.rank > 7 {
			return b.seq - a.seq
		}
		return a.seq - b.seq
	}}),
	queue("panic-loses-headers", "M01", "forgets the headers of a job that has panicked", bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if pe := (*core.PanicError)(nil); v.Action == worker.Retry && errors.As(v.Err, &pe) {
			j.headers = core.NewHeaders(nil)
		}
	}}),
	queue("snooze-loses-headers", "M01", "forgets the headers of a job that has snoozed", changing(worker.Snoozed, func(j *job) { j.headers = core.NewHeaders(nil) })),
	queue("snooze-loses-queue", "M01", "puts a job that has snoozed into the default queue", changing(worker.Snoozed, func(j *job) { j.queue = "" })),
	queue("third-run-is-cut", "M01", "cuts the payload of a job before its third attempt", changing(worker.Retry, func(j *job) {
		if j.attempt == 2 {
			j.payload = bytes.Replace(j.payload, []byte("......"), []byte("....."), 1)
		}
	})),
	queue("delay-with-id-is-doubled", "M01", "doubles the delay of jobs whose ID was chosen", bug{admit: func(_ *store, j *job) bool {
		if ahead := time.Until(j.at); j.in.ChosenID() && ahead > 0 && j.in.Options.Timeout == 0 {
			j.at = j.at.Add(ahead)
		}
		return true
	}}),
	queue("attempt-shared-by-key", "M01", "ends a unique job one attempt early", onOptions(hasKey, bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Attempt == d.MaxAttempts-1 && d.MaxAttempts > 3 {
			v.Action = worker.Dead
		}
	}})),
	queue("prioritised-retries-at-once", "M01", "tries a job with a priority again without waiting after its second attempt", onOptions(hasPriority, bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Attempt == 2 {
			v.After = time.Nanosecond
		}
	}})),
}
