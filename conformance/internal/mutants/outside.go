package mutants

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// leaking makes an executor that does something to each intent of a call but the first,
// with the intent before it.
func leaking(leak func(before, in core.Intent) []core.Option) func(core.Executor, *system) core.Executor {
	return func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			changed := append([]core.Intent(nil), intents...)
			for i := 1; i < len(changed); i++ {
				if more, err := changed[i].With(leak(intents[i-1], intents[i])...); err == nil {
					changed[i] = more
				}
			}
			return next(ctx, changed...)
		}
	}
}

// snoozing makes a bug of what becomes of a job that has snoozed more than n times.
func snoozing(n int, then func(j *job, v *worker.Verdict)) bug {
	return bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if v.Action != worker.Snoozed {
			return
		}
		if j.snoozed++; j.snoozed > n {
			then(j, v)
		}
	}}
}

// outsideMutants were first written by an author who had not read the checks, and all
// of them survived.
var outsideMutants = []Variant{
	queue("unescapes-ids", "I01", "takes an ID for an escaped path", bug{id: func(in core.Intent) string {
		if plain, err := url.PathUnescape(in.ID); err == nil {
			return plain
		}
		return in.ID
	}}),
	inPool("pool-ids-are-numbers", "I01", "drops zeros at the beginning of an ID", 64, bug{id: func(in core.Intent) string { return strings.TrimLeft(in.ID, "0") }}),
	inPool("pool-trims-keys", "P15", "drops spaces around a unique key", 64, bug{key: func(in core.Intent) string {
		return in.Task + "\n" + in.Options.Queue + "\n" + strings.TrimSpace(in.Options.Unique)
	}}),
	queue("keys-in-one-byte", "P15", "stores unique keys with a question mark for each character that is not Latin", bug{key: func(in core.Intent) string {
		return in.Task + "\n" + in.Options.Queue + "\n" + strings.Map(func(r rune) rune {
			if r > 255 {
				return '?'
			}
			return r
		}, in.Options.Unique)
	}}),
	queue("key-joined-to-task", "P17", "joins task, queue and unique key with colons", bug{key: func(in core.Intent) string {
		queue := in.Options.Queue
		if queue == "" {
			queue = "default"
		}
		return in.Task + ":" + queue + ":" + in.Options.Unique
	}}),
	inPool("pool-task-joined-to-key", "P17", "joins unique key and task with a slash", 64, bug{key: func(in core.Intent) string {
		return in.Options.Queue + "\n" + in.Options.Unique + "/" + in.Task
	}}),
	queue("timed-out-releases-key", "P17", "releases a unique key when an attempt fails because its time is up", after(worker.Retry, func(s *store, j *job, _ worker.Delivery, v *worker.Verdict) {
		if errors.Is(v.Err, context.DeadlineExceeded) {
			s.release(j)
		}
	})),
	inPool("pool-second-failure-releases-key", "P17", "releases a unique key when the second attempt fails", 64, after(worker.Retry, func(s *store, j *job, d worker.Delivery, _ *worker.Verdict) {
		if d.Attempt == 2 {
			s.release(j)
		}
	})),
	queue("expired-keeps-key", "P14", "keeps the unique key of a job that is dead because its deadline has passed", after(worker.Dead, func(s *store, j *job, d worker.Delivery, _ *worker.Verdict) {
		if !d.Deadline.IsZero() && time.Now().After(d.Deadline) {
			if key := s.bug.uniqueKey(j.in); key != "" {
				s.unique[key] = &job{in: j.in} // so that it is not released with j
			}
		}
	})),
	queue("fifth-snooze-is-attempt", "P18", "counts snoozes from the fifth as attempts", snoozing(4, func(_ *job, v *worker.Verdict) { v.Action = worker.Retry })),
	inPool("pool-hundredth-snooze-is-dead", "P18", "buries a job that has snoozed a hundred times", 64, snoozing(99, func(_ *job, v *worker.Verdict) { v.Action = worker.Dead })),
	queue("snoozes-a-week", "P18", "lets a job snooze for a week at most", after(worker.Snoozed, func(_ *store, _ *job, _ worker.Delivery, v *worker.Verdict) {
		v.After = min(v.After, 7*24*time.Hour)
	})),
	queue("batch-lends-backoff", "B08", "gives a job without a backoff that of the job before it in the call", bug{inner: leaking(func(before, in core.Intent) []core.Option {
		if before.Has(core.OptionBackoff) && !in.Has(core.OptionBackoff) {
			return []core.Option{core.Backoff(before.Options.Backoff)}
		}
		return nil
	})}),
	queue("child-inherits-queue", AnyEnding, "sends a job without a queue that a handler sends to the queue of the handler's job", bug{inner: func(next core.Executor, _ *system) core.Executor {
		return func(ctx context.Context, intents ...core.Intent) error {
			parent, ok := worker.JobFrom(ctx)
			if !ok || parent.Queue == "" {
				return next(ctx, intents...)
			}
			children := append([]core.Intent(nil), intents...)
			for i, in := range children {
				if child, err := in.With(core.Queue(parent.Queue)); err == nil && !in.Has(core.OptionQueue) {
					children[i] = child
				}
			}
			return next(ctx, children...)
		}
	}}),
	queue("later-attempts-are-short", AnyEnding, "cuts large payloads at 32 KiB in later attempts", bug{deliver: func(_ *job, d *worker.Delivery) {
		const most = 32 << 10
		if d.Attempt > 1 && len(d.Payload) > most {
			d.Payload = append(append([]byte(nil), d.Payload[:most-2]...), `"}`...)
		}
	}}),
}

