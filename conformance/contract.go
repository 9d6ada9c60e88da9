package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goairlock/airlock/core"
)

var contractChecks = []check{
	{id: "K01", level: Core, run: nilMeansRuns,
		title: "a nil error means that the job runs",
		why:   "an executor that returns nil and drops the job loses work silently"},
	{id: "K02", level: Core, run: calmMeansOnce,
		title: "without faults, every accepted job runs exactly once",
		why:   "an unexplained second run charges a customer twice"},
	{id: "K03", level: Core, run: refusedNeverRuns,
		title: "a job that was refused never runs",
		why:   "the caller has reported the failure to its user, or sent the job elsewhere"},
	{id: "K04", level: Core, run: noPhantoms,
		title: "nothing runs that was not dispatched",
		why:   "jobs of other programs or of an earlier run would act on the wrong data"},
	{id: "K05", level: Core, run: intentsUntouched,
		title: "the call does not change the intents or their slice, and does not need them after it has returned",
		why:   "intents are shared: a scope sends them again, a mirror sends them elsewhere"},
	{id: "K06", level: Core, run: equalArgsTwoJobs,
		title: "two intents with equal arguments are two jobs",
		why:   "two customers who buy the same thing must both get a receipt"},
	{id: "K07", level: Core, run: nothingIsDefined,
		title: "a call without intents, with zero intents or with a nil context does not panic",
		why:   "such calls come from code paths that nobody has tested"},
	{id: "K08", level: Core, run: systemsApart,
		title: "two systems never see each other's jobs",
		why:   "a staging system must not run the jobs of production"},
	{id: "K09", level: Core, run: acceptedBeforeWorker,
		title: "a job that is accepted while no worker runs is run when one starts",
		why:   "producers are deployed before workers"},
	{id: "K10", level: Core, run: jobKnowsItself,
		title: "a handler's job has the intent's ID, task and queue",
		why:   "handlers use the ID as the idempotency key for calls to other services"},
	{id: "K11", level: Core, run: unknownTask,
		title: "a job without a handler does not block other jobs and does not count as done",
		why:   "during a deployment, old workers get jobs of new tasks"},
}

func nilMeansRuns(p *probe) {
	s := p.open(Setup{})
	var all []job
	for _, m := range modes {
		jobs := s.makeN(200)
		s.accept(m, jobs...)
		all = append(all, jobs...)
	}
	s.awaitRuns(all)
}

func calmMeansOnce(p *probe) {
	s := p.open(Setup{})
	var all []job
	for _, m := range modes {
		jobs := s.makeN(40)
		s.accept(m, jobs...)
		all = append(all, jobs...)
	}
	s.awaitRuns(all)
	s.quiet()
	for _, j := range all {
		if n := s.count(j.ref); n != 1 {
			p.fail("every job runs once", "%s ran %d times", j.ref, n)
		}
	}
}

// badJob is a job that the executor must refuse, and the error.
type badJob struct {
	what string
	job  job
	want error
}

// badJobs returns one job of each kind that this system must refuse.
func (s *subject) badJobs() []badJob {
	bad := []badJob{{"an option of another executor", s.make(nil, core.NativeOption("conformance-stranger", 1)), core.ErrUnsupported}}
	for _, name := range core.PortableOptions() {
		if s.caps.Options[name].Support == core.SupportRefused {
			bad = append(bad, badJob{"option " + string(name), s.make(nil, sampleOption(s.p, name)), core.ErrUnsupported})
		}
	}
	if most := s.caps.MaxPayload; most > 0 && most <= 32<<20 {
		bad = append(bad, badJob{"a payload that is one byte too large", s.makeRaw(sized(s.newRef(), most+1)), core.ErrTooLarge})
	}
	altered := s.make(nil)
	altered.in.Options.MaxAttempts = -1
	return append(bad, badJob{"a negative option", altered, core.ErrInvalid})
}

func refusedNeverRuns(p *probe) {
	s := p.open(Setup{})
	bad := s.badJobs()
	for _, b := range bad {
		o := s.send(single, b.job)[0]
		if o.State != core.Rejected && o.State != core.NotSent {
			p.logf("the outcome of %s is %v: see P01, B02 and X04", b.what, o.State)
			continue
		}
		p.witness("refused", 1)
	}
	s.quiet()
	for _, b := range bad {
		if n := s.count(b.job.ref); n > 0 {
			p.fail("a refused job never runs", "%s was refused, and ran %d times", b.what, n)
		}
	}
	if p.result.Witness["refused"] == 0 {
		p.inconclusive("nothing was refused")
	}
}

