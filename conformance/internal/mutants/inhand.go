package mutants

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/conformance"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// caller is an executor that makes all attempts of a job while its caller waits, and
// remembers the IDs of jobs that have succeeded. Its bugs are functions that change
// one thing; nil ones change nothing.
type caller struct {
	deliver func(d *worker.Delivery)
	verdict func(d *worker.Delivery, v *worker.Verdict)
	context func(context.Context) context.Context
	wait    func(time.Duration) time.Duration
	answer  func(state core.State, err error) (core.State, error)
	goesOn  bool // after a failure
	failed  bool // IDs of failed jobs are remembered too
	forgets bool // IDs of jobs that took more than one attempt are not
}

func callerCaps() core.Capabilities {
	caps := inlineCaps()
	caps.Executor = "caller"
	caps.IDWindow = core.Window{Kind: core.WindowStored}
	for _, n := range []core.OptionName{core.OptionMaxAttempts, core.OptionBackoff} {
		caps.Options[n] = core.Claim{Support: core.SupportNative}
	}
	return caps
}

// harness returns the harness of the executor.
func (c caller) harness() conformance.Harness {
	return conformance.Harness{
		Subject: conformance.Subject{Module: "caller"}, InBubble: true,
		New: func(_ conformance.T, s conformance.Setup) conformance.System {
			caps := callerCaps()
			var mu sync.Mutex
			known := map[string]bool{}
			exec := adapter.GuardHandlers(caps, s.Registry, func(ctx context.Context, intents ...core.Intent) error {
				out := core.Outcomes(intents, core.NotSent, core.ErrEarlierFailed)
				for i := range intents {
					in := &intents[i]
					if ctx.Err() != nil {
						for k := i; k < len(out); k++ {
							out[k].Err = core.ContextError(ctx)
						}
						break
					}
					mu.Lock()
					seen := known[in.ID]
					known[in.ID] = true
					mu.Unlock()
					switch {
					case seen && in.ChosenID():
						out[i].State, out[i].Err = core.Duplicate, core.ErrDuplicate
					case seen:
						out[i].State, out[i].Err = core.Accepted, nil
					default:
						var attempts int
						out[i].State, attempts, out[i].Err = c.run(ctx, s.Registry, in)
						if out[i].State != core.Accepted && !c.failed || c.forgets && attempts > 1 {
							mu.Lock()
							delete(known, in.ID)
							mu.Unlock()
						}
					}
					if out[i].State == core.Failed && !c.goesOn {
						break
					}
				}
				return core.Combine(out)
			})
			return conformance.System{Exec: exec, Caps: caps, Inline: true}
		},
	}
}

// run makes the attempts of one job.
func (c caller) run(ctx context.Context, reg *worker.Registry, in *core.Intent) (state core.State, attempts int, err error) {
	d := worker.FirstDelivery(in)
	d.MaxAttempts = max(d.MaxAttempts, 1)
	jobCtx := core.WithoutValues(ctx)
	if c.context != nil {
		jobCtx = c.context(jobCtx)
	}
	for ; ; d.Attempt++ {
		shown := d
		if c.deliver != nil {
			c.deliver(&shown)
		}
		v := reg.Perform(jobCtx, shown)
		if c.verdict != nil {
			c.verdict(&d, &v)
		}
		if v.Action == worker.Retry && d.Attempt >= d.MaxAttempts {
			v.Action = worker.Dead // whatever was shown to Perform: a bug must not run without end
		}
		state, err := core.Failed, v.Err
		switch v.Action {
		case worker.Done:
			state, err = core.Accepted, nil
		case worker.Retry:
			pause := v.After
			if c.wait != nil {
				pause = c.wait(pause)
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
			}
		}
		if ctx.Err() != nil && state == core.Failed && !errors.Is(err, ctx.Err()) {
			err = errors.Join(core.ContextError(ctx), err)
		}
		if c.answer != nil {
			state, err = c.answer(state, err)
		}
		return state, d.Attempt, err
	}
}

func called(name, target, breaks string, c caller) Variant {
	return Variant{Name: name, Target: target, Breaks: breaks, Harness: c.harness}
}

