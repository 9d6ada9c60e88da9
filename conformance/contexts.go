package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var contextChecks = []check{
	{id: "M05", level: Options, run: contextsEnd, limit: time.Minute,
		title: "however the context of a dispatch ends, and of whatever type it is: before the call nothing is sent, and afterwards no job notices, at no stage of its life",
		why:   "a request ends in many ways, and the jobs that it has made must outlive it in each"},
}

func contextsEnd(p *probe) {
	s := p.open(Setup{Slots: 24})
	s.endedBefore()
	if s.sys.Inline {
		s.endedDuring()
		return
	}
	s.endedAfter()
	if s.sys.Start != nil {
		s.endedWhileWaiting()
	}
}

// endedBefore dispatches with contexts that have ended.
func (s *subject) endedBefore() {
	var sent []job
	for c := range s.p.endingContexts {
		c.end()
		for _, n := range []int{1, 3} {
			jobs := s.makeN(n)
			sent = append(sent, jobs...)
			outs, err := s.dispatch(c.ctx, jobs...)
			what := fmt.Sprintf("a dispatch of %d whose context %s before", n, c.name)
			if !errors.Is(err, c.ctx.Err()) {
				s.p.fail(fmt.Sprintf("%s: errors.Is finds %v", what, c.ctx.Err()), "%v", err)
			}
			for _, o := range outs {
				if o.State != core.NotSent {
					s.p.fail(what+": nothing was sent", "%v: %v", o.State, o.Err)
				}
			}
		}
	}
	s.quiet()
	if n, _ := s.ran(refsOf(sent)); n > 0 {
		s.p.fail("nothing of a call with a done context runs", "%d ran", n)
	}
}

// contextJob is a job whose dispatch had a context that ends.
type contextJob struct {
	context string
	stage   stage
	job     job
	runs    int
}

// contextJobs makes one job for each stage of life, except for those that cannot be
// reached here. Jobs that run do so until over is closed.
func (s *subject) contextJobs(name string, over <-chan struct{}) []*contextJob {
	wait := s.shortest()
	if s.p.bubble {
		wait = time.Hour
	}
	once := func(err error) handler {
		return func(r *run) error {
			if r.ordinal == 1 {
				return err
			}
			return nil
		}
	}
	running := func(r *run) error {
		select {
		case <-over:
		case <-r.ctx.Done():
		case <-s.p.released:
		}
		return r.ctx.Err()
	}
	fails := func(r *run) error {
		if err := running(r); err != nil || r.ordinal > 1 {
			return err
		}
		return errOnPurpose
	}
	list := []*contextJob{
		{name, stageRunning, s.make(running), 1},
		{name, stageSnoozed, s.make(once(worker.Snooze(wait))), 2},
	}
	if s.honours(core.OptionDelay) {
		list = append(list, &contextJob{name, stageDelayed, s.make(nil, core.Delay(wait)), 1})
	}
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		wait = max(wait, s.soon().First)
		list = append(list, &contextJob{name, stageRunning, s.make(fails, core.MaxAttempts(3), core.Backoff(core.Fixed(wait))), 2})
		list = append(list, &contextJob{name, stageBetween, s.make(once(errOnPurpose), core.MaxAttempts(3), core.Backoff(core.Fixed(wait))), 2})
	}
	return slices.DeleteFunc(list, func(j *contextJob) bool {
		return j.stage == stageRunning && s.sys.Slots > 0 && s.sys.Slots < 24
	})
}

