package conformance

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
)

// finding is a rule that the judgement at the end of every check can find broken.
type finding string

const (
	lostJobs     finding = "lost"
	phantomJobs  finding = "phantom"
	ranTwice     finding = "ran twice"
	overlapped   finding = "overlapped"
	contradicted finding = "contradicted"
	spilled      finding = "spilled"
	slotsLost    finding = "slots lost"
	altered      finding = "altered"
	misformed    finding = "misformed"
)

// waitingJob is an accepted job that no handler was called for.
type waitingJob struct {
	ref, queue string
	system     int
	at         time.Time
	deadline   time.Time
}

// waitingJobs lists the accepted jobs of the suite's own tasks that have not started,
// by ref, without those that need not start.
func waitingJobs(events []Event) []waitingJob {
	sent := map[string]waitingJob{}
	accepted, settled := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		switch e.Kind {
		case EventInvoke:
			if _, again := sent[e.Ref]; !again {
				w := waitingJob{ref: e.Ref, system: e.System}
				if o := e.Options; o != nil {
					w.queue, w.at, w.deadline = o.Queue, o.At, o.Deadline
				}
				sent[e.Ref] = w
			}
			settled[e.Ref] = settled[e.Ref] || e.Task != "" // runs of other tasks are not seen
		case EventOutcome:
			accepted[e.Ref] = accepted[e.Ref] || e.State == core.Accepted.String()
		case EventStart, EventLeft:
			settled[e.Ref] = true
		}
	}
	var list []waitingJob
	for _, ref := range slices.Sorted(maps.Keys(sent)) {
		if accepted[ref] && !settled[ref] {
			list = append(list, sent[ref])
		}
	}
	return list
}

// dueSoon is how far ahead a job's time may be for its run to be waited for.
const dueSoon = 5 * time.Second

// finishJobs waits, after a check has returned, until every accepted job has run
// that must run. It notes the others, with the reason why they need not.
func (p *probe) finishJobs() {
	close(p.released)
	patience := p.patience()
	for _, s := range p.all() {
		if s.setup.Faults && s.sys.Proxy != nil {
			s.endFaults()
		}
		patience = max(patience, s.patience()+s.caps.Options[core.OptionDelay].Granularity)
	}
	outstanding := func() int {
		return len(slices.DeleteFunc(waitingJobs(p.hist.all()), func(w waitingJob) bool { return p.mayWait(w) != "" }))
	}
	for last, since := outstanding(), time.Now(); last > 0 && time.Since(since) < patience+dueSoon; {
		p.sleep(max(patience/500, time.Millisecond))
		if n := outstanding(); n != last {
			last, since = n, time.Now()
		}
	}
	if p.bubble {
		p.sleep(p.settle()) // a second run would come in this time
	}
	for _, s := range p.all() {
		s.useAllSlots()
	}
	for _, w := range waitingJobs(p.hist.all()) {
		if reason := p.mayWait(w); reason != "" {
			p.hist.add(Event{Kind: EventLeft, System: w.system, Ref: w.ref, Text: reason})
		}
	}
}

// useAllSlots sends as many jobs as the worker has slots. Each returns when all run.
func (s *subject) useAllSlots() {
	p, n := s.p, s.sys.Slots
	if n == 0 {
		n = s.setup.Slots
	}
	if n == 0 || s.sys.Inline || s.life() != running || !s.serves("") || s.busy {
		return
	}
	for _, other := range p.all() { // whose worker might take some of them
		if other != s && other.life() == running && other.setup.Namespace == s.setup.Namespace && s.caps.Durability == core.DurabilityBroker {
			return
		}
	}
	var inside atomic.Int64
	all := make(chan struct{})
	jobs := make([]job, n)
	for i := range jobs {
		jobs[i] = s.make(func(r *run) error {
			if r.ordinal == 1 && inside.Add(1) == int64(n) {
				close(all)
			}
			select {
			case <-all:
			case <-p.decided:
			case <-r.ctx.Done():
			}
			return nil
		})
	}
	for _, o := range s.send(batch, jobs...) {
		if o.State != core.Accepted {
			return // the executor was closed, or its backend is gone
		}
	}
	timer := time.NewTimer(s.patience())
	defer timer.Stop()
	select {
	case <-all:
		s.awaitRuns(jobs)
	case <-timer.C:
		p.slotsLost = append(p.slotsLost, fmt.Sprintf("system %d with %d slots, of which %d work", s.system, n, inside.Load()))
		close(all)
	}
}

// mayBeLeft notes that the handler of a job need not be called, and why.
func (p *probe) mayBeLeft(j job, why string) {
	p.hist.add(Event{Kind: EventLeft, Ref: j.ref, Text: why})
}

// mayWait says why an accepted job need not have run when the check ends, or "" if it
// must have.
func (p *probe) mayWait(w waitingJob) string {
	all := p.all()
	own := all[slices.IndexFunc(all, func(s *subject) bool { return s.system == w.system })]
	now := time.Now()
	switch {
	case !w.deadline.IsZero() && now.After(w.deadline.Add(-p.patience())):
		return "its deadline is near or past"
	case w.at.After(now.Add(dueSoon)):
		return "it is due later"
	case own.sys.Inline:
		return ""
	}
	for _, s := range all {
		if s.setup.Namespace == own.setup.Namespace && s.life() == running && s.serves(w.queue) {
			return ""
		}
	}
	return "no worker runs that serves its queue"
}

// all returns the systems that the check has opened, in order.
func (p *probe) all() []*subject {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.opened)
}

// passing reports whether the check has found nothing wrong.
func (r *Result) passing() bool {
	return slices.Contains([]Verdict{Pass, RefusedAsDeclared, NotApplicable, NotRun, Inconclusive}, r.Verdict)
}

// fail turns a passing result into a failure.
func (r *Result) fail(k Kind, want, got string) {
	r.Verdict, r.Kind, r.Want, r.Got, r.Reason = Fail, k, want, got, ""
}

// judge judges the whole history of a check that has found nothing wrong. The caller
// holds p.mu.
func (p *probe) judge(found map[finding][]string) {
	found[spilled], found[slotsLost], found[altered], found[misformed] = p.secret.spills(), p.slotsLost, p.sent.found(), p.forms.found()
	for _, rule := range []struct {
		what finding
		want string
	}{
		{lostJobs, "every accepted job runs"},
		{phantomJobs, "nothing runs that was not sent, or was reported as rejected or not sent"},
		{ranTwice, "no job runs again after it has succeeded, unless a worker was disturbed"},
		{overlapped, "two runs of a job never overlap, unless a worker was disturbed"},
		{altered, "every run gets its job as it was sent: ID, task, queue, payload, headers, times and limits"},
		{misformed, "an error is a *DispatchError with one outcome for each intent, in order, whose errors and states agree, and stays so"},
		{contradicted, "the outcome of a job is what its run was"},
		{spilled, "no payload and no header value in an error or a line of the log"},
		{slotsLost, "when the check is over, the worker still runs as many jobs at a time as before"},
	} {
		jobs := found[rule.what]
		if len(jobs) == 0 || !p.result.passing() || rule.what == lostJobs && p.result.Verdict != Pass {
			continue
		}
		p.result.fail(Ending, rule.want, fmt.Sprintf("%d break this, first %s", len(jobs), jobs[0]))
	}
}