// callerMutants go wrong in an executor that runs jobs in its caller's goroutine.
var callerMutants = []Variant{
	called("caller", "", "makes all attempts while its caller waits", caller{}),
	called("caller-remembers-failed", "M01", "remembers the ID of a failed job, and so says accepted when it is sent again, and does not run it", caller{failed: true}),
	called("caller-forgets-retried", "M01", "forgets the ID of a job that needed two attempts", caller{forgets: true}),
	called("caller-goes-on", "M01", "runs the jobs after one that has failed", caller{goesOn: true}),
	called("caller-does-not-wait", "M02", "does not wait between attempts", caller{wait: func(time.Duration) time.Duration { return 0 }}),
	called("caller-waits-a-second", "M01", "waits at most a second between attempts", caller{wait: func(d time.Duration) time.Duration { return min(d, time.Second) }}),
	called("caller-retries-permanent", "M02", "tries a job again that has failed permanently", caller{verdict: func(d *worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Dead && worker.IsPermanent(v.Err) && d.Attempt < d.MaxAttempts {
			v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
		}
	}}),
	called("caller-snooze-succeeds", "M02", "says accepted of a job that snoozes", caller{verdict: func(_ *worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed {
			v.Action = worker.Done
		}
	}}),
	called("caller-goexit-succeeds", "M02", "says accepted of a job that ends its goroutine", caller{verdict: func(_ *worker.Delivery, v *worker.Verdict) {
		if v.Err != nil && strings.Contains(v.Err.Error(), "Goexit") {
			v.Action = worker.Done
		}
	}}),
	called("caller-canceled-succeeds", "M05", "says accepted of a job that its context has ended", caller{answer: func(state core.State, err error) (core.State, error) {
		if err != nil && err.Error() == context.Canceled.Error() {
			return core.Accepted, nil
		}
		return state, err
	}}),
	called("caller-always-first", "M02", "shows handlers every attempt as the first", caller{deliver: func(d *worker.Delivery) { d.Attempt = 1 }}),
	called("caller-last-attempt-missing", "M02", "makes one attempt less than the job has, if it has many", caller{verdict: func(d *worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Retry && d.Attempt == d.MaxAttempts-1 && d.Attempt > 1 {
			v.Action = worker.Dead
		}
	}}),
	called("caller-loses-headers", "M01", "shows the headers only to the first attempt", caller{deliver: func(d *worker.Delivery) {
		if d.Attempt > 1 {
			d.Headers = core.NewHeaders(nil)
		}
	}}),
	called("caller-shields-from-contexts", "M05", "keeps the end of the caller's context from handlers", caller{context: context.WithoutCancel}),
	called("caller-hides-own-contexts", "M05", "does not notice the end of a context of the caller's own type", caller{context: func(ctx context.Context) context.Context {
		if _, timed := ctx.Deadline(); timed {
			return ctx
		}
		own := context.WithoutCancel(ctx)
		if strings.Contains(typeOf(ctx), "valueless") && ctx.Done() != nil && context.Cause(ctx) == ctx.Err() {
			return own
		}
		return ctx
	}}),
	called("caller-timeout-for-all", "M01", "gives a job's timeout to all its attempts together", caller{deliver: func(d *worker.Delivery) {
		if d.Timeout > 0 {
			d.Timeout = max(d.Timeout/time.Duration(d.Attempt), 1)
		}
	}}),
	called("caller-hides-the-error", "M02", "does not return the last error of a job that had more than one attempt", caller{verdict: func(d *worker.Delivery, v *worker.Verdict) {
		if d.Attempt > 1 && v.Err != nil {
			v.Err = errors.New("the job has failed")
		}
	}}),
	called("caller-ignores-deadline", "M01", "tries a job again after its deadline", caller{
		deliver: func(d *worker.Delivery) {
			if d.Attempt > 1 {
				d.Deadline = time.Time{}
			}
		},
		verdict: func(d *worker.Delivery, v *worker.Verdict) {
			if v.Action == worker.Dead && !d.Deadline.IsZero() && !worker.IsPermanent(v.Err) && d.Attempt < d.MaxAttempts {
				v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
			}
		},
	}),
}

// inPool is a variant of a bounded pool.
func inPool(name, target, breaks string, room int, b bug) Variant {
	pool := boundedPool(room, nil)
	caps, sys, inner := pool.caps, pool.system, pool.inner
	merged := b
	merged.fetchAfterStop, merged.caps, merged.system = true, caps, sys
	merged.inner = func(next core.Executor, s *system) core.Executor {
		if b.inner != nil {
			next = b.inner(next, s)
		}
		return inner(next, s)
	}
	return queue(name, target, breaks, merged)
}

// poolMutants go wrong in a pool of this process.
var poolMutants = []Variant{
	inPool("pool-sleeps-in-its-slot", "M01", "keeps a slot for a job that waits for its next attempt", 64, bug{perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
		v := w.registry.Perform(w.ctx, d)
		if v.Action == worker.Retry && v.After > 0 {
			timer := time.NewTimer(v.After)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-w.ctx.Done():
			}
			v.After = time.Nanosecond
		}
		return v
	}}),
	inPool("pool-drops-retries-when-full", "M01", "drops a job that is to be tried again if more than eight others wait", 64, bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if s := j.holder.store; v.Action == worker.Retry && len(s.ready)+len(s.later) > 8 {
			v.Action = worker.Dead
		}
	}}),
	inPool("pool-key-until-due", "M01", "releases the unique key of a delayed job when it starts", 64, bug{early: func(w *brokenWorker, j *job) {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		if !j.in.Options.At.IsZero() {
			w.store.release(j)
		}
	}}),
	inPool("pool-snooze-is-short", "M01", "wakes a snoozing job when the next job is due", 64, bug{verdict: func(j *job, _ worker.Delivery, v *worker.Verdict) {
		if s := j.holder.store; v.Action == worker.Snoozed && len(s.later) > 0 {
			v.After = min(v.After, max(time.Until(s.later[0].at), 1))
		}
	}}),
	inPool("pool-forgets-id-when-tried-again", "M03", "forgets an ID when an attempt fails", 64, after(worker.Retry, func(s *store, j *job, _ worker.Delivery, _ *worker.Verdict) {
		delete(s.ids, j.in.ID)
	})),
	inPool("pool-last-snooze-is-dead", "M02", "buries a job that snoozes in its last attempt", 64, bug{verdict: func(_ *job, d worker.Delivery, v *worker.Verdict) {
		if v.Action == worker.Snoozed && d.Attempt == d.MaxAttempts {
			v.Action = worker.Dead
		}
	}}),
	inPool("pool-delayed-overtake", "M01", "starts a job that was delayed before those that have waited longer with a higher priority", 64, bug{order: func(a, b *job) int {
		if da, db := !a.in.Options.At.IsZero(), !b.in.Options.At.IsZero(); da != db {
			if da {
				return -1
			}
			return 1
		}
		return byRank(a, b)
	}}),
}
