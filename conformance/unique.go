package conformance

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

var uniqueChecks = []check{
	{id: "P15", level: Options, run: uniqueKey,
		title: "a second job with the key of an unfinished one is a duplicate; a job with another key is not",
		why:   "otherwise a double click is a double order"},
	{id: "P16", level: Options, run: uniqueRace,
		title: "fifty concurrent callers with one unique key make one job",
		why:   "code that checks first and stores later accepts both of two concurrent callers"},
	{id: "P17", level: Options, run: uniqueScope, limit: time.Minute,
		title: "a unique key applies per task and queue, until its job has succeeded or failed for good",
		why:   "a key that is never released blocks the work forever; one that is released too early allows a second job"},
	{id: "P19", level: Options, run: idWithUnique,
		title: "an ID and a unique key on the same job are both honoured",
		why:   "backends often have only one field for both"},
}

// uniqueSystem opens a system with unique keys and slots for jobs that are held.
func uniqueSystem(p *probe, handlers ...worker.Handler) *subject {
	s := p.open(Setup{Slots: 8, Queues: []string{"", "left", "right", "left-right"}}, handlers...)
	s.need(core.OptionUnique)
	if s.sys.Inline {
		p.notApplicable("a job has finished before a second can be sent")
	}
	return s
}

// hold returns a handler that runs until the channel is closed, its context ends, or
// the check is over.
func (p *probe) hold(open <-chan struct{}) handler {
	return func(r *run) error {
		select {
		case <-open:
		case <-p.released:
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-p.decided:
		}
		return nil
	}
}

func (s *subject) wantState(what string, want core.State, j job) {
	if o := s.send(single, j)[0]; o.State != want {
		s.p.fail(what+": "+want.String(), "%v: %v", o.State, o.Err)
	}
}

func uniqueKey(p *probe) {
	s := uniqueSystem(p)
	open := make(chan struct{})
	first := s.make(p.hold(open), core.Unique("key"))
	second := s.make(nil, core.Unique("key"))
	other := s.make(nil, core.Unique("key2"))
	s.wantState("the first of a key", core.Accepted, first)
	s.wantState("the second of a key", core.Duplicate, second)
	s.wantState("another key", core.Accepted, other)
	s.awaitRuns([]job{first})
	s.wantState("a further one while the first runs", core.Duplicate, s.make(nil, core.Unique("key")))
	close(open)
	s.awaitRuns([]job{other})
	s.quiet()
	if n := s.count(second.ref); n > 0 {
		p.fail("a duplicate never runs", "%d runs", n)
	}
	s.apart("a key", longestKey, core.Unique)
	s.gluedKeys()
}

func uniqueRace(p *probe) {
	s := uniqueSystem(p)
	open := make(chan struct{})
	var accepted, dup atomic.Int64
	jobs := make([]job, 50)
	for i := range jobs {
		jobs[i] = s.make(p.hold(open), core.Unique("raced"))
	}
	barrier := make(chan struct{})
	time.AfterFunc(time.Millisecond, func() { close(barrier) })
	p.together(len(jobs), func(i int) {
		<-barrier
		switch o := s.send(single, jobs[i])[0]; o.State {
		case core.Accepted:
			accepted.Add(1)
		case core.Duplicate:
			dup.Add(1)
		default:
			p.fail("accepted or duplicate", "%v: %v", o.State, o.Err)
		}
	})
	p.sleep(p.settle() / 2)
	close(open)
	s.quiet()
	n, _ := s.ran(refsOf(jobs))
	if accepted.Load() != 1 || n != 1 {
		p.fail("one accepted and one run of fifty", "%d accepted, %d duplicates, %d ran", accepted.Load(), dup.Load(), n)
	}
}

func uniqueScope(p *probe) {
	otherTask := core.NewTask("conformance.unique", func(context.Context, string) error { return nil })
	glued := gluedTasks()
	s := uniqueSystem(p, append(glued.handlers(), worker.Handle(otherTask, otherTask.Func()))...)
	open := make(chan struct{})
	key := func(k string) core.Option { return core.Unique(k) }
	s.wantState("the first of a key", core.Accepted, s.make(p.hold(open), key("scope")))
	in, err := otherTask.Intent("same key", key("scope"))
	if err != nil {
		p.broken("intent: %v", err)
	}
	s.wantState("the same key of another task", core.Accepted, job{s.newRef(), in})
	if s.honours(core.OptionQueue) {
		s.wantState("the same key in another queue", core.Accepted, s.make(nil, key("scope"), core.Queue("left")))
	}
	close(open)

	// Success releases the key.
	done := s.make(nil, key("done"))
	s.accept(single, done)
	s.awaitEnd(done, 1, p.patience())
	s.becomesFree("after success", "done")
	// So does failing for good.
	dead := s.make(func(*run) error { return worker.Permanent(errOnPurpose) }, key("dead"))
	s.accept(single, dead)
	s.awaitEnd(dead, 1, p.patience())
	s.becomesFree("after a permanent failure", "dead")
	// A job keeps it while it waits to run, and between attempts.
	if s.honours(core.OptionDelay) {
		s.accept(single, s.make(nil, key("delayed"), core.Delay(time.Hour)))
		s.wantState("the second of a delayed one", core.Duplicate, s.make(nil, key("delayed")))
	}
	if s.honours(core.OptionMaxAttempts) && s.honours(core.OptionBackoff) {
		retried := s.make(failing, key("retried"), core.MaxAttempts(3), core.Backoff(core.Fixed(time.Hour)))
		s.accept(single, retried)
		s.awaitEnd(retried, 1, p.patience())
		p.sleep(p.settle() / 4)
		s.wantState("the second of one that waits for its retry", core.Duplicate, s.make(nil, key("retried")))
	}
	s.keptThroughFailures()
	s.gluedToTasks(glued)
}

// becomesFree waits until a key can be used again, since a worker may need a moment
// after the handler has returned.
func (s *subject) becomesFree(when, key string) {
	step := max(s.p.patience()/50, 1)
	for waited := time.Duration(0); ; waited += step {
		o := s.send(single, s.make(nil, core.Unique(key)))[0]
		if o.State == core.Accepted {
			return
		}
		if o.State != core.Duplicate || waited > s.p.patience() {
			s.p.fail("the key is free "+when, "%v: %v, after %v", o.State, o.Err, waited)
		}
		s.p.sleep(step)
	}
}

func idWithUnique(p *probe) {
	s := uniqueSystem(p)
	s.need(core.OptionID)
	if s.caps.IDWindow.Kind == "" {
		p.notApplicable("IDs are not remembered")
	}
	open := make(chan struct{})
	id := func(n int) core.Option { return core.ID(fmt.Sprintf("%s-%d", s.setup.Namespace, n)) }
	first := s.make(p.hold(open), id(1), core.Unique("k1"))
	if s.refusesTogether(first) {
		p.refused("unique together with an ID")
	}
	s.wantState("the first", core.Accepted, first)
	s.wantState("same ID, same key", core.Duplicate, s.make(nil, id(1), core.Unique("k1")))
	s.wantState("same ID, other key", core.Duplicate, s.make(nil, id(1), core.Unique("k2")))
	s.wantState("other ID, same key", core.Duplicate, s.make(nil, id(2), core.Unique("k1")))
	s.wantState("other ID, other key", core.Accepted, s.make(nil, id(3), core.Unique("k3")))
	s.wantState("only the ID", core.Duplicate, s.make(nil, id(1)))
	close(open)
	s.quiet()
	if t := tally(p.hist.all()); t.Ran != 3 {
		p.fail("two jobs and the marker run", "%d", t.Ran)
	}
}
