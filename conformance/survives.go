package conformance

import (
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
)

var surviveChecks = []check{
	{id: "F14", level: Faults, run: stateOverRestart, bare: true, limit: 2 * time.Minute, alone: true,
		title: "keys, IDs, headers, times and attempts of stored jobs are the same after a restart of the backend, and Stop works",
		why:   "what a backend keeps only in memory is gone after a restart, and the jobs are stored twice or run at the wrong time"},
	{id: "F15", level: Faults, run: stateOverExchange, bare: true, limit: 2 * time.Minute, cases: []string{"reconnect", "worker"},
		title: "keys, IDs, headers, times and attempts of stored jobs are the same after a lost connection, and for the next worker",
		why:   "workers are replaced with every deployment, and what one of them knew must be stored"},
}

// storedState are jobs in all states in which a job can be stored.
type storedState struct {
	key, delayedID, doneID, generated job
	later, retried, elsewhere         job
	timed, limited                    job // with a timeout, with a deadline
	sentAt                            time.Time
}

// attemptsOfRetried is how often the job runs that always fails.
const attemptsOfRetried = 3

// prepare stores the jobs. The retried one has run once.
func (s *subject) prepare(wait time.Duration) *storedState {
	p := s.p
	st := &storedState{sentAt: time.Now()}
	with := func(name core.OptionName, opts []core.Option, opt core.Option) []core.Option {
		if s.honours(name) {
			return append(opts, opt)
		}
		return opts
	}
	delay := func(opts []core.Option, d time.Duration) []core.Option {
		return with(core.OptionDelay, opts, core.Delay(d))
	}
	headers := with(core.OptionHeader, nil, core.Header("Color", "red"))
	send := func(j job) job { s.accept(single, j); return j }
	if s.honours(core.OptionUnique) && s.honours(core.OptionDelay) {
		st.key = send(s.make(nil, core.Unique("kept"), core.Delay(s.far(core.OptionDelay))))
	}
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" && s.honours(core.OptionDelay) {
		st.delayedID = send(s.make(nil, core.ID("delayed-"+s.setup.Namespace), core.Delay(s.far(core.OptionDelay))))
	}
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" && s.caps.IDWindow.Kind != core.WindowUnfinished {
		st.doneID = send(s.make(nil, core.ID("done-"+s.setup.Namespace)))
		st.generated = send(s.make(nil))
		s.awaitEnd(st.doneID, 1, s.patience())
		s.awaitEnd(st.generated, 1, s.patience())
	}
	st.later = send(s.make(nil, delay(headers[:len(headers):len(headers)], wait)...))
	if s.honours(core.OptionTimeout) {
		st.timed = send(s.make(nil, append(delay(nil, wait), core.Timeout(s.far(core.OptionTimeout)))...))
	}
	if s.honours(core.OptionDeadline) {
		st.limited = send(s.make(nil, append(delay(nil, wait), core.Deadline(time.Now().Add(2*time.Hour)))...))
	}
	if s.honours(core.OptionQueue) {
		st.elsewhere = send(s.make(nil, core.Queue("nobody")))
	}
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		st.retried = s.make(failing, append(headers[:len(headers):len(headers)], core.MaxAttempts(attemptsOfRetried), core.Backoff(core.Fixed(wait)))...)
		s.accept(single, st.retried)
		s.awaitEnd(st.retried, 1, s.patience())
	}
	p.sleep(p.settle() / 4) // answers are sent in this time
	return st
}

// heldState is a system whose worker does not run, with jobs that wait for it.
type heldState struct {
	s        *subject
	key, id  job
	together []job
}

// holdBack stores jobs with a key and with an ID in a system without a worker.
func (s *subject) holdBack() *heldState {
	h := &heldState{s: s}
	if s.honours(core.OptionUnique) {
		h.key = s.make(nil, core.Unique("held"))
		h.together = append(h.together, h.key)
	}
	if s.honours(core.OptionID) && s.caps.IDWindow.Kind != "" {
		h.id = s.make(nil, core.ID("held-"+s.setup.Namespace))
		h.together = append(h.together, h.id)
	}
	if len(h.together) > 0 {
		s.accept(batch, h.together...)
	}
	return h
}

