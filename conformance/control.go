package conformance

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// controlChecks are for what an inspector does.
var controlChecks = []check{
	{id: "V20", level: Inspect, run: retryDead,
		title: "a dead job that is retried keeps its ID, payload, headers and limits, and begins at attempt 1",
		why:   "a retry that is another job is charged twice, and one without its attempts dies again at once"},
	{id: "V21", level: Inspect, run: retryUsedUp,
		title: "a job whose attempts were used up has all of them again when it is retried",
		why:   "the retry after a fix must survive the next short outage"},
	{id: "V22", level: Inspect, run: retryDelayed,
		title: "a delayed job that is retried runs now, in the attempt that it is in",
		why:   "nobody wants to wait for a backoff of hours after the cause is fixed"},
	{id: "V23", level: Inspect, run: runningIsLeftAlone,
		title: "a running job is neither retried nor discarded, and one that is done is not retried",
		why:   "the job would run twice at the same time, or a second time after it has succeeded"},
	{id: "V24", level: Inspect, run: retryAll,
		title: "RetryAll retries dead jobs of the task up to the limit, and counts them",
		why:   "after an outage thousands of jobs are retried in steps, and others must stay dead"},
	{id: "V25", level: Inspect, run: retryDuplicate,
		title: "a retry that would be a duplicate is refused and changes nothing",
		why:   "two unfinished jobs of one unique key are what the key is there to prevent"},
	{id: "V26", level: Inspect, run: discard,
		title: "a discarded job is gone, never runs, and its unique key is free",
		why:   "a job that an operator has discarded must not come back"},
	{id: "V27", level: Inspect, run: pause,
		title: "a paused queue starts no job until it is resumed",
		why:   "a pause protects a service that is down for maintenance"},
}

func retryDead(p *probe) {
	i := p.inspect(Setup{})
	i.keepsDead()
	opts, _ := i.full()
	if i.honours(core.OptionID) {
		opts = append(opts, core.ID(fmt.Sprintf("chosen-%x", p.rand.Uint64())))
	}
	open := make(chan struct{})
	j := i.makeBody(onceDead(p.hold(open)), []byte(`"`+secretText+`"`), opts...)
	i.dead(j)
	got := i.awaitState(j.in.ID, inspect.Dead)
	switch {
	case got.Error == "" || got.Attempts != 1 && got.Attempts != 0:
		p.fail("a dead job has the error of its only attempt", "%d attempts, error %q", got.Attempts, got.Error)
	case !got.FailedAt.IsZero() && (time.Since(got.FailedAt) < -time.Minute-p.h.Skew || time.Since(got.FailedAt) > i.patience()+time.Minute):
		p.fail("it has failed just now", "at %v", got.FailedAt)
	}
	i.must("Retry", i.view.Retry(p.ctx, i.queue, j.in.ID))
	if !i.await(i.patience(), func() bool { return i.count(j.ref) >= 2 }) {
		p.fail("the job runs again", "it does not")
	}
	first, again := i.runsOf(j.ref)[0], i.runsOf(j.ref)[1]
	switch {
	case again.Job.ID != j.in.ID || again.Job.Task != j.in.Task || again.Job.Queue != first.Job.Queue:
		p.fail(fmt.Sprintf("%s %s in queue %s", j.in.Task, j.in.ID, first.Job.Queue), "%s %s in queue %s", again.Job.Task, again.Job.ID, again.Job.Queue)
	case again.Job.Attempt != 1 || again.Job.MaxAttempts != first.Job.MaxAttempts:
		p.fail(fmt.Sprintf("attempt 1 of %d", first.Job.MaxAttempts), "attempt %d of %d", again.Job.Attempt, again.Job.MaxAttempts)
	case !sameDeadline(again, first):
		p.fail("the same deadline", "another one")
	case string(again.Body) != string(first.Body):
		p.fail("the same payload", "%d bytes in place of %d", len(again.Body), len(first.Body))
	}
	i.sameHeaders(maps.Collect(j.in.Headers().All()), again.Job.Headers)
	if i.honours(core.OptionID) {
		i.wantState("the ID of the retried job, which runs, is taken", core.Duplicate, j)
	}
	close(open)
	i.awaitEnd(j, 2, i.patience())
	i.hush()
	if n := i.count(j.ref); n != 2 {
		p.fail("one run for one retry", "%d", n-1)
	}
}

