package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// play is one run of a history, and what the model knows of it.
type play struct {
	p      *probe
	h      history
	begin  time.Time
	prefix string
	margin time.Duration // within which it is unsure what is first, a call or something else
	caps   core.Capabilities

	systems []*playedSystem // those that have started, in order
	first   *playedSystem   // the one that is replaced
	second  *playedSystem   // nil before it joins
	jobs    []*playedJob
	named   map[int]*playedJob
	byID    map[string]*playedJob // accepted last
	byKey   map[string]*playedJob
	ahead   time.Duration // how much later than now a job of a call may be looked at

	mu   sync.Mutex
	acts map[string][]answer // what the handlers have answered, by ref; guarded by mu

	wrong string // the first thing that was not as predicted
}

// playedSystem is a system and the time in which its worker runs jobs.
type playedSystem struct {
	*subject
	slots    int
	from, to time.Time // to is zero while it runs
	killed   bool
}

// playedJob is a job that was sent.
type playedJob struct {
	plan     *plannedJob
	job      job
	owner    *subject
	body     []byte
	sent     time.Time // when it was accepted: before and after the call
	taken    time.Time
	order    int // among all accepted jobs
	from, to int // which of the runs are its own; to is 0 for all further ones
	accepted bool
	adopted  bool // nobody knows when in its call it was accepted
}

// playAll runs histories, and returns of each what was not as predicted, "" if all was.
// Some run side by side, since they mostly wait.
func (p *probe) playAll(list []history, margin time.Duration) []string {
	found := make([]string, len(list))
	for from := 0; from < len(list); from += p.abreast() {
		chunk := list[from:min(len(list), from+p.abreast())]
		p.mu.Lock()
		before := len(p.cleanups)
		p.mu.Unlock()
		p.together(len(chunk), func(i int) { found[from+i] = p.play(chunk[i], margin) })
		p.cleanupTo(before)
	}
	return found
}

// abreast is how many histories run at a time.
func (p *probe) abreast() int {
	if p.bubble || p.h.Serial {
		return 1
	}
	return 4
}

// play runs a history in a new namespace. It returns what was not as predicted, "" if
// all was. Its systems are not closed.
func (p *probe) play(h history, margin time.Duration) string {
	pl := &play{p: p, h: h, margin: margin, named: map[int]*playedJob{}, byID: map[string]*playedJob{}, byKey: map[string]*playedJob{}, acts: map[string][]answer{}}
	pl.first = pl.open("")
	pl.caps = pl.first.caps
	pl.prefix = pl.first.setup.Namespace
	pl.begin = time.Now()
	for _, d := range h.deeds {
		if pl.wrong != "" {
			break
		}
		if ahead := time.Until(pl.begin.Add(d.at)); ahead > 0 {
			p.sleep(ahead)
		}
		pl.do(d)
	}
	if pl.wrong == "" {
		pl.finish()
	}
	pl.judge()
	for _, sys := range pl.systems {
		sys.busy = true // it is gone, and so are its slots
	}
	return pl.wrong
}

func (pl *play) failf(format string, args ...any) {
	if pl.wrong == "" {
		pl.wrong = fmt.Sprintf(format, args...)
	}
}

// open starts a system, in the namespace of the others.
func (pl *play) open(namespace string) *playedSystem {
	s := pl.p.open(Setup{Slots: pl.h.slots, Queues: []string{"", "left"}, Namespace: namespace})
	s.share()
	slots := pl.h.slots
	if s.sys.Slots > 0 {
		slots = s.sys.Slots
	}
	sys := &playedSystem{subject: s, slots: slots, from: time.Now()}
	pl.systems = append(pl.systems, sys)
	return sys
}

func (pl *play) do(d deed) {
	switch d.kind {
	case deedJoin:
		pl.second = pl.open(pl.prefix)
	case deedReplace:
		pl.first.to = time.Now()
		ctx, cancel := context.WithTimeout(pl.p.ctx, pl.stopTime())
		defer cancel()
		if err := pl.first.sys.Stop(ctx); err != nil {
			pl.failf("Stop, with enough time for all running jobs: %v", err)
		}
		pl.first = pl.open(pl.prefix)
	case deedCrash:
		pl.p.sleep(time.Millisecond + 7) // nothing else happens just then
		pl.p.hist.add(Event{Kind: EventFault, System: pl.first.system, State: "working", Text: "killed"})
		pl.first.to, pl.first.killed = time.Now(), true
		if err := pl.first.sys.Kill(); err != nil {
			pl.p.broken("harness: System.Kill: %v", err)
		}
		pl.first = pl.open(pl.prefix)
	case deedRefused, deedLate:
		pl.spoiled(d)
	default:
		pl.call(d)
	}
}

// handle is the handler of all jobs.
func (pl *play) handle(j *playedJob, r *run) error {
	a := j.plan.act(r.ordinal)
	answer := a.answer
	if a.lasts > 0 {
		heeded := r.ctx.Done()
		if !a.heeds {
			heeded = nil
		}
		timer := time.NewTimer(a.lasts)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-heeded:
			err := context.Cause(r.ctx)
			answer.name, answer.give = err.Error(), func(context.Context) error { return err }
		case <-pl.p.released:
		case <-pl.p.decided:
		}
	}
	pl.mu.Lock()
	ref := j.job.ref
	for len(pl.acts[ref]) < r.ordinal {
		pl.acts[ref] = append(pl.acts[ref], succeeds)
	}
	pl.acts[ref][r.ordinal-1] = answer
	pl.mu.Unlock()
	return answer.give(r.ctx)
}

// answered returns what a handler has answered in a run that has ended.
func (pl *play) answered(ref string, ordinal int) answer {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if list := pl.acts[ref]; ordinal <= len(list) {
		return list[ordinal-1]
	}
	return succeeds
}

// finish waits until every job has come to its end.
func (pl *play) finish() {
	step, most := pl.p.patience()/100, 150
	if pl.p.bubble {
		step, most = time.Hour, 1000
	}
	for range most {
		if pl.first.sys.Inline || !slices.ContainsFunc(pl.jobs, func(j *playedJob) bool { return !pl.progress(j).over(time.Now()) }) {
			break
		}
		pl.p.sleep(step)
	}
	pl.p.sleep(pl.p.settle()) // for runs that nobody expects
}

// delivery is the first delivery of a job as the model wants it.
func (pl *play) delivery(j *playedJob) worker.Delivery {
	o := j.job.in.Options
	d := worker.Delivery{Attempt: 1, MaxAttempts: o.MaxAttempts, Backoff: o.Backoff}
	if d.MaxAttempts == 0 {
		d.MaxAttempts = max(pl.caps.DefaultAttempts, 1)
	}
	return d
}