// judge sends the same key and ID again, and then lets the jobs run.
func (h *heldState) judge(survives bool) {
	s, p := h.s, h.s.p
	if h.key.ref != "" {
		if _, outs := s.insist(s.make(nil, core.Unique("held"))); outs[0].State != core.Duplicate {
			p.fail("the second job of the unique key of a waiting job is a duplicate", "%v: %v", outs[0].State, outs[0].Err)
		}
	}
	if survives && h.id.ref != "" {
		if _, outs := s.insist(h.id); outs[0].State != core.Duplicate {
			p.fail("the ID of a waiting job is a duplicate", "%v: %v", outs[0].State, outs[0].Err)
		}
	}
	s.start()
	s.awaitRuns(h.together)
}

// jobs are those of the state that now have an intent.
func (st *storedState) jobs() []job {
	var list []job
	for _, j := range []job{st.key, st.delayedID, st.doneID, st.generated, st.later, st.retried, st.elsewhere, st.timed, st.limited} {
		if j.ref != "" {
			list = append(list, j)
		}
	}
	return list
}

// hand lets another system know the jobs, whose handlers do there what they did.
func (st *storedState) hand(next *ledger) {
	for _, j := range st.jobs() {
		plan := handler(nil)
		if j.ref == st.retried.ref {
			plan = failing
		}
		next.expect(j.ref, j.in, plan)
	}
}

// judgeState compares the state with what it was. first had the jobs before, and may
// be s itself.
func (s *subject) judgeState(st *storedState, first *subject, survives bool, wait time.Duration) {
	p := s.p
	dup := func(what string, j job, want core.State) {
		_, outs := s.insist(j)
		if outs[0].State != want {
			p.fail(what+": "+want.String(), "%v: %v", outs[0].State, outs[0].Err)
		}
	}
	if st.key.ref != "" {
		dup("the second job of a unique key", s.make(nil, core.Unique("kept")), core.Duplicate)
		dup("a job of another unique key", s.make(nil, core.Unique("other")), core.Accepted)
	}
	if survives && st.delayedID.ref != "" {
		dup("the ID of a delayed job", st.delayedID, core.Duplicate)
	}
	if survives && st.doneID.ref != "" {
		dup("the ID of a job that is done", st.doneID, core.Duplicate)
		dup("the generated ID of a job that is done", st.generated, core.Accepted)
	}
	attempts := func(j job) []run {
		runs := s.runsOf(j.ref)
		if first != s {
			runs = append(first.runsOf(j.ref), runs...)
		}
		return runs
	}
	within := time.Until(st.sentAt.Add(wait)) + s.patience() + s.caps.Options[core.OptionDelay].Granularity
	for _, j := range []job{st.later, st.timed, st.limited} {
		if j.ref == "" {
			continue
		}
		if !s.await(max(within, s.patience()), func() bool { return len(attempts(j)) > 0 }) {
			p.fail("a delayed job runs when it is due", "it does not, after %v", within)
		}
		r := attempts(j)[0]
		if early := j.in.Options.At.Sub(r.Began); early > p.h.Skew && s.honours(core.OptionDelay) {
			p.fail("a delayed job does not start before its time", "%v early", early)
		}
		if _, limited := r.ctx.Deadline(); limited != (j.ref != st.later.ref) {
			p.fail(fmt.Sprintf("the context of a job has a deadline: %v", j.ref != st.later.ref), "%v", limited)
		}
		if r.Job.Attempt != 1 {
			p.fail("the first run of a job is attempt 1", "attempt %d", r.Job.Attempt)
		}
		s.sameStored(j, r)
	}
	if j := st.retried; j.ref != "" {
		backoff := wait + s.caps.Options[core.OptionBackoff].Granularity
		if !s.await(attemptsOfRetried*(backoff+s.patience()), func() bool { return len(ended(attempts(j))) >= attemptsOfRetried }) {
			p.fail(fmt.Sprintf("a job that fails runs %d times in all", attemptsOfRetried), "%d runs", len(attempts(j)))
		}
		p.sleep(backoff + p.settle()/2)
		runs := attempts(j)
		if len(runs) != attemptsOfRetried {
			p.fail(fmt.Sprintf("a job that fails runs %d times in all", attemptsOfRetried), "%d runs", len(runs))
		}
		for i, r := range runs {
			if r.Job.Attempt != i+1 || r.Job.MaxAttempts != attemptsOfRetried {
				p.fail(fmt.Sprintf("run %d is attempt %d of %d", i+1, i+1, attemptsOfRetried), "attempt %d of %d", r.Job.Attempt, r.Job.MaxAttempts)
			}
			if i > 0 && r.Began.Sub(runs[i-1].Ended) < wait-p.h.Skew-p.h.RestartSkew {
				p.fail(fmt.Sprintf("%v between attempts", wait), "%v", r.Began.Sub(runs[i-1].Ended))
			}
			s.sameStored(j, r)
		}
	}
	s.quiet()
	for _, j := range []job{st.doneID, st.generated, st.later, st.timed, st.limited} {
		if n := len(attempts(j)); j.ref != "" && n != 1 {
			p.fail("a job that succeeds runs once", "%s: %d runs", j.ref, n)
		}
	}
	if j := st.elsewhere; j.ref != "" && len(attempts(j)) > 0 {
		p.fail("a job for a queue that no worker serves waits", "it ran")
	}
	if s.sys.Stop != nil {
		s.stop()
	}
}

