package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var windowChecks = []check{
	{id: "I08", level: Options, run: idWindow, limit: 2 * time.Minute,
		title: "an ID is remembered for as long as its window says, and no longer, whatever its job does",
		why:   "a sender that comes back within the window must make no second job, and one that comes later must make one"},
}

// windowed is a job whose ID is sent again during the window and after it.
type windowed struct {
	what   string
	chosen bool
	job    job
	done   bool // the job has ended when the window begins
	held   bool // the job is stored for longer than the window lasts
	late   bool // it was sent again about when the window ended, and may have become a second job
	freed  bool // the ID must become free after the window, and has not
}

// idWindow sends the same IDs again at some moments within a short window and after
// it. A fixed window begins with the dispatch. A stored one begins when the job has
// ended, and an ID is never forgotten before.
func idWindow(p *probe) {
	const wanted = 2 * time.Second
	s := p.open(Setup{Slots: 16, IDWindow: wanted})
	s.need(core.OptionID)
	w := s.caps.IDWindow
	switch {
	case w.Kind == "":
		p.notApplicable("IDs are not remembered")
	case w.Kind == core.WindowUnfinished:
		p.notApplicable("the window ends with the job: see I01, I04 and I06")
	case w.For <= 0:
		p.notApplicable("the window lasts as long as the record, which has no end of its own")
	case !p.bubble:
		p.affords("an ID window", w.For)
	}
	open := make(chan struct{})
	all := s.windowedJobs(w, open)
	began := time.Now()
	for _, j := range all {
		s.push(single, j.job)
	}
	for _, j := range all {
		if j.done {
			s.awaitEnd(j.job, 1, p.patience())
		}
	}
	first := time.Since(began) // some windows may have begun so much later
	for _, part := range []time.Duration{w.For / 5, w.For / 2, w.For * 19 / 20} {
		p.sleep(time.Until(began.Add(part)))
		for _, j := range all {
			if !j.held && time.Since(began) >= w.For {
				continue // a busy machine is late
			}
			o := s.send(single, j.job)[0]
			if !j.held && time.Since(began) >= w.For { // it may have become a second job
				j.late = true
				p.hist.add(Event{Kind: EventFault, System: s.system, State: "working", Text: "an ID was sent again as its window ended"})
			}
			if o.State != again(j.chosen) && !j.late {
				p.fail(fmt.Sprintf("%v after it was sent, the ID of a job that %s is remembered, ID chosen: %v", part, j.what, j.chosen), "%v: %v", o.State, o.Err)
			}
		}
	}
	p.sleep(time.Until(began.Add(first + w.For + w.For/4)))
	for _, j := range all {
		if !j.held {
			continue
		}
		if o := s.send(single, j.job)[0]; o.State != again(j.chosen) {
			p.fail(fmt.Sprintf("after the window the ID of a job that %s is remembered, ID chosen: %v", j.what, j.chosen), "%v: %v", o.State, o.Err)
		}
	}
	s.idsAreFree(all)
	close(open)
	s.quiet()
	for _, j := range all {
		if n := s.count(j.job.ref); n > 1 && !j.late {
			p.fail("one run of an ID that was sent again within its window", "%d runs of a job that %s, ID chosen: %v", n, j.what, j.chosen)
		}
	}
}

// windowedJobs makes the jobs of idWindow.
func (s *subject) windowedJobs(w core.Window, open <-chan struct{}) []*windowed {
	var all []*windowed
	add := func(what string, plan handler, done, held, freed bool, opts ...core.Option) {
		for chosen, id := range s.kinds(fmt.Sprint("w", len(all))) {
			all = append(all, &windowed{what: what, chosen: chosen, job: s.make(plan, append(id, opts...)...), done: done, held: held, freed: freed})
		}
	}
	stored := w.Kind == core.WindowStored
	add("is done", nil, true, false, true)
	if s.sys.Inline {
		return all
	}
	// How long a dead job is stored is not declared.
	add("has failed for good", func(*run) error { return worker.Permanent(errOnPurpose) }, true, false, !stored)
	add("still runs", s.p.hold(open), false, stored, false) // it may be remembered until it ends
	if stored && s.honours(core.OptionDelay) {
		add("is delayed", nil, false, true, false, core.Delay(time.Hour))
	}
	if stored && s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		add("waits for its retry", failing, true, true, false, core.MaxAttempts(3), core.Backoff(core.Fixed(time.Hour)))
	}
	if stored && s.honours(core.OptionDelay) {
		add("is snoozed", func(*run) error { return worker.Snooze(time.Hour) }, true, true, false)
	}
	return all
}

// idsAreFree sends IDs after their window until each makes a new job. A backend may
// need a while to remove what is over.
func (s *subject) idsAreFree(all []*windowed) {
	for end := time.Now().Add(s.p.patience()); ; s.p.sleep(s.p.patience() / 100) {
		missing := ""
		for _, j := range all {
			if !j.freed || !j.chosen {
				continue // of a generated ID nothing shows whether it makes a job
			}
			if s.send(single, s.make(nil, core.ID(j.job.in.ID)))[0].State == core.Accepted {
				j.freed = false
				continue
			}
			missing = j.what
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			s.p.fail("the ID of a job that "+missing+" is forgotten after its window", "it is a duplicate %v later", s.p.patience())
		}
	}
}
