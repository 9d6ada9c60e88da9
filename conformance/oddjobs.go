package conformance

import (
	"context"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
	"github.com/goairlock/airlock/worker"
)

func nativeShown(p *probe) {
	if p.h.Native == nil || p.h.Native.Produce == nil {
		p.lacks("Native.Produce")
	}
	var c caught
	i := p.inspect(Setup{Queues: []string{""}}, worker.Handle(goldenTask, func(ctx context.Context, payload []byte) error {
		_ = c.handle(ctx, payload)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.jobs)%2 == 1 {
			return worker.Permanent(errOnPurpose)
		}
		return nil
	}))
	i.keepsDead()
	payload := []byte(`{"native":[1,2]}`)
	produce := func() (found inspect.Job) {
		if err := p.outside("Native.Produce", func() error {
			return p.h.Native.Produce(p.ctx, i.setup.Namespace, goldenTask.Name(), payload)
		}); err != nil {
			p.broken("harness: Native.Produce: %v", err)
		}
		i.until("the dead job of another producer is listed", func() string {
			for _, j := range i.all(inspect.Dead) {
				found = j
				return ""
			}
			return "no job is dead"
		})
		if !found.Native || found.ID == "" || found.Task != goldenTask.Name() || found.Unreadable != "" || !p.samePayload(payload, found.Payload()) {
			p.fail("a native job of task "+goldenTask.Name()+" with an ID and its payload", "%s, native %t, unreadable %q, %d bytes", found, found.Native, found.Unreadable, len(found.Payload()))
		}
		return found
	}
	first := produce()
	i.must("Retry", i.view.Retry(p.ctx, i.queue, first.ID))
	i.awaitFunc("the job runs again", func() string {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case len(c.jobs) < 2:
			return "it does not"
		case c.jobs[1].Attempt != 1 || !p.samePayload(payload, c.payload[1]):
			return "it runs with another payload, or not as attempt 1"
		}
		return ""
	})
	second := produce()
	i.must("Discard", i.view.Discard(p.ctx, i.queue, second.ID))
	_, err := i.view.Get(p.ctx, i.queue, second.ID)
	i.want("Get after Discard", err, inspect.ErrNotFound)
}

func corruptShown(p *probe) {
	i := p.inspect(Setup{Queues: []string{""}})
	switch {
	case i.caps.Durability == core.DurabilityProcess:
		p.notApplicable("jobs are not stored as messages")
	case i.sys.Corrupt == nil:
		p.lacks("System.Corrupt")
	}
	good := i.make(onceDead(nil))
	i.dead(good)
	if err := i.sys.Corrupt(p.ctx, jobTaskName); err != nil {
		p.broken("harness: System.Corrupt: %v", err)
	}
	var bad inspect.Job
	gone := 0
	i.until("a message that is no job is listed as unreadable once a worker has looked at it, or is removed", func() string {
		listed := map[string]bool{}
		for _, state := range []inspect.State{inspect.Waiting, inspect.Delayed, inspect.Running, inspect.Dead} {
			if !i.lists(state) {
				continue
			}
			for _, j := range i.all(state) {
				if j.ID != good.in.ID {
					listed[j.ID] = true
				}
				if j.State == inspect.Dead && j.ID != good.in.ID {
					bad = j
				}
			}
		}
		if len(listed) == 0 {
			gone++
		}
		if bad.ID != "" || gone > 500 {
			return ""
		}
		return "it is not among the dead jobs"
	})
	if bad.ID == "" {
		p.notApplicable("the worker has removed the message")
	}
	if bad.Unreadable == "" {
		p.fail("Job.Unreadable says why the message is no job", "it is empty")
	}
	i.want("Retry", i.view.Retry(p.ctx, i.queue, bad.ID), inspect.ErrUnreadable)
	got, err := i.view.RetryAll(p.ctx, inspect.Selection{Queue: i.queue, Limit: 10})
	i.must("RetryAll", err)
	if got != (inspect.Result{Retried: 1, Skipped: 1}) {
		p.fail("RetryAll retries the job and skips the message that is none", "%+v", got)
	}
	i.must("Discard", i.view.Discard(p.ctx, i.queue, bad.ID))
	_, err = i.view.Get(p.ctx, i.queue, bad.ID)
	i.want("Get after Discard", err, inspect.ErrNotFound)
	i.awaitEnd(good, 2, i.patience())
}

func errorsDiscreet(p *probe) {
	i := p.inspect(Setup{Slots: 1})
	open := make(chan struct{})
	defer close(open)
	opts, _ := i.full()
	body := []byte(`"` + secretText + `"`)
	if i.honours(core.OptionUnique) {
		opts = append(opts, core.Unique("held"))
	}
	provoke := func(what, id string) {
		ended, cancel := context.WithCancel(p.ctx)
		cancel()
		for _, ctx := range []context.Context{p.ctx, ended} {
			_, err := i.view.Get(ctx, i.queue, id+"-none")
			i.discreet(what+": Get", err)
			i.discreet(what+": Retry", i.view.Retry(ctx, i.queue, id))
			_, err = i.view.List(ctx, inspect.Query{Queue: i.queue, State: inspect.Dead, Cursor: "odd!"})
			i.discreet(what+": List", err)
			_, err = i.view.RetryAll(ctx, inspect.Selection{Queue: i.queue, Limit: 1})
			i.discreet(what+": RetryAll", err)
			i.discreet(what+": Pause", i.view.Resume(ctx, i.queue))
		}
	}
	running := i.makeBody(p.hold(open), body, opts...)
	i.accept(single, running)
	i.awaitRuns([]job{running})
	provoke("a running job", running.in.ID)
	i.discreet("Discard of a running job", i.view.Discard(p.ctx, i.queue, running.in.ID))
	if i.honours(core.OptionDelay) {
		opts, _ = i.full()
		later := i.makeBody(nil, body, append(opts, core.Delay(time.Hour))...)
		i.accept(single, later)
		provoke("a delayed job", later.in.ID)
	}
}
