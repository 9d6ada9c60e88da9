package conformance

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/worker"
)

// failures are the ways in which an attempt fails that a worker may take for something
// else, or for which it has code of its own.
var failures = []answer{
	fails,
	{"context.DeadlineExceeded", func(context.Context) error { return fmt.Errorf("outer: %w", context.DeadlineExceeded) }},
	{"context.Canceled", func(context.Context) error { return context.Canceled }},
	{"a panic", func(context.Context) error { panic("on purpose") }},
	{"a Goexit", func(context.Context) error { runtime.Goexit(); return nil }},
	{"a snooze for no time", func(context.Context) error { return worker.Snooze(0) }},
}

// keptThroughFailures wants a job to keep its key until its last attempt has failed,
// and no longer, in whichever way its attempts fail.
func (s *subject) keptThroughFailures() {
	p := s.p
	if !s.retries() || s.slots(2*len(failures)) < len(failures)+2 {
		return
	}
	type held struct {
		answer
		between, last, third job
		key                  string
	}
	open := make(chan struct{})
	var all []held
	for i, a := range failures {
		key := fmt.Sprint("failing-", i)
		h := held{answer: a, key: key}
		fail := func(r *run) error { return a.give(r.ctx) }
		hold := p.hold(open)
		h.between = s.make(fail, core.Unique(key+"-between"), core.MaxAttempts(3), core.Backoff(core.Fixed(s.far(core.OptionBackoff))))
		h.last = s.make(fail, core.Unique(key+"-last"), core.MaxAttempts(1))
		h.third = s.make(func(r *run) error {
			if r.ordinal <= 2 {
				return a.give(r.ctx)
			}
			return hold(r)
		}, core.Unique(key+"-third"), core.MaxAttempts(4), core.Backoff(s.soon()))
		s.accept(single, h.between, h.last, h.third)
		all = append(all, h)
	}
	for _, h := range all {
		s.awaitEnd(h.between, 1, s.patience())
		s.awaitEnd(h.last, 1, s.patience())
		s.awaitEnd(h.third, 2, s.patience()+2*p.retryWithin())
	}
	p.sleep(p.settle() / 4) // for what a worker does after the handler has returned
	for _, h := range all {
		s.wantState("the key of a job whose first attempt ended with "+h.name, core.Duplicate, s.make(nil, core.Unique(h.key+"-between")))
		s.wantState("the key of a job whose first two attempts ended with "+h.name, core.Duplicate, s.make(nil, core.Unique(h.key+"-third")))
		s.becomesFree("after a last attempt that ended with "+h.name, h.key+"-last")
	}
	close(open)
	for _, h := range all {
		s.awaitEnd(h.third, 3, s.patience()+2*p.retryWithin())
		s.becomesFree("after the success of a job that failed twice with "+h.name, h.key+"-third")
	}
}

// gluedTask is a pair of a key and of a task with another key, which are the same text
// when task and key are joined in some way.
type gluedTask struct {
	task     core.Task[string] // of the second job; the first one is the suite's
	key      string            // of the first job
	otherKey string            // of the second
	how      string
}

type gluedPairs []gluedTask

// gluedTasks returns pairs for all ways of joining with a character that a task's name
// may have, also with a queue between task and key.
func gluedTasks() (pairs gluedPairs) {
	for i, sep := range []string{"", ".", ":", "/", "+", "-", "_"} {
		for k, middle := range []string{sep, sep + sep, sep + "default" + sep} {
			if sep == "" && k == 1 || sep == "." && k == 1 { // there is no difference; not a task's name
				continue
			}
			end := fmt.Sprintf("k%d%d", i, k)
			before, after := jobTaskName+middle+"x"+end, "x"+end+middle+jobTaskName
			pairs = append(pairs,
				gluedTask{core.NewTask(before, noWork), "x" + end + middle + "z", "z", fmt.Sprintf("task and key are joined with %q", middle)},
				gluedTask{core.NewTask(after, noWork), "y" + end + middle + "x" + end, "y" + end, fmt.Sprintf("key and task are joined with %q", middle)})
		}
	}
	return slices.DeleteFunc(pairs, func(g gluedTask) bool { return !validTask(g.task.Name()) })
}

func noWork(context.Context, string) error { return nil }

func (g gluedPairs) handlers() (list []worker.Handler) {
	for _, pair := range g {
		list = append(list, worker.Handle(pair.task, pair.task.Func()))
	}
	return list
}

// gluedToTasks sends jobs whose tasks and keys are the same text when they are joined,
// and jobs whose ID is the key of another one.
func (s *subject) gluedToTasks(pairs gluedPairs) {
	const atOnce = 10 // a pool may have room for few jobs
	for some := range slices.Chunk(pairs, atOnce) {
		open := make(chan struct{})
		var jobs []job
		for _, g := range some {
			first := s.make(s.p.hold(open), core.Unique(g.key))
			s.wantState("the first of a key", core.Accepted, first)
			in, err := g.task.Intent("", core.Unique(g.otherKey))
			if err != nil {
				s.p.broken("intent: %v", err)
			}
			s.wantState("a key of another task, which is the same text only if "+g.how, core.Accepted, job{s.newRef(), in})
			jobs = append(jobs, first)
		}
		close(open)
		s.awaitRuns(jobs)
	}
	if !s.honours(core.OptionID) || s.caps.IDWindow.Kind == "" {
		return
	}
	open := make(chan struct{})
	name := s.setup.Namespace + "-both"
	byID, byKey := s.make(s.p.hold(open), core.ID(name+"1")), s.make(s.p.hold(open), core.Unique(name+"2"))
	s.accept(single, byID, byKey)
	s.wantState("a key that is the ID of another job", core.Accepted, s.make(nil, core.Unique(name+"1")))
	s.wantState("an ID that is the key of another job", core.Accepted, s.make(nil, core.ID(name+"2")))
	s.wantState("that ID again", core.Duplicate, s.make(nil, core.ID(name+"1")))
	s.wantState("that key again", core.Duplicate, s.make(nil, core.Unique(name+"2")))
	close(open)
	s.awaitRuns([]job{byID, byKey})
}