func sameDeadline(a, b run) bool {
	at, is := a.ctx.Deadline()
	bt, was := b.ctx.Deadline()
	return is == was && at.Sub(bt).Abs() < time.Second
}

func retryUsedUp(p *probe) {
	i := p.inspect(Setup{})
	i.keepsDead()
	i.need(core.OptionMaxAttempts)
	opts, within := i.tries(2)
	j := i.job(failing, opts...)
	i.accept(single, j)
	i.awaitEnd(j, 2, within)
	i.awaitState(j.in.ID, inspect.Dead)
	i.must("Retry", i.view.Retry(p.ctx, i.queue, j.in.ID))
	runs := i.awaitEnd(j, 4, within)
	i.awaitState(j.in.ID, inspect.Dead)
	for n, want := range []int{1, 2, 1, 2} {
		if runs[n].Job.Attempt != want || runs[n].Job.MaxAttempts != 2 {
			p.fail(fmt.Sprintf("run %d is attempt %d of 2", n+1, want), "attempt %d of %d", runs[n].Job.Attempt, runs[n].Job.MaxAttempts)
		}
	}
}

func retryDelayed(p *probe) {
	i := p.inspect(Setup{})
	if !i.lists(inspect.Delayed) {
		p.notApplicable("delayed jobs cannot be looked at")
	}
	i.need(core.OptionBackoff)
	i.need(core.OptionMaxAttempts)
	j := i.job(func(r *run) error {
		if r.ordinal == 1 {
			return errOnPurpose
		}
		return nil
	}, core.Backoff(core.Fixed(time.Hour)), core.MaxAttempts(3))
	i.accept(single, j)
	i.awaitEnd(j, 1, i.patience())
	if got := i.awaitState(j.in.ID, inspect.Delayed); got.Attempts != 1 {
		p.fail("one attempt is used", "%d", got.Attempts)
	}
	i.must("Retry", i.view.Retry(p.ctx, i.queue, j.in.ID))
	runs := i.awaitEnd(j, 2, i.patience())
	if r := runs[1].Job; r.ID != j.in.ID || r.Attempt != 2 || r.MaxAttempts != 3 {
		p.fail("attempt 2 of 3 of "+j.in.ID, "attempt %d of %d of %s", r.Attempt, r.MaxAttempts, r.ID)
	}
	later := i.job(nil, core.Delay(time.Hour))
	if !i.honours(core.OptionDelay) {
		return
	}
	i.accept(single, later)
	i.awaitState(later.in.ID, inspect.Delayed)
	i.must("Retry", i.view.Retry(p.ctx, i.queue, later.in.ID))
	if r := i.awaitEnd(later, 1, i.patience())[0].Job; r.Attempt != 1 || r.ID != later.in.ID {
		p.fail("attempt 1 of "+later.in.ID, "attempt %d of %s", r.Attempt, r.ID)
	}
}

