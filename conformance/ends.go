package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// The systems of a check whose jobs may run in more than one.
const (
	oneSystem  = "one system"
	twoSystems = "two systems"
	nextWorker = "next worker"
)

var systemCases = []string{oneSystem, twoSystems, nextWorker}

var endChecks = []check{
	{id: "M02", level: Options, run: endsOfAttempts, cases: systemCases, limit: time.Minute,
		title: "whatever a handler returns, in whichever attempt, its job goes on as worker.Perform decides",
		why:   "a job whose last attempt snoozes must not be dead, and one that panics in its first must not be done"},
}

// endingJob is a job with a script.
type endingJob struct {
	job    job
	script script
	steps  []step
	last   worker.Verdict
}

// team are the systems of one namespace among which the jobs of a check are shared.
type team struct {
	*subject // sends the jobs
	next     *subject
}

// openTeam opens the systems of a case of systemCases.
func (p *probe) openTeam(s Setup) *team {
	t := &team{subject: p.open(s)}
	t.share()
	if p.caseOf == oneSystem {
		return t
	}
	switch {
	case t.sys.Inline:
		p.notApplicable("the executor runs jobs itself")
	case t.caps.Durability != core.DurabilityBroker:
		p.notApplicable("jobs do not outlive their system")
	case p.caseOf == nextWorker && t.sys.Stop == nil:
		p.lacks("System.Stop")
	}
	if p.caseOf == twoSystems {
		t.join()
	}
	return t
}

// join opens another system of the namespace.
func (t *team) join() {
	s := t.setup
	s.Paused = false
	t.next = t.p.open(s)
	t.next.share()
}

// exchange stops the first system and starts another one, in the case for that.
func (t *team) exchange() {
	if t.p.caseOf != nextWorker {
		return
	}
	t.stop()
	t.join()
}

// sender is the system that sends what comes later.
func (t *team) sender() *subject {
	if t.next != nil {
		return t.next
	}
	return t.subject
}

// attemptsOf returns the options for jobs with n attempts and a short backoff, and
// the delivery of their first run. n is 1 where a job runs only once.
func (s *subject) attemptsOf(n int) ([]core.Option, worker.Delivery) {
	d := worker.Delivery{Attempt: 1, MaxAttempts: n}
	var opts []core.Option
	switch {
	case s.honours(core.OptionMaxAttempts):
		opts = append(opts, core.MaxAttempts(n))
	case s.caps.DefaultAttempts == 1 || s.sys.Inline:
		d.MaxAttempts = 1
		return nil, d
	default:
		s.p.notApplicable("the number of attempts cannot be set")
	}
	if s.honours(core.OptionBackoff) {
		d.Backoff = core.Fixed(max(s.soon().First, s.exchangeTime()))
		opts = append(opts, core.Backoff(d.Backoff))
	}
	return opts, d
}

// endingScripts returns scripts with each answer in the first, the middle and the
// last of n attempts. Outside a bubble most answers are in only one of them.
func (p *probe) endingScripts(wait time.Duration, n int) []script {
	var scripts []script
	add := func(a answer, position int) {
		sc := slices.Repeat(script{fails}, position-1)
		scripts = append(scripts, append(sc, a, fails))
	}
	for _, a := range someAnswers(wait) {
		for position := 1; position <= n; position++ {
			add(a, position)
		}
	}
	for _, a := range manyAnswers(wait) {
		if p.bubble || p.h.effort() > 1 {
			for position := 1; position <= n; position++ {
				add(a, position)
			}
		} else {
			add(a, 1+p.rand.IntN(n))
		}
	}
	return scripts
}

func endsOfAttempts(p *probe) {
	t := p.openTeam(Setup{Slots: 8})
	wait := t.shortest()
	opts, d := t.attemptsOf(3)
	var jobs []*endingJob
	for _, sc := range p.endingScripts(wait, d.MaxAttempts) {
		e := &endingJob{script: sc, job: t.make(sc.handler, opts...)}
		e.steps, e.last = sc.predict(d, t.sys.Inline)
		jobs = append(jobs, e)
	}
	if t.sys.Inline {
		for _, e := range jobs {
			t.judgeInline(e, t.send(single, e.job)[0])
		}
		return
	}
	for i, e := range jobs {
		if i%2 == 0 {
			t.push(single, e.job)
		}
	}
	for chunk := range slices.Chunk(jobs, 16) {
		var half []job
		for i, e := range chunk {
			if i%2 == 1 {
				half = append(half, e.job)
			}
		}
		t.push(batch, half...)
	}
	for _, e := range jobs {
		t.awaitEnd(e.job, 1, t.patience())
	}
	t.exchange()
	for _, e := range jobs {
		t.awaitSteps(e)
	}
	t.sender().hush()
	for _, e := range jobs {
		t.judgeEnds(e)
	}
}

// shortest returns the shortest wait that the executor can keep after a snooze.
func (s *subject) shortest() time.Duration {
	return max(s.caps.Options[core.OptionDelay].Granularity, 30*time.Millisecond, s.exchangeTime())
}

// exchangeTime is how long jobs wait between two runs where the worker is exchanged
// meanwhile.
func (s *subject) exchangeTime() time.Duration {
	switch {
	case s.p.caseOf != nextWorker:
		return 0
	case s.p.bubble:
		return time.Hour
	}
	return time.Second
}