func noPhantoms(p *probe) {
	s := p.open(Setup{})
	for _, m := range modes {
		jobs := s.makeN(20)
		s.accept(m, jobs...)
		s.awaitRuns(jobs)
	}
	s.quiet()
	if ph := s.phantoms(); len(ph) > 0 {
		p.fail("only this check's jobs run", "%d runs of jobs that nobody sent, first %s", len(ph), ph[0])
	}
}

// copyOf is a deep copy of an intent's visible content.
type copyOf struct {
	id, task string
	options  core.Options
	payload  []byte
	headers  map[string]string
	chosen   bool
}

func (c copyOf) equal(d copyOf) bool {
	return c.id == d.id && c.task == d.task && c.options == d.options && c.chosen == d.chosen &&
		bytes.Equal(c.payload, d.payload) && maps.Equal(c.headers, d.headers)
}

func deepCopy(in core.Intent) copyOf {
	return copyOf{in.ID, in.Task, in.Options, bytes.Clone(in.Payload()), maps.Collect(in.Headers().All()), in.ChosenID()}
}

func intentsUntouched(p *probe) {
	s := p.open(Setup{})
	jobs := s.makeN(30)
	if s.caps.Options[core.OptionHeader].Support != core.SupportRefused {
		jobs = append(jobs, s.makeN(10, core.Header("Color", "red"))...)
	}
	intents := intentsOf(jobs)
	before := make([]copyOf, len(jobs))
	for i := range jobs {
		before[i] = deepCopy(intents[i])
	}
	if err := s.callExec(s.sys.Exec, p.ctx, intents...); err != nil {
		p.fail("every job is accepted", "%v", err)
	}
	compare := func(when string, now []core.Intent) {
		for i := range now {
			if !deepCopy(now[i]).equal(before[i]) {
				p.fail("an intent is never changed", "%s, intent %d of the call differs %s", now[i], i, when)
			}
		}
	}
	compare("after the call", intents)
	clear(intents) // the slice belongs to the caller, who may use it again
	want := refsOf(jobs)
	if !s.awaitAll(p.patience(), len(want), s.countRuns(jobs)) {
		n, _ := s.ran(want)
		p.fail("the jobs run, although the caller has used its slice for something else", "%d of %d ran", n, len(want))
	}
	compare("after its job ran", intentsOf(jobs))
}

func equalArgsTwoJobs(p *probe) {
	s := p.open(Setup{})
	for _, m := range modes {
		var jobs []job
		for range 2 {
			jobs = append(jobs, s.makeRaw([]byte(`"equal arguments, `+string(m)+`"`)))
		}
		s.accept(m, jobs...)
		byPayload := func() int {
			n := 0
			for _, j := range jobs {
				n += s.count(j.ref)
			}
			return n
		}
		if !s.await(p.patience(), func() bool { return byPayload() >= 2 }) {
			p.fail("two runs for two intents of equal arguments, "+string(m), "%d", byPayload())
		}
	}
}

func nothingIsDefined(p *probe) {
	s := p.open(Setup{})
	// Duty 11 forbids panics, and this check looks for them.
	try := func(what string, ctx context.Context, ins ...core.Intent) (err error) {
		defer func() {
			if v := recover(); v != nil {
				p.fail("an executor never panics", "%s: %v", what, v)
			}
		}()
		return s.sys.Exec(ctx, ins...)
	}
	if err := try("no intents", p.ctx); err != nil {
		p.fail("no intents: nil", "%v", err)
	}
	var none context.Context
	good := s.make(nil)
	if err := try("a nil context", none, good.in); !errors.Is(err, core.ErrInvalid) {
		p.fail("a nil context: ErrInvalid", "%v", err)
	}
	if err := try("a zero intent", p.ctx, core.Intent{}); !errors.Is(err, core.ErrInvalid) {
		p.fail("a zero intent: ErrInvalid", "%v", err)
	}
	pair := []core.Intent{good.in, {}}
	outs := core.OutcomesOf(try("a zero intent next to a good one", p.ctx, pair...), pair)
	if outs[0].State != core.NotSent || outs[1].State != core.Rejected {
		p.fail("a zero intent next to a good one: good not sent, zero rejected", "%v and %v", outs[0].State, outs[1].State)
	}
	jobs := s.makeN(3)
	s.accept(batch, jobs...)
	s.awaitRuns(jobs)
}

