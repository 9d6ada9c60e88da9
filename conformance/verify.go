package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
)

// judge compares all runs with the model.
func (pl *play) judge() {
	for _, j := range pl.jobs {
		pl.judgeJob(j)
	}
	if pl.wrong == "" {
		pl.judgeOrder()
	}
	for _, j := range pl.named {
		if !j.accepted && len(pl.runsOf(j)) > 0 {
			pl.failf("job %d runs, though it was not accepted", j.plan.name)
		}
	}
}

func (pl *play) judgeJob(j *playedJob) {
	pr := pl.progress(j)
	runs := pr.runs
	wrong := func(want, format string, args ...any) {
		pl.failf("job %d: %s: %s\n%s", j.plan.name, want, fmt.Sprintf(format, args...), pl.listRuns(runs))
	}
	for i, r := range runs {
		st := pr.steps[i]
		switch due := pr.dues[i]; {
		case st.attempt == overlapping:
			wrong("a run begins after the one before has ended", "run %d does not", i+1)
		case st.attempt == afterTheEnd:
			wrong(fmt.Sprintf("no further run after %v", st.before.Action), "there is run %d", i+1)
		case r.Job.Attempt != st.attempt:
			wrong(fmt.Sprintf("run %d is attempt %d", i+1, st.attempt), "attempt %d", r.Job.Attempt)
		case due.Sub(r.Began) > pl.p.h.Skew:
			wrong(fmt.Sprintf("run %d is due %v after the beginning", i+1, due.Sub(pl.begin)), "it starts %v early", due.Sub(r.Began))
		case !pr.deadline.IsZero() && r.Began.Sub(pr.deadline) > pl.p.h.Skew+pl.caps.Options[core.OptionDeadline].Granularity:
			wrong("no run after the deadline", "run %d starts %v after it", i+1, r.Began.Sub(pr.deadline))
		default:
			if what := pl.different(j, r); what != "" {
				wrong("every run has the job as it was sent", "run %d: %s", i+1, what)
			}
			pl.judgeLate(j, fmt.Sprint("run ", i+1), due, r.Began, pr.late[i], runs)
		}
	}
	now := time.Now()
	if pl.wrong != "" || !pr.finished.IsZero() || pr.running {
		return
	}
	until := now
	if pr.doomed(now) {
		until = pr.deadline
	}
	switch {
	case pl.first.sys.Inline: // its outcome says that it did not run
	case pr.due.IsZero() && !pr.doomed(now):
		wrong(fmt.Sprintf("a further run, attempt %d", pr.attempt), "there is none")
	case !pr.due.IsZero():
		pl.judgeLate(j, fmt.Sprintf("run %d, which does not start", len(runs)+1), pr.due, until, pr.most, runs)
	}
}

// different says in what a run differs from the job that was sent.
func (pl *play) different(j *playedJob, r run) string {
	in := j.job.in
	o := in.Options
	end, limited := r.ctx.Deadline()
	want := time.Time{}
	if o.Timeout > 0 {
		want = r.Began.Add(o.Timeout)
	}
	if !o.Deadline.IsZero() && (want.IsZero() || o.Deadline.Before(want)) {
		want = o.Deadline
	}
	slack := pl.p.slack() + pl.p.h.Skew + max(pl.caps.Options[core.OptionTimeout].Granularity, pl.caps.Options[core.OptionDeadline].Granularity)
	switch {
	case !pl.p.samePayload(j.body, r.Body):
		return fmt.Sprintf("the body is %s", show(r.Body))
	case r.Job.ID != in.ID && (pl.first.honours(core.OptionID) || !in.ChosenID() && pl.caps.IDWindow.Kind != ""):
		return fmt.Sprintf("the ID is %q", r.Job.ID)
	case o.Queue != "" && r.Job.Queue != o.Queue:
		return fmt.Sprintf("the queue is %q", r.Job.Queue)
	case o.MaxAttempts > 0 && r.Job.MaxAttempts != o.MaxAttempts:
		return fmt.Sprintf("max attempts are %d", r.Job.MaxAttempts)
	case limited && want.IsZero() && !pl.first.sys.Inline:
		return fmt.Sprintf("its context ends after %v", end.Sub(r.Began))
	case !limited && !want.IsZero():
		return "its context does not end"
	case limited && !want.IsZero() && (end.Sub(want) > slack || want.Sub(end) > slack):
		return fmt.Sprintf("its context ends after %v", end.Sub(r.Began))
	}
	for k, v := range in.Headers().All() {
		if !r.Job.Headers.Has(k) || r.Job.Headers.Get(k) != v {
			return fmt.Sprintf("header %s is %q", k, r.Job.Headers.Get(k))
		}
	}
	return ""
}

// judgeLate wants a job to have waited only while all slots were in use.
func (pl *play) judgeLate(j *playedJob, what string, due, start time.Time, most time.Duration, runs []run) {
	if due.IsZero() || pl.first.sys.Inline {
		return
	}
	if due.Before(j.taken) { // its call may have taken a while
		due = j.taken
	}
	if start.Sub(due) <= most {
		return
	}
	if idle, at := pl.longestIdle(due, start); idle > most {
		pl.failf("job %d: %s starts at most %v after it is due and a slot is free: a slot is free for %v, from %v after the beginning\n%s",
			j.plan.name, what, most, idle, at.Sub(pl.begin), pl.listRuns(runs))
	}
}

