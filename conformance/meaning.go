package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// meaningChecks are for what an option, or its absence, means the same on every
// executor.
var meaningChecks = []check{
	{id: "A15", level: Core, run: misfitting,
		title: "a value that does not fit the arguments' type is a failed attempt, and not the end of the job",
		why:   "during a rolling deploy the worker of the other version can run it"},
	{id: "I07", level: Options, run: idAcrossQueues,
		title: "an ID is one job whatever queue it is sent to, or one per queue where that is declared",
		why:   "a sender that chooses another queue for its second try must know whether it makes a second job"},
	{id: "P22", level: Options, run: lateAnswers, limit: 2 * time.Minute,
		title: "a handler's answer counts even after its time is up, and two runs of a job never overlap",
		why:   "work that was done must not be done again because it took too long"},
	{id: "P23", level: Core, run: unsetIsTheMiddle, limit: time.Minute,
		title: "a job without priority ranks as 5",
		why:   "most jobs say nothing: if they rank first, or last, no priority of another job has its meaning"},
}

// fussyCodec refuses every payload as one of another version of the task.
type fussyCodec struct {
	core.Codec
	asked *atomic.Int64
}

func (c fussyCodec) Decode([]byte, any) error {
	c.asked.Add(1)
	return errors.New("conformance: a value does not fit its type")
}

func misfitting(p *probe) {
	asked := new(atomic.Int64)
	task := core.NewTask("conformance.misfit", func(context.Context, string) error { return nil }).Codec(fussyCodec{core.JSON, asked})
	s := p.open(Setup{Slots: 1}, worker.Handle(task, task.Func()))
	n := 2
	opts, within := s.tries(n)
	in, err := task.Intent("of another version", opts...)
	if err != nil {
		p.broken("intent: %v", err)
	}
	ref := s.newRef()
	s.expect(ref, in, nil)
	s.push(single, job{ref, in})
	for end := time.Now().Add(within); asked.Load() < int64(n) && time.Now().Before(end); {
		p.sleep(p.settle() / 20)
	}
	jobs := s.makeN(3)
	s.accept(single, jobs...)
	s.awaitRuns(jobs)
	if got := asked.Load(); got < int64(n) {
		p.fail(fmt.Sprintf("%d attempts to decode arguments that do not fit", n), "%d", got)
	}
}

func idAcrossQueues(p *probe) {
	s := p.open(Setup{Slots: 2, Queues: []string{"left", "right"}})
	s.need(core.OptionID)
	s.need(core.OptionQueue)
	if s.caps.IDWindow.Kind == "" {
		p.notApplicable("IDs are not remembered")
	}
	id := core.ID("queues-" + s.setup.Namespace)
	want, declared := core.Duplicate, "per executor"
	if s.caps.IDWindow.PerQueue {
		want, declared = core.Accepted, "per queue"
	}
	open := make(chan struct{})
	wait := p.hold(open)
	if s.sys.Inline {
		wait = nil
	}
	left, right := s.make(wait, id, core.Queue("left")), s.make(nil, id, core.Queue("right"))
	s.wantState("the first sending", core.Accepted, left)
	s.wantState("the same ID to another queue, declared to be one "+declared, want, right)
	close(open)
}

// answerLate is a handler that ignores the end of its context for a while, and then
// returns what answer says.
func (p *probe) answerLate(answer func(r *run) error) handler {
	return func(r *run) error {
		end, ok := r.ctx.Deadline()
		if !ok {
			return answer(r)
		}
		left := time.Until(end)
		timer := time.NewTimer(left + max(left/2, 100*time.Millisecond))
		defer timer.Stop()
		select { // and not at the end of the context
		case <-timer.C:
		case <-p.decided:
		}
		return answer(r)
	}
}