func runningIsLeftAlone(p *probe) {
	i := p.inspect(Setup{})
	open := make(chan struct{})
	j := i.job(p.hold(open))
	i.accept(single, j)
	i.awaitRuns([]job{j})
	want := inspect.ErrRunning
	if i.lists(inspect.Running) {
		if got := i.awaitState(j.in.ID, inspect.Running); got.Attempts != 1 {
			p.fail("a running job has begun one attempt", "%d", got.Attempts)
		}
	} else {
		want = inspect.ErrNotFound
	}
	i.want("Retry of a running job", i.view.Retry(p.ctx, i.queue, j.in.ID), want)
	i.want("Discard of a running job", i.view.Discard(p.ctx, i.queue, j.in.ID), want)
	close(open)
	i.awaitEnd(j, 1, i.patience())
	i.until("the job that has succeeded is done or gone", func() string {
		got, err := i.view.Get(p.ctx, i.queue, j.in.ID)
		i.discreet("Get", err)
		switch {
		case errors.Is(err, inspect.ErrNotFound):
			return ""
		case err != nil:
			return err.Error()
		case got.State != inspect.Done:
			return "it is " + string(got.State)
		}
		i.want("Retry of a job that is done", i.view.Retry(p.ctx, i.queue, j.in.ID), inspect.ErrDone)
		return ""
	})
	i.hush()
	if n := i.count(j.ref); n != 1 {
		p.fail("one run", "%d", n)
	}
}

func retryAll(p *probe) {
	i := p.inspect(Setup{})
	i.keepsDead()
	var jobs []job
	for k := range 9 {
		if k%3 == 1 {
			j := i.makeRaw([]byte(fmt.Sprintf(`"raw %d"`, k)), i.where()...)
			i.mu.Lock()
			i.plans[j.ref] = onceDead(nil)
			i.mu.Unlock()
			jobs = append(jobs, j)
			continue
		}
		jobs = append(jobs, i.job(onceDead(nil))) // 6 of them
	}
	i.dead(jobs...)
	left := 9
	for _, step := range []struct {
		task  string
		limit int
		want  int
	}{{jobTaskName, 4, 4}, {jobTaskName, 100, 2}, {jobTaskName, 100, 0}, {"", 2, 2}, {"", 2, 1}} {
		got, err := i.view.RetryAll(p.ctx, inspect.Selection{Queue: i.queue, Task: step.task, Limit: step.limit})
		i.must("RetryAll", err)
		if got != (inspect.Result{Retried: step.want}) {
			p.fail(fmt.Sprintf("RetryAll of task %q with the limit %d: %d retried", step.task, step.limit, step.want), "%+v", got)
		}
		left -= step.want
		if n := len(i.all(inspect.Dead)); n != left {
			p.fail(fmt.Sprintf("%d jobs stay dead", left), "%d", n)
		}
	}
	for _, j := range jobs {
		i.awaitEnd(j, 2, i.patience())
	}
	i.hush()
	for _, j := range jobs {
		if n := i.count(j.ref); n != 2 {
			p.fail("one run for one retry", "%d", n-1)
		}
	}
}

func retryDuplicate(p *probe) {
	i := p.inspect(Setup{})
	i.keepsDead()
	i.need(core.OptionUnique)
	if !i.honours(core.OptionDelay) {
		p.notApplicable("no job can hold a key without running")
	}
	open := make(chan struct{})
	j, other := i.job(onceDead(p.hold(open)), core.Unique("key")), i.job(onceDead(nil))
	i.dead(j, other)
	holder := i.job(nil, core.Unique("key"), core.Delay(time.Hour))
	i.accept(single, holder)
	i.want("Retry of a job whose key another one holds", i.view.Retry(p.ctx, i.queue, j.in.ID), core.ErrDuplicate)
	i.awaitState(j.in.ID, inspect.Dead)
	got, err := i.view.RetryAll(p.ctx, inspect.Selection{Queue: i.queue, Limit: 10})
	i.must("RetryAll", err)
	if got != (inspect.Result{Retried: 1, Skipped: 1}) {
		p.fail("RetryAll retries one job and skips the one whose key is held", "%+v", got)
	}
	i.awaitEnd(other, 2, i.patience())
	i.hush()
	if n := i.count(j.ref); n != 1 {
		p.fail("the job does not run while another one holds its key", "%d runs after it was dead", n-1)
	}
	if !i.lists(inspect.Delayed) {
		return
	}
	i.must("Discard", i.view.Discard(p.ctx, i.queue, holder.in.ID))
	p.mayBeLeft(holder, "it was discarded")
	i.must("Retry", i.view.Retry(p.ctx, i.queue, j.in.ID))
	i.awaitFunc("the job runs again", func() string {
		if i.count(j.ref) < 2 {
			return "it does not"
		}
		return ""
	})
	i.wantState("a job of the key that the retried job holds again", core.Duplicate, i.job(nil, core.Unique("key")))
	close(open)
	i.awaitEnd(j, 2, i.patience())
}

