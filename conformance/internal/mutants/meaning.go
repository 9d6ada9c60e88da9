package mutants

import (
	"errors"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// instead makes a bug that turns one verdict into another.
func instead(of func(d worker.Delivery, v *worker.Verdict) bool, change func(j *job, v *worker.Verdict)) bug {
	return bug{verdict: func(j *job, d worker.Delivery, v *worker.Verdict) {
		if of(d, v) {
			change(j, v)
		}
	}}
}

func buried(_ *job, v *worker.Verdict) { v.Action = worker.Dead }

func parkedTask(d worker.Delivery, v *worker.Verdict) bool {
	return v.Action == worker.Parked && d.EnvelopeErr == nil
}

func laterEnvelope(d worker.Delivery, v *worker.Verdict) bool { return d.EnvelopeErr != nil }

// unsetRanks gives jobs without a priority this rank.
func unsetRanks(rank int) bug {
	return bug{admit: func(_ *store, j *job) bool {
		if j.in.Options.Priority == 0 {
			j.rank = rank
		}
		return true
	}}
}

var meaningMutants = []Variant{
	queue("misfit-is-dead", "A15", "buries a job whose arguments do not fit the type here", instead(
		func(d worker.Delivery, v *worker.Verdict) bool {
			return v.Action == worker.Retry && d.Task == "conformance.misfit" && errors.Is(v.Err, core.ErrInvalid)
		}, buried)),
	queue("ids-per-queue", "I07", "remembers IDs per queue, and does not say so", bug{id: func(in core.Intent) string {
		if in.Options.Queue == "" || in.Options.Queue == "left" {
			return in.ID
		}
		return in.ID + " on " + in.Options.Queue
	}}).like("hibiken/asynq: task IDs are unique per queue"),
	queue("buries-unknown-tasks", "K12", "buries a task that it does not know", instead(parkedTask, buried)).
		like("River: a client without the task discards the job in its last attempt"),
	queue("parking-is-an-attempt", "K12", "counts an attempt for a task that it does not know", instead(parkedTask, func(j *job, _ *worker.Verdict) { j.attempt++ })),
	queue("buries-later-envelopes", "K13", "buries what a later release has stored", instead(laterEnvelope, buried)),
	queue("finishes-later-envelopes", "K13", "calls done what a later release has stored", instead(laterEnvelope, func(_ *job, v *worker.Verdict) { v.Action = worker.Done })),
	queue("timeout-runs-again", "P22", "takes a job away when its time is up, though its handler still runs", bug{
		perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
			if d.Timeout == 0 || d.MaxAttempts == 1 {
				return w.registry.Perform(w.ctx, d)
			}
			done := make(chan worker.Verdict, 1)
			go func() { done <- w.registry.Perform(w.ctx, d) }()
			timer := time.NewTimer(d.Timeout + time.Millisecond)
			defer timer.Stop()
			select {
			case v := <-done:
				return v
			case <-timer.C:
				return worker.Verdict{Action: worker.Retry, Err: errors.New("time is up")}
			}
		},
	}).like("hibiken/asynq: the processor gives up on a task at its deadline"),
	queue("late-is-failed", "P22", "calls an answer a failure that comes after its time", bug{
		perform: func(w *brokenWorker, d worker.Delivery) worker.Verdict {
			began := time.Now()
			v := w.registry.Perform(w.ctx, d)
			if d.Timeout > 0 && time.Since(began) > d.Timeout+time.Millisecond && d.Attempt < d.MaxAttempts {
				v.Action, v.After = worker.Retry, d.Backoff.Wait(d.Attempt)
			}
			return v
		},
	}),
	queue("unset-first", "P23", "runs jobs without a priority before all others", unsetRanks(10)).like("River: priority 1, its highest, is the default"),
	queue("unset-last", "P23", "runs jobs without a priority after all others", unsetRanks(1)),
	queue("crash-is-free", "F12", "counts no attempt that a crash has ended", bug{crashIsFree: true}).
		like("hibiken/asynq#1015, the other way round"),
	queue("crash-is-never-last", "F12", "runs a job again whose worker crashed in its last attempt", bug{crashIsNeverLast: true}),
	queue("four-attempts", "P21", "runs a job without max attempts four times, and declares it", bug{
		caps: func(c *core.Capabilities) { c.DefaultAttempts = 4 }, deliver: unsetIs(4),
	}).like("gocraft/work: JobOptions.MaxFails is 4"),
}