func lateAnswers(p *probe) {
	s := p.open(Setup{Slots: 4})
	claim := s.need(core.OptionTimeout)
	d := max(claim.Granularity, 200*time.Millisecond)
	opts := []core.Option{core.Timeout(d)}
	if s.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(3))
	}
	if s.honours(core.OptionBackoff) {
		opts = append(opts, core.Backoff(s.soon()))
	}
	wait := max(s.caps.Options[core.OptionDelay].Granularity, 30*time.Millisecond)
	once := func(err error) handler { return p.answerLate(func(*run) error { return err }) }
	type lateJob struct {
		what string
		job  job
		runs int
	}
	jobs := []lateJob{
		{"is done", s.make(once(nil), opts...), 1},
		{"is permanent", s.make(once(worker.Permanent(errOnPurpose)), opts...), 1},
	}
	if !s.sys.Inline {
		jobs = append(jobs, lateJob{"snoozes once", s.make(p.answerLate(func(r *run) error {
			if r.ordinal == 1 {
				return worker.Snooze(wait)
			}
			return nil
		}), opts...), 2})
	}
	for _, j := range jobs {
		s.push(single, j.job)
	}
	for _, j := range jobs {
		s.awaitEnd(j.job, j.runs, time.Duration(j.runs)*(3*d+p.retryWithin()))
	}
	s.quiet()
	for _, j := range jobs {
		runs := s.runsOf(j.job.ref)
		if len(runs) != j.runs {
			p.fail(fmt.Sprintf("%d runs of a job that answers late and %s", j.runs, j.what), "%d", len(runs))
		}
		for i, r := range runs {
			if r.Job.Attempt != 1 {
				p.fail("a late answer costs no further attempt", "run %d of a job that %s is attempt %d", i+1, j.what, r.Job.Attempt)
			}
		}
		s.apartInTime(j.job)
	}
}

// apartInTime wants each run of a job to begin after the one before has ended.
func (s *subject) apartInTime(j job) {
	runs := s.runsOf(j.ref)
	for i := 1; i < len(runs); i++ {
		if before := runs[i-1]; before.Ended.IsZero() || runs[i].Began.Before(before.Ended) {
			s.p.fail("a run begins after the one before has ended", "run %d began before run %d had ended", i+1, i)
		}
	}
}

// unsetIsTheMiddle holds jobs without a priority against those with one.
func unsetIsTheMiddle(p *probe) {
	s := p.open(Setup{Slots: 1, Paused: true})
	s.need(core.OptionPriority)
	if s.sys.Inline {
		p.notApplicable("no job ever waits")
	}
	higher, lower := 10, 1
	if s.caps.PriorityLevels == 10 {
		higher, lower = 6, 4
	}
	each := 5
	if s.caps.Ranking == core.RankingWeighted {
		each = 300
	}
	const unset = 0
	var jobs []job
	level := map[string]int{}
	for range each {
		for _, l := range []int{lower, unset, higher} {
			var opts []core.Option
			if l != unset {
				opts = append(opts, core.Priority(l))
			}
			j := s.make(nil, opts...)
			level[j.ref] = l
			jobs = append(jobs, j)
		}
	}
	p.rand.Shuffle(len(jobs), func(a, b int) { jobs[a], jobs[b] = jobs[b], jobs[a] })
	s.accept(batch, jobs...)
	s.start()
	s.awaitRuns(jobs)
	sum := map[int]int{}
	for rank, ref := range s.order() {
		sum[level[ref]] += rank
	}
	if sum[unset] <= sum[higher] || sum[unset] >= sum[lower] {
		p.fail(fmt.Sprintf("jobs without priority start after those of %d and before those of %d", higher, lower),
			"mean ranks %d, %d (unset), %d", sum[higher]/each, sum[unset]/each, sum[lower]/each)
	}
	if s.caps.Ranking != core.RankingStrict {
		return
	}
	rank := map[int]int{higher: 2, unset: 1, lower: 0}
	last := 2
	for _, ref := range s.order() {
		now := rank[level[ref]]
		if now > last {
			p.fail(fmt.Sprintf("jobs without priority start after all of %d and before all of %d", higher, lower), "out of order at %s", ref)
		}
		last = now
	}
}