// longestIdle returns the longest time between two times in which a worker had a free
// slot.
func (pl *play) longestIdle(from, to time.Time) (longest time.Duration, at time.Time) {
	type change struct {
		at   time.Time
		free int
	}
	var changes []change
	add := func(a, b time.Time, n int) {
		if a.Before(from) {
			a = from
		}
		if b.IsZero() || b.After(to) {
			b = to
		}
		if a.Before(b) {
			changes = append(changes, change{a, n}, change{b, -n})
		}
	}
	end := map[int]time.Time{}
	for _, sys := range pl.systems {
		add(sys.from, sys.to, sys.slots)
		end[sys.system] = sys.to
	}
	for _, j := range pl.jobs {
		for _, r := range pl.runsOf(j) {
			ended := r.Ended
			if to := end[r.by]; !to.IsZero() && (ended.IsZero() || ended.After(to)) {
				ended = to // the slots of a worker that stops are not counted any more
			}
			add(r.Began, ended, -1)
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.free, b.free))
	})
	free := 0
	since := from
	for i, c := range changes {
		was := free > 0
		free += c.free
		if i+1 < len(changes) && changes[i+1].at.Equal(c.at) {
			continue
		}
		switch is := free > 0; {
		case was && c.at.Sub(since) > longest:
			longest, at = c.at.Sub(since), since
			if !is {
				continue
			}
		case !was && is:
			since = c.at
		}
	}
	return longest, at
}

// started is a run of a job with what its order depends on.
type started struct {
	job   *playedJob
	run   run
	first bool
	due   time.Time
	late  time.Duration
}

// judgeOrder compares the order of the starts in a worker that runs one job at a
// time.
func (pl *play) judgeOrder() {
	if pl.h.slots != 1 || len(pl.systems) != 1 || pl.first.slots != 1 || pl.first.sys.Inline {
		return
	}
	var all []started
	for _, j := range pl.jobs {
		pr := pl.progress(j)
		for i, r := range pr.runs {
			due := pr.dues[i]
			if i == 0 && due.Before(j.taken) {
				due = j.taken
			}
			all = append(all, started{j, r, i == 0, due, pr.late[i]})
		}
	}
	for _, a := range all {
		for _, b := range all {
			if a.job.plan.queue == b.job.plan.queue && a.job != b.job {
				pl.judgePair(a, b)
			}
		}
	}
}

func rankOf(j *playedJob) int {
	if p := j.plan.priority; p > 0 {
		return p
	}
	return 5
}

// judgePair wants a to start before b if it was ready then and ranks before it.
func (pl *play) judgePair(a, b started) {
	if a.due.IsZero() || !a.run.Began.After(b.run.Began) || !b.run.Began.After(a.due.Add(a.late)) && !pl.sentBefore(a, b) {
		return
	}
	if a.due.Add(a.late).After(b.run.Began) && !(a.job.plan.delay == 0 && a.first) {
		return
	}
	ra, rb := rankOf(a.job), rankOf(b.job)
	strict := pl.caps.Ranking == core.RankingStrict && (pl.caps.PriorityLevels == 10 || ra == 10 && rb == 1)
	switch {
	case !pl.first.honours(core.OptionPriority) || pl.caps.Ranking == "":
		strict, ra, rb = false, 0, 0
	}
	switch {
	case strict && ra > rb && b.run.Began.After(a.due.Add(a.late)):
		pl.failf("job %d of priority %d, which waits, starts before job %d of priority %d:\n%s%s", a.job.plan.name, ra, b.job.plan.name, rb,
			pl.listRuns([]run{a.run}), pl.listRuns([]run{b.run}))
	case ra == rb && pl.caps.Order == core.OrderFIFO && pl.sentBefore(a, b):
		pl.failf("job %d, which was sent earlier, starts before job %d:\n%s%s", a.job.plan.name, b.job.plan.name,
			pl.listRuns([]run{a.run}), pl.listRuns([]run{b.run}))
	}
}

// sentBefore reports whether both are first runs of jobs without a delay, in the
// order in which they were sent.
func (pl *play) sentBefore(a, b started) bool {
	plain := func(s started) bool { return s.first && s.job.plan.delay == 0 && !s.job.adopted }
	return plain(a) && plain(b) && a.job.order < b.job.order
}

func (pl *play) listRuns(runs []run) string {
	text := ""
	for _, r := range runs {
		text += fmt.Sprintf("  run %d in system %d, attempt %d, from %v", r.ordinal, r.by, r.Job.Attempt, r.Began.Sub(pl.begin))
		if r.Ended.IsZero() {
			text += ", has not ended\n"
		} else {
			text += fmt.Sprintf(" to %v: %v\n", r.Ended.Sub(pl.begin), r.Err)
		}
	}
	return text
}
