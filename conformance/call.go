package conformance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// spoiled makes a call of which nothing may be sent, and which leaves no trace.
func (pl *play) spoiled(d deed) {
	sys := pl.first
	var jobs []job
	for _, plan := range d.jobs {
		if j := pl.prepare(sys.subject, plan); j != nil {
			jobs = append(jobs, j.job)
		}
	}
	if len(jobs) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(pl.p.ctx)
	defer cancel()
	if d.kind == deedLate {
		cancel()
	} else {
		jobs = append(jobs, sys.make(nil, core.NativeOption("conformance-stranger", 1)))
	}
	outs, _ := sys.dispatch(ctx, jobs...)
	for i, o := range outs {
		want := core.NotSent
		if d.kind == deedRefused && i == len(outs)-1 {
			want = core.Rejected
		}
		if o.State != want {
			pl.failf("after %v a call of which nothing may be sent: %v: it is %v: %v", d.at, want, o.State, o.Err)
		}
	}
}

// stopTime is how long a worker may take to stop: longer than any run.
func (pl *play) stopTime() time.Duration {
	if pl.p.bubble {
		return 10 * time.Hour
	}
	return 2 * pl.p.patience()
}

// call makes a call of the executor, without the jobs whose outcome cannot be
// predicted.
func (pl *play) call(d deed) {
	sys := pl.first
	if d.second && pl.second != nil {
		sys = pl.second
	}
	var jobs []*playedJob
	var want []core.State
	sofar := map[*playedJob]bool{} // accepted in this call
	pl.ahead = 0
	for _, plan := range d.jobs {
		j := pl.prepare(sys.subject, plan)
		if j == nil {
			continue
		}
		state, certain := pl.foresee(j, sofar)
		again := j.accepted && state != core.Duplicate
		if again && sys.sys.Inline && !sofar[j] && pl.progress(j).last.Action == worker.Dead && pl.idTaken(j, false) == isFree {
			j, again = pl.renew(j), false
		}
		if !certain || again && (j.sent.IsZero() || !pl.repeats(j)) {
			continue
		}
		if state == core.Accepted && !j.accepted {
			pl.hold(j)
			sofar[j] = true
			pl.ahead += pl.lasts(j)
		}
		jobs, want = append(jobs, j), append(want, state)
	}
	if len(jobs) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(pl.p.ctx)
	defer cancel()
	sent := make([]job, len(jobs))
	now := time.Now()
	for i, j := range jobs {
		sent[i] = j.job
		if sofar[j] && j.sent.IsZero() {
			j.sent = now
		}
	}
	outs, err := sys.dispatch(ctx, sent...)
	if d.gone {
		cancel()
	}
	for i, j := range jobs {
		if sofar[j] && j.taken.IsZero() {
			j.taken = time.Now()
		}
		if sys.sys.Inline {
			if want[i] = pl.inlineOutcome(j, want, i); want[i] == core.NotSent && sofar[j] {
				pl.release(j)
			}
		}
		if outs[i].State != want[i] && !pl.adopt(j, now, want[i], outs[i].State) {
			pl.failf("after %v the outcome of job %d is %v, as the model predicts: it is %v: %v", d.at, j.plan.name, want[i], outs[i].State, outs[i].Err)
		}
	}
	if (err == nil) != !slices.ContainsFunc(outs, func(o core.Outcome) bool { return o.State != core.Accepted }) {
		pl.failf("after %v the call's error is nil if and only if all outcomes are accepted: %v", d.at, err)
	}
}

// prepare makes the job of a plan, or finds the one that is sent again. It returns
// nil if there is none.
func (pl *play) prepare(s *subject, plan *plannedJob) *playedJob {
	if plan.again > 0 {
		return pl.named[plan.again]
	}
	j := &playedJob{plan: plan, owner: s, body: sized(fmt.Sprint("body ", plan.name), plan.body+40)}
	opts := plan.options(pl.prefix)
	if s.excludes(opts...) {
		return nil
	}
	j.job = s.makeBody(func(r *run) error { return pl.handle(j, r) }, j.body, opts...)
	pl.named[plan.name] = j
	return j
}

// hold notes that a job is accepted.
func (pl *play) hold(j *playedJob) {
	j.accepted = true
	j.order = len(pl.jobs)
	pl.jobs = append(pl.jobs, j)
	pl.byID[pl.idOf(j)] = j
	if k := pl.keyOf(j); k != "" {
		pl.byKey[k] = j
	}
}

// adopt accepts that a job is no duplicate after all, since its call has waited for
// room until the job before it had ended. It returns false if that cannot be.
func (pl *play) adopt(j *playedJob, sent time.Time, want, got core.State) bool {
	pl.ahead = 0
	if want != core.Duplicate || got != core.Accepted || j.accepted || time.Since(sent) <= pl.margin {
		return false
	}
	if state, certain := pl.foresee(j, nil); certain && state == core.Duplicate {
		return false
	}
	pl.hold(j)
	j.sent, j.taken, j.adopted = sent, time.Now(), true
	return true
}

// lasts is how long a job keeps the call that runs it.
func (pl *play) lasts(j *playedJob) time.Duration {
	if !pl.first.sys.Inline {
		return 0
	}
	const unknown = 1000 * time.Hour // there are waits that the executor chooses
	now := time.Now()
	at, d, pr := now, pl.delivery(j), pl.progress(j)
	for ordinal := j.from + 1; pr.finished.IsZero(); ordinal++ {
		d.Attempt = pr.attempt
		pr.last, at = pl.runAt(j, ordinal, at, d)
		if pr.next(pl, at); pr.due.IsZero() {
			return unknown
		}
		at = pr.due
	}
	return pr.finished.Sub(now)
}

// renew returns a job for the same intent, whose first job has failed in its call.
func (pl *play) renew(j *playedJob) *playedJob {
	again := &playedJob{plan: j.plan, job: j.job, owner: j.owner, body: j.body}
	j.to = j.owner.count(j.job.ref)
	again.from = j.to
	pl.named[j.plan.name] = again
	return again
}

// runsOf returns the runs of a job.
func (pl *play) runsOf(j *playedJob) []run {
	runs := j.owner.runsOf(j.job.ref)
	if j.to > 0 {
		runs = runs[:j.to]
	}
	return runs[j.from:]
}

// release takes back hold, for a job that was not sent after all.
func (pl *play) release(j *playedJob) {
	j.accepted = false
	j.sent, j.taken = time.Time{}, time.Time{}
	pl.jobs = slices.DeleteFunc(pl.jobs, func(other *playedJob) bool { return other == j })
	if pl.byID[pl.idOf(j)] == j {
		delete(pl.byID, pl.idOf(j))
	}
	if k := pl.keyOf(j); pl.byKey[k] == j {
		delete(pl.byKey, k)
	}
}