// endedAfter ends the contexts of dispatches whose jobs are at some stage of life.
func (s *subject) endedAfter() {
	over := make(chan struct{})
	var all []*contextJob
	ways := slices.Collect(s.p.endingContexts)
	for _, c := range ways {
		jobs := s.contextJobs(c.name, over)
		var sent []job
		for _, j := range jobs {
			sent = append(sent, j.job)
		}
		for _, group := range [][]job{sent[:1], sent[1:]} {
			outs, _ := s.dispatch(c.ctx, group...)
			for i, o := range outs {
				if o.State != core.Accepted && !c.hasEnded() {
					s.p.fail("every job is accepted", "%s: %v: %v", group[i].ref, o.State, o.Err)
				}
			}
			for i, o := range outs {
				if o.State == core.Accepted {
					all = append(all, jobs[i])
				}
			}
			jobs = jobs[len(group):]
		}
	}
	for _, j := range all {
		if j.stage != stageDelayed {
			s.await(s.patience(), func() bool { return s.count(j.job.ref) > 0 })
		}
	}
	for _, c := range ways {
		c.end()
	}
	s.p.sleep(s.p.settle() / 10)
	close(over)
	for _, j := range all {
		s.judgeContext(j)
	}
}

// endedWhileWaiting ends the contexts before the worker starts.
func (s *subject) endedWhileWaiting() {
	w := s.p.open(Setup{Slots: 8, Paused: true})
	var all []*contextJob
	ways := slices.Collect(s.p.endingContexts)
	for _, c := range ways {
		j := w.make(nil)
		outs, _ := w.dispatch(c.ctx, j)
		if outs[0].State == core.Accepted {
			all = append(all, &contextJob{c.name, stageWaiting, j, 1})
		}
	}
	for _, c := range ways {
		c.end()
	}
	w.start()
	for _, j := range all {
		w.judgeContext(j)
	}
}

func (s *subject) judgeContext(j *contextJob) {
	what := fmt.Sprintf("a job that is %s when the context of its dispatch ends, which %s", j.stage, j.context)
	within := s.patience() + 2*s.p.retryWithin() + s.caps.Options[core.OptionDelay].Granularity
	if s.p.bubble {
		within += time.Hour
	}
	s.await(within, func() bool { return len(ended(s.runsOf(j.job.ref))) >= j.runs })
	runs := s.runsOf(j.job.ref)
	if len(ended(runs)) != j.runs {
		s.p.fail(fmt.Sprintf("%s: %d runs", what, j.runs), "%s", attemptsIn(runs))
	}
	for i, r := range runs {
		if errors.Is(r.Err, context.Canceled) || errors.Is(r.Err, context.DeadlineExceeded) {
			s.p.fail(what+": the context of its run does not end", "%v in run %d", r.Err, i+1)
		}
		if r.ctx.Value(producerKey{}) != nil {
			s.p.fail(what+": its run has no value of that context", "run %d has one", i+1)
		}
	}
}

// endedDuring ends the contexts of dispatches that run their jobs. The handlers'
// contexts end too, and what a handler returns then is the outcome.
func (s *subject) endedDuring() {
	for _, answer := range []string{"its context's error", "nil"} {
		for c := range s.p.endingContexts {
			what := fmt.Sprintf("a handler that returns %s when the context of its dispatch, which %s, ends", answer, c.name)
			noticed := false
			j := s.make(func(r *run) error {
				go c.end()
				select {
				case <-r.ctx.Done():
					noticed = true
				case <-time.After(s.p.patience()):
				}
				if answer == "nil" {
					return nil
				}
				return r.ctx.Err()
			})
			outs, err := s.dispatch(c.ctx, s.make(nil), j, s.make(nil))
			want := core.Accepted
			if answer != "nil" {
				want = core.Failed
			}
			switch {
			case !noticed:
				s.p.fail(what+": the handler's context ends", "it did not")
			case outs[0].State != core.Accepted || outs[1].State != want || outs[2].State != core.NotSent:
				s.p.fail(fmt.Sprintf("%s: accepted before, then %v, and not sent after", what, want), "%v, %v, %v: %v",
					outs[0].State, outs[1].State, outs[2].State, err)
			case !errors.Is(err, c.ctx.Err()):
				s.p.fail(fmt.Sprintf("%s: errors.Is finds %v", what, c.ctx.Err()), "%v", err)
			}
		}
	}
}