// wornMutants do what they should until they have done it often.
var wornMutants = []Variant{
	queue("backoff-ends-after-31", "P25", "retries at once from the 32nd attempt on", bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Attempt > 31 {
			v.After = time.Nanosecond
		}
	}}),
	inPool("pool-keeps-a-thousand-keys", "M03", "forgets the oldest unique key when there have been a thousand later ones", 64, func() bug {
		var mu sync.Mutex
		kept := map[*store][]string{}
		return bug{admit: func(s *store, j *job) bool {
			key := s.bug.uniqueKey(j.in)
			if key == "" {
				return true
			}
			mu.Lock()
			defer mu.Unlock()
			if kept[s] = append(kept[s], key); len(kept[s]) > 1000 {
				delete(s.unique, kept[s][0])
				kept[s] = kept[s][1:]
			}
			return true
		}}
	}()),
}

// exits runs a delivery on a goroutine of its own, which a handler may end.
func exits(ctx context.Context, reg *worker.Registry, d worker.Delivery, exited func()) worker.Verdict {
	answer := make(chan worker.Verdict, 1)
	d.OwnGoroutine = true
	go func() {
		returned := false
		defer func() {
			if !returned {
				exited()
				answer <- d.Exited()
			}
		}()
		v := reg.Perform(ctx, d)
		returned = true
		answer <- v
	}()
	return <-answer
}

// observedMutants do what they should with each job, and observers do not see it so.
var observedMutants = []Variant{
	queue("exit-is-unobserved", "T04", "reports no run whose handler ends its goroutine", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		return exits(w.ctx, w.registry, d, func() {})
	}}),
	inPool("pool-expired-is-unobserved", "T04", "reports no job that it does not start because its deadline has passed", 64, bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		if !d.Deadline.IsZero() && !time.Now().Before(d.Deadline) {
			return worker.Verdict{Action: worker.Dead, Err: context.DeadlineExceeded}
		}
		return w.registry.Perform(w.ctx, d)
	}}),
	queue("parked-is-unobserved", "K12", "reports no job whose task has no handler", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		if !w.registry.Handles(d.Task) {
			return worker.Verdict{Action: worker.Parked, Err: core.NoHandlerError(d.Task)}
		}
		return w.registry.Perform(w.ctx, d)
	}}),
	queue("dead-is-observed-twice", "T04", "reports dead jobs once more", bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Dead {
			w.registry.Report(w.ctx, worker.Run{Delivery: d, Verdict: v})
		}
		return v
	}}),
	inline("inline-exit-is-observed-as-done", "T04", "reports a run whose handler ends its goroutine as done", inlineCaps(), func(_ core.Executor, reg *worker.Registry) core.Executor {
		return adapter.Each(inlineCaps(), func(ctx context.Context, in core.Intent) error {
			d := worker.FirstDelivery(&in)
			began := time.Now()
			v := exits(core.WithoutValues(ctx), reg, d, func() {
				reg.Report(ctx, worker.Run{Delivery: d, Took: time.Since(began)})
			})
			switch v.Action {
			case worker.Done:
				return nil
			case worker.Parked:
				return core.Combine([]core.Outcome{in.Outcome(core.Rejected, v.Err)})
			}
			return core.Combine([]core.Outcome{in.Outcome(core.Failed, v.Err)})
		})
	}),
}