func (s *subject) sameStored(j job, r run) {
	want := map[string]string{}
	for k, v := range j.in.Headers().All() {
		want[k] = v
	}
	s.sameHeaders(want, r.Job.Headers)
	if r.Job.ID != j.in.ID {
		s.p.fail("a job keeps its ID", "%q instead of %q", r.Job.ID, j.in.ID)
	}
}

// durable ends the check unless jobs outlive the processes.
func (s *subject) durable() {
	if s.sys.Inline || s.caps.Durability == core.DurabilityProcess {
		s.p.notApplicable("jobs do not survive their process")
	}
}

func stateOverRestart(p *probe) {
	if p.h.Restart == nil {
		p.open(Setup{}).durable()
		p.lacks("Restart")
	}
	s := p.open(Setup{Slots: 4})
	s.durable()
	s.patient = p.comesBackWithin()
	wait := 3*time.Second + p.settle()/2
	idle := p.open(Setup{Paused: true})
	idle.patient = s.patient
	held, st := idle.holdBack(), s.prepare(wait)
	p.hist.add(Event{Kind: EventFault, Text: "restart", State: "working"})
	if err := p.outside("Harness.Restart", func() error { return p.h.Restart(p.ctx) }); err != nil {
		p.broken("harness: Restart: %v", err)
	}
	p.hist.add(Event{Kind: EventHeal})
	s.insist(s.make(nil))
	survives := s.caps.IDWindow.Survives == core.SurvivalRestart
	held.judge(survives)
	s.judgeState(st, s, survives, wait)
}

func stateOverExchange(p *probe) {
	wait := 2*time.Second + p.settle()/2 // longer than the last sleep of prepare
	if p.caseOf == "worker" {
		s := p.open(Setup{Slots: 4})
		s.durable()
		if s.sys.Stop == nil {
			p.lacks("System.Stop")
		}
		st := s.prepare(wait)
		s.stop()
		next := p.openFor(Setup{Slots: 4, Namespace: s.setup.Namespace}, st.hand, nil)
		next.judgeState(st, s, s.caps.IDWindow.Survives != core.SurvivalNone, wait)
		return
	}
	s, idle := p.faulty(Setup{Slots: 4}), p.faulty(Setup{Paused: true})
	held, st := idle.holdBack(), s.prepare(wait)
	for _, sub := range []*subject{s, idle} {
		sub.broke("down", sub.sys.WorkerProxy != nil)
		for _, proxy := range sub.proxies() {
			proxy.Down()
		}
	}
	p.sleep(p.settle())
	s.heal()
	idle.endFaults()
	survives := s.caps.IDWindow.Survives != core.SurvivalNone
	held.judge(survives)
	s.judgeState(st, s, survives, wait)
}
