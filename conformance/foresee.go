package conformance

import (
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// The names under which identities are kept.
func (pl *play) idOf(j *playedJob) string {
	if pl.caps.IDWindow.PerQueue {
		return j.job.in.Options.Queue + " " + j.job.in.ID
	}
	return j.job.in.ID
}

func (pl *play) keyOf(j *playedJob) string {
	if j.job.in.Options.Unique == "" || !pl.first.honours(core.OptionUnique) {
		return ""
	}
	return j.job.in.Options.Queue + " " + j.job.in.Options.Unique
}

// memory says whether an identity is taken.
type memory int

const (
	isFree memory = iota
	isTaken
	unsure // it is taken or released about now
)

// foresee returns the outcome of a job that is sent now, and whether it is certain.
// sofar has the jobs before it in the call.
func (pl *play) foresee(j *playedJob, sofar map[*playedJob]bool) (core.State, bool) {
	id, key := isFree, isFree
	if h := pl.byID[pl.idOf(j)]; h != nil && pl.caps.IDWindow.Kind != "" {
		id = pl.idTaken(h, sofar[h])
	}
	if h := pl.byKey[pl.keyOf(j)]; h != nil {
		key = pl.keyTaken(h)
	}
	switch {
	case key == isTaken, id == isTaken && j.job.in.ChosenID():
		return core.Duplicate, true
	case id == unsure || key == unsure || id == isTaken && j.plan.key > 0:
		return 0, false
	}
	return core.Accepted, true
}

// repeats reports whether a job that was accepted is certain to be remembered, so
// that sending it again makes no second one.
func (pl *play) repeats(j *playedJob) bool {
	return pl.byID[pl.idOf(j)] == j && pl.idTaken(j, false) == isTaken
}

// idTaken says whether the ID of an accepted job is remembered.
func (pl *play) idTaken(h *playedJob, sameCall bool) memory {
	w := pl.caps.IDWindow
	now := time.Now()
	soon := now.Add(pl.ahead + pl.margin)
	pr := pl.progress(h)
	done := !pr.finished.IsZero()
	switch {
	case w.Survives == core.SurvivalNone && len(pl.systems) > 1,
		w.Count > 0 && len(pl.jobs) > w.Count/2,
		pl.first.sys.Inline && sameCall:
		return unsure
	case done && pr.last.Action == worker.Dead && pl.first.sys.Inline:
		return isFree // the caller knows that it has failed, and sends it again
	case w.Kind == core.WindowFixed && (sameCall || soon.Before(h.sent.Add(w.For))):
		return isTaken
	case w.Kind == core.WindowFixed:
		if done && now.After(pr.finished.Add(w.For+pl.margin)) && now.After(h.taken.Add(w.For+pl.margin)) {
			return isFree
		}
		return unsure
	case !done:
		return pl.unfinished(h, pr)
	case pr.last.Action == worker.Dead:
		return unsure
	case w.Kind == core.WindowUnfinished:
		return pl.released(pr, now)
	case w.For == 0 || soon.Before(pr.finished.Add(w.For)):
		return isTaken
	}
	return unsure
}

// keyTaken says whether the unique key of an accepted job is held.
func (pl *play) keyTaken(h *playedJob) memory {
	pr := pl.progress(h)
	if pr.finished.IsZero() {
		return pl.unfinished(h, pr)
	}
	return pl.released(pr, time.Now())
}

// unfinished says whether a job that has not finished is sure to stay so for a while.
func (pl *play) unfinished(h *playedJob, pr progress) memory {
	now := time.Now()
	soon := now.Add(pl.ahead + pl.margin)
	if pr.doomed(soon) || pr.mayDie {
		return unsure
	}
	if pr.running {
		return pl.unfinishedAfter(h, pr, len(pr.runs), pr.began(), soon)
	}
	start := pr.due
	if start.Before(now) {
		start = now
	}
	return pl.unfinishedAfter(h, pr, len(pr.runs)+1, start, soon)
}

// unfinishedAfter says whether a job is sure not to finish before soon, if its run
// ordinal starts at a time. Nothing is as early as the model: a job may wait for a slot.
func (pl *play) unfinishedAfter(h *playedJob, pr progress, ordinal int, start, soon time.Time) memory {
	d := pl.delivery(h)
	for ; !start.After(soon); ordinal++ {
		d.Attempt = pr.attempt
		var end time.Time
		pr.last, end = pl.runAt(h, ordinal, start, d)
		if end.After(soon) {
			break
		}
		if pr.next(pl, end); !pr.finished.IsZero() || pr.mayDie {
			return unsure
		}
		if start = pr.due; start.IsZero() { // the backend's own schedule
			start = end
		}
	}
	return isTaken
}

// released says whether what a job had is free, since its end is long enough ago.
func (pl *play) released(pr progress, now time.Time) memory {
	if now.After(pr.finished.Add(pl.margin)) {
		return isFree
	}
	return unsure
}

// inlineOutcome is the outcome of a job that its call has run.
func (pl *play) inlineOutcome(j *playedJob, want []core.State, i int) core.State {
	for _, before := range want[:i] {
		if before == core.Failed || before == core.NotSent {
			return core.NotSent
		}
	}
	if want[i] != core.Accepted {
		return want[i]
	}
	if pr := pl.progress(j); pr.finished.IsZero() || pr.last.Action != worker.Done {
		return core.Failed
	}
	return core.Accepted
}