func discard(p *probe) {
	i := p.inspect(Setup{Slots: 1})
	gone := func(j job) {
		i.must("Discard", i.view.Discard(p.ctx, i.queue, j.in.ID))
		p.mayBeLeft(j, "it was discarded")
		_, err := i.view.Get(p.ctx, i.queue, j.in.ID)
		i.want("Get after Discard", err, inspect.ErrNotFound)
		i.want("a second Discard", i.view.Discard(p.ctx, i.queue, j.in.ID), inspect.ErrNotFound)
		p.witness("discarded", 1)
	}
	var all []job
	if _, err := i.view.RetryAll(p.ctx, inspect.Selection{Queue: i.queue, Limit: 1}); err == nil {
		j := i.job(onceDead(nil))
		i.dead(j)
		gone(j)
	}
	open := make(chan struct{})
	var held []job
	for range i.slots(1) {
		held = append(held, i.job(p.hold(open)))
	}
	i.accept(single, held...)
	i.awaitRuns(held)
	keep := i.job(nil)
	i.accept(single, keep)
	if i.lists(inspect.Waiting) {
		j := i.job(nil)
		i.accept(single, j)
		all = append(all, j)
		gone(j)
	}
	if i.honours(core.OptionDelay) && i.lists(inspect.Delayed) {
		opts := []core.Option{core.Delay(time.Hour)}
		if i.honours(core.OptionUnique) {
			opts = append(opts, core.Unique("key"))
		}
		j := i.job(nil, opts...)
		i.accept(single, j)
		gone(j)
		if i.honours(core.OptionUnique) {
			i.wantState("the key of a discarded job is free", core.Accepted, i.job(nil, core.Unique("key")))
		}
	}
	if err := i.view.Retry(p.ctx, i.queue, keep.in.ID); !errors.Is(err, inspect.ErrNotFound) || i.lists(inspect.Waiting) {
		i.must("Retry of a job that waits", err)
	}
	close(open)
	i.awaitRuns([]job{keep})
	i.hush()
	if n := i.count(keep.ref); n != 1 {
		p.fail("one run of a job that waits, although it was retried", "%d", n)
	}
	if n, _ := i.ran(refsOf(all)); n > 0 {
		p.fail("a discarded job never runs", "%d ran", n)
	}
}

func pause(p *probe) {
	i := p.inspect(Setup{})
	first := i.job(nil)
	i.accept(single, first)
	i.awaitRuns([]job{first})
	err := i.view.Pause(p.ctx, i.queue)
	if reason, refused := i.refuses("Pause", err); refused {
		p.end(RefusedAsDeclared, "pause: %s", reason)
	}
	i.must("Pause", err)
	i.must("a second Pause", i.view.Pause(p.ctx, i.queue))
	if !i.depth().Paused {
		p.fail("Depth says that the queue is paused", "it does not")
	}
	if i.sys.Stop == nil {
		p.lacks("System.Stop")
	}
	i.stop()
	next := p.inspect(Setup{Namespace: i.setup.Namespace})
	j := next.job(nil)
	next.accept(single, j)
	next.hush()
	if n := next.count(j.ref); n > 0 {
		p.fail("a paused queue starts no job", "it runs")
	}
	next.must("Resume", next.view.Resume(p.ctx, next.queue))
	next.must("a second Resume", next.view.Resume(p.ctx, next.queue))
	next.awaitRuns([]job{j})
	if next.depth().Paused {
		p.fail("Depth says that the queue is not paused", "it does")
	}
}