// awaitSteps waits until all predicted runs of a job have ended.
func (s *subject) awaitSteps(e *endingJob) {
	within := s.patience()
	for _, st := range e.steps {
		within += st.before.After + s.p.retryWithin()
	}
	if !s.await(within, func() bool { return len(ended(s.runsOf(e.job.ref))) >= len(e.steps) }) {
		s.p.fail(fmt.Sprintf("%d runs of a job whose handler returns %v", len(e.steps), e.script), "%s, within %v",
			attemptsIn(s.runsOf(e.job.ref)), within)
	}
}

// attemptsIn says which attempts the runs were.
func attemptsIn(runs []run) string {
	var attempts []int
	for i := range runs {
		attempts = append(attempts, runs[i].Job.Attempt)
	}
	return fmt.Sprintf("%d runs as attempts %v", len(runs), attempts)
}

// judgeEnds compares the runs of a job with the predicted ones, and what is stored.
func (t *team) judgeEnds(e *endingJob) {
	s := t.subject
	runs := s.runsOf(e.job.ref)
	var want []int
	for _, st := range e.steps {
		want = append(want, st.attempt)
	}
	what := fmt.Sprintf("a job with %d attempts whose handler returns %v", e.job.in.Options.MaxAttempts, e.script)
	if got := attemptsIn(runs); got != fmt.Sprintf("%d runs as attempts %v", len(want), want) {
		s.p.fail(fmt.Sprintf("%s: %d runs as attempts %v", what, len(want), want), "%s", got)
	}
	for i, st := range e.steps[1:] {
		gap := runs[i+1].Began.Sub(runs[i].Ended)
		exact := st.before.Action == worker.Retry && s.honours(core.OptionBackoff)
		if gap < st.before.After-s.p.h.Skew {
			s.p.fail(fmt.Sprintf("%s: at least %v after run %d", what, st.before.After, i+1), "%v", gap)
		}
		most := st.before.After + s.p.retryWithin() + s.p.slack()
		if exact {
			most = st.before.After + s.caps.Options[core.OptionBackoff].Granularity + s.p.slack()
		}
		if gap > most {
			s.p.fail(fmt.Sprintf("%s: at most %v after run %d", what, most, i+1), "%v", gap)
		}
	}
	t.sender().judgeStored(what, e)
}

// judgeStored wants a dead job to be kept with the dead, and no other one to be
// there.
func (s *subject) judgeStored(what string, e *endingJob) {
	if s.sys.Stored == nil {
		return
	}
	want := "no record, or that of a finished job"
	fits := func() (string, bool) {
		states := map[RecordState]int{}
		for _, r := range s.records() {
			if r.ID == e.job.in.ID {
				states[r.State]++
			}
		}
		left := states[Waiting] + states[Running]
		if e.last.Action == worker.Dead {
			return fmt.Sprint(states), left == 0 && states[Buried] == 1
		}
		return fmt.Sprint(states), left+states[Buried] == 0
	}
	if e.last.Action == worker.Dead {
		want = "one record of a dead job"
	}
	for end := time.Now().Add(s.p.patience()); ; s.p.sleep(s.p.patience() / 200) {
		got, ok := fits()
		if ok {
			return
		}
		if time.Now().After(end) {
			s.p.fail(what+": "+want, "%s", got)
		}
	}
}

// judgeInline compares the outcome of a job with its last run.
func (s *subject) judgeInline(e *endingJob, o core.Outcome) {
	runs := s.runsOf(e.job.ref)
	what := fmt.Sprintf("a job with %d attempts whose handler returns %v", e.job.in.Options.MaxAttempts, e.script)
	declared := s.honours(core.OptionMaxAttempts) || s.caps.DefaultAttempts == 1
	if declared && len(runs) != len(e.steps) || len(runs) == 0 {
		s.p.fail(fmt.Sprintf("%s: %d runs", what, len(e.steps)), "%s", attemptsIn(runs))
	}
	for i := range min(len(runs), len(e.steps)) {
		if runs[i].Job.Attempt != e.steps[i].attempt {
			s.p.fail(fmt.Sprintf("%s: run %d is attempt %d", what, i+1, e.steps[i].attempt), "%s", attemptsIn(runs))
		}
		if i == 0 {
			continue
		}
		if gap := runs[i].Began.Sub(runs[i-1].Ended); gap < e.steps[i].before.After || gap > e.steps[i].before.After+s.p.slack() {
			s.p.fail(fmt.Sprintf("%s: %v before run %d", what, e.steps[i].before.After, i+1), "%v", gap)
		}
	}
	if !declared {
		return
	}
	want := core.Failed
	if e.last.Action == worker.Done {
		want = core.Accepted
	}
	if o.State != want {
		s.p.fail(fmt.Sprintf("%s: %v", what, want), "%v: %v", o.State, o.Err)
	}
	if last := runs[len(runs)-1]; want == core.Failed && last.Err != nil && errors.Is(e.last.Err, last.Err) && !errors.Is(o.Err, last.Err) {
		s.p.fail(what+": errors.Is finds the last error of the handler", "%v", o.Err)
	}
}
