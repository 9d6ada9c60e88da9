package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// progress is where a job is, as the model concludes from its runs so far. There is a
// step, a due time and a lateness for each run, also for runs that should not be.
type progress struct {
	runs     []run
	steps    []step
	dues     []time.Time // from when each run may start; zero if unknown
	late     []time.Duration
	attempt  int       // of the next run
	due      time.Time // of the next run; zero for the backend's own schedule
	most     time.Duration
	running  bool
	finished time.Time // zero if it has not finished
	last     worker.Verdict
	deadline time.Time
	mayDie   bool // its retry has no backoff of its own: that of the executor may lead beyond its deadline
}

// What a step has instead of an attempt if its run should not be.
const (
	afterTheEnd = -1 // the run before was the last
	overlapping = -2 // the run before has not ended
)

// over reports whether nothing more is expected of the job.
func (pr progress) over(now time.Time) bool {
	return !pr.finished.IsZero() || !pr.running && pr.doomed(now)
}

// began is when the run that is under way has started.
func (pr progress) began() time.Time {
	first := slices.IndexFunc(pr.steps, func(s step) bool { return s.attempt < 0 })
	if first < 0 {
		first = len(pr.steps)
	}
	return pr.runs[first-1].Began
}

// doomed reports whether the deadline of the job is past, so that it may be dead.
func (pr progress) doomed(now time.Time) bool {
	return !pr.deadline.IsZero() && !now.Before(pr.deadline)
}

// progress follows a job through its runs.
func (pl *play) progress(j *playedJob) progress {
	d := pl.delivery(j)
	o := j.job.in.Options
	pr := progress{attempt: 1, due: j.sent, most: pl.p.slack(), deadline: o.Deadline}
	if !o.At.IsZero() {
		latest := o.At.Add(pl.lateness(core.OptionDelay))
		if o.At.After(pr.due) {
			pr.due = o.At
		}
		pr.most = max(pr.most, latest.Sub(pr.due))
	}
	pr.runs = pl.runsOf(j)
	for _, r := range pr.runs {
		if pr.running || !pr.finished.IsZero() {
			st := step{attempt: afterTheEnd, before: pr.last}
			if pr.running {
				st.attempt = overlapping
			}
			pr.dues, pr.late = append(pr.dues, time.Time{}), append(pr.late, 0)
			pr.steps = append(pr.steps, st)
			continue
		}
		pr.steps = append(pr.steps, step{attempt: pr.attempt, before: pr.last})
		pr.dues, pr.late = append(pr.dues, pr.due), append(pr.late, pr.most)
		d.Attempt = pr.attempt
		pr.mayDie = false // it runs
		var at time.Time
		pr.last, at = pl.verdict(j, r, d)
		if pr.running = at.IsZero(); !pr.running {
			pr.next(pl, at)
		}
	}
	if pl.first.sys.Inline && !j.taken.IsZero() && pr.finished.IsZero() { // its call did not run it to its end
		pr.last, pr.running, pr.finished = worker.Verdict{Action: worker.Dead}, false, j.taken
	}
	return pr
}

// next is what follows from the verdict of a run that ended at a time.
func (pr *progress) next(pl *play, at time.Time) {
	pr.due, pr.mayDie = at.Add(pr.last.After), false
	switch pr.last.Action {
	case worker.Retry:
		pr.attempt++
		switch pr.most = pl.lateness(core.OptionBackoff); {
		case pr.last.Err == errCrashed:
			pr.most = pl.p.recoverWithin() + pl.p.slack()
		case pr.last.After == 0:
			pr.due, pr.mayDie = time.Time{}, !pr.deadline.IsZero()
		}
	case worker.Snoozed:
		pr.most = pl.lateness(core.OptionDelay)
		if !pl.first.honours(core.OptionDelay) {
			pr.most += pl.p.retryWithin()
		}
	default:
		pr.finished = at
	}
	if pr.doomed(pr.due) && pr.finished.IsZero() && !pr.due.IsZero() && pr.last.Err != errCrashed {
		pr.last.Action, pr.finished = worker.Dead, at
	}
}

var errCrashed = fmt.Errorf("the worker was killed")

// verdict is what becomes of a job after a run, and when the run ended for the
// worker. The time is zero while it runs.
func (pl *play) verdict(j *playedJob, r run, d worker.Delivery) (worker.Verdict, time.Time) {
	for _, sys := range pl.systems {
		if sys.system == r.by && sys.killed && (r.Ended.IsZero() || !r.Ended.Before(sys.to)) {
			v := worker.Verdict{Action: worker.Retry, Err: errCrashed}
			if d.Attempt >= d.MaxAttempts {
				v.Action = worker.Dead
			}
			return v, sys.to
		}
	}
	if r.Ended.IsZero() {
		return worker.Verdict{}, time.Time{}
	}
	return pl.verdictOf(pl.answered(r.Ref, r.ordinal), d), r.Ended
}

// verdictOf is what becomes of a job whose handler ends with an answer.
func (pl *play) verdictOf(a answer, d worker.Delivery) worker.Verdict {
	v := a.verdictOf(d)
	if v.Action == worker.Snoozed && pl.first.sys.Inline {
		v.Action = worker.Dead // there is no later run
	}
	return v
}

// lateness is how much later than due a run may start because of an option's
// granularity and a busy machine.
func (pl *play) lateness(name core.OptionName) time.Duration {
	return pl.caps.Options[name].Granularity + pl.p.slack() + pl.p.h.Skew
}

// runAt is the verdict of a run that starts at a time, and its earliest end.
func (pl *play) runAt(h *playedJob, ordinal int, start time.Time, d worker.Delivery) (worker.Verdict, time.Time) {
	a := h.plan.act(ordinal)
	if t := h.plan.timeout; a.heeds && t > 0 && t < a.lasts {
		return pl.verdictOf(fails, d), start.Add(t)
	}
	return pl.verdictOf(a.answer, d), start.Add(a.lasts)
}