func systemsApart(p *probe) {
	a, b := p.open(Setup{}), p.open(Setup{})
	var jobsA, jobsB []job
	for _, m := range modes {
		ja, jb := a.makeN(15), b.makeN(15)
		a.accept(m, ja...)
		b.accept(m, jb...)
		jobsA, jobsB = append(jobsA, ja...), append(jobsB, jb...)
	}
	found := func() string {
		for i, s := range []*subject{a, b} {
			if ph := s.phantoms(); len(ph) > 0 {
				return fmt.Sprintf("system %d ran %s", i+1, ph[0])
			}
		}
		return ""
	}
	// Each ledger notices only its own runs, so each waits for its own jobs.
	a.await(p.patience(), func() bool { n, _ := a.ran(refsOf(jobsA)); return n == len(jobsA) || found() != "" })
	b.await(p.patience(), func() bool { n, _ := b.ran(refsOf(jobsB)); return n == len(jobsB) || found() != "" })
	a.hush()
	// Only jobs of the other system count here. K04 looks for jobs of earlier runs.
	for _, s := range []*subject{a, b} {
		other := b
		if s == b {
			other = a
		}
		for _, ph := range s.phantoms() {
			if slices.ContainsFunc(append(refsOf(jobsA), refsOf(jobsB)...), func(ref string) bool {
				return bytes.Contains([]byte(ph), []byte(fmt.Sprintf("%q", ref)))
			}) {
				p.fail("a system runs only its own jobs", "system %d ran a job of system %d: %s", s.system, other.system, ph)
			}
		}
	}
}

func acceptedBeforeWorker(p *probe) {
	s := p.open(Setup{Paused: true})
	if s.sys.Inline {
		p.notApplicable("the executor runs jobs itself")
	}
	var all []job
	for _, m := range modes {
		jobs := s.makeN(10)
		s.accept(m, jobs...)
		all = append(all, jobs...)
	}
	if n, _ := s.ran(refsOf(all)); n > 0 {
		p.broken("harness: %d jobs ran before System.Start was called", n)
	}
	p.sleep(p.settle() / 4)
	s.start()
	s.awaitRuns(all)
}

func jobKnowsItself(p *probe) {
	s := p.open(Setup{})
	jobs := s.makeN(64)
	chosen := 0
	if s.honours(core.OptionID) {
		for i := range 16 {
			jobs = append(jobs, s.make(nil, core.ID(fmt.Sprintf("%s:%d/%d", s.setup.Namespace, s.system, i))))
			chosen++
		}
	}
	half := len(jobs) / 2
	s.accept(batch, jobs[:half]...)
	p.together(8, func(i int) {
		for k := half + i; k < len(jobs); k += 8 {
			s.accept(single, jobs[k])
		}
	})
	s.awaitRuns(jobs)
	for _, j := range jobs {
		for _, r := range s.runsOf(j.ref) {
			switch {
			case r.Job.ID != j.in.ID:
				p.fail("the job's ID is the intent's", "%s: intent %s, job %s", j.ref, j.in.ID, r.Job.ID)
			case r.Job.Task != j.in.Task:
				p.fail("the job's task is the intent's", "%s: intent %s, job %s", j.ref, j.in.Task, r.Job.Task)
			}
		}
	}
	p.witness("chosen IDs", chosen)
}

var unknownTaskName = core.DeclareTask[jobArgs]("conformance.unknown")

func unknownTask(p *probe) {
	s := p.open(Setup{Slots: 1})
	ref := s.newRef()
	in, err := unknownTaskName.Intent(jobArgs{Ref: ref})
	if err != nil {
		p.broken("intent: %v", err)
	}
	s.expect(ref, in, nil)
	o := s.send(single, job{ref, in})[0]
	if s.sys.Inline && (o.State != core.Rejected || !errors.Is(o.Err, core.ErrNoHandler)) {
		p.fail("an executor that runs jobs itself rejects an unknown task with ErrNoHandler", "%v: %v", o.State, o.Err)
	}
	jobs := s.makeN(20)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
	if s.sys.Stored == nil || o.State != core.Accepted {
		return
	}
	s.hush()
	s.awaitFunc("a job that no handler knows is kept", func() string {
		records := s.records()
		i := slices.IndexFunc(records, func(r Record) bool { return r.ID == in.ID })
		if i < 0 || records[i].State == Finished {
			return "it is not stored any more, or is stored as done"
		}
		return ""
	})
}
