package conformance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// viewChecks are for what an inspector shows.
var viewChecks = []check{
	{id: "V01", level: Inspect, run: missingIsNotFound,
		title: "a queue or a job that does not exist is not found",
		why:   "an operator who mistypes a name must not read that the queue is empty"},
	{id: "V02", level: Inspect, run: badQueries,
		title: "an unknown state, a bad limit, a nil context and one that has ended are errors",
		why:   "a script with a mistake must stop, and not retry nothing or everything"},
	{id: "V03", level: Inspect, run: statesCounted,
		title: "jobs in each state are counted and listed, and no others",
		why:   "alerts are about these numbers"},
	{id: "V04", level: Inspect, run: unknownIsNotZero,
		title: "what cannot be known is unknown, and what cannot be done is refused with a reason",
		why:   "a zero that nobody has counted hides an outage"},
	{id: "V05", level: Inspect, run: jobShown,
		title: "a job is shown with its ID, task, queue, limits, headers and payload",
		why:   "an operator finds out from them what to do with the job"},
	{id: "V06", level: Inspect, run: pagesOfTask,
		title: "a list has pages of at most the limit, which together have every job of the task once",
		why:   "a queue with a million jobs must not be loaded at once, and none of them must be left out"},
	{id: "V07", level: Inspect, run: listedWhileMoving, limit: time.Minute,
		title: "jobs that change while others are listed are no error, and the others are all listed",
		why:   "a queue is looked at when it is busiest"},
	{id: "V08", level: Inspect, run: emptyAgain,
		title: "a queue whose jobs are all done has none that wait, run or are dead",
		why:   "a job that is done and still counted looks like a backlog"},
	{id: "V09", level: Inspect, run: nativeShown,
		title: "a job of a producer that does not use airlock is listed and can be retried and discarded",
		why:   "queues are shared during a migration"},
	{id: "V10", level: Inspect, run: corruptShown,
		title: "a message that is no job is listed as unreadable, is not retried, and can be discarded",
		why:   "one such message must neither hide the others nor stay forever"},
	{id: "V11", level: Inspect, run: errorsDiscreet,
		title: "no error has a payload or the value of a header",
		why:   "errors end up in logs, and payloads are personal data"},
	{id: "V12", level: Inspect, run: allPages,
		title: "pages of every size have every delayed job of their queue and task once, with the time at which it is due",
		why:   "an operator counts, exports and moves jobs by such lists"},
}

func missingIsNotFound(p *probe) {
	i := p.inspect(Setup{})
	known := i.job(nil)
	i.accept(single, known) // the queue exists
	i.awaitRuns([]job{known})
	_, err := i.view.Depth(p.ctx, missingQueue)
	i.want("Depth of a missing queue", err, inspect.ErrNotFound)
	for _, state := range []inspect.State{inspect.Waiting, inspect.Dead} {
		_, err = i.view.List(p.ctx, inspect.Query{Queue: missingQueue, State: state})
		if _, refused := i.refuses("List", err); !refused {
			i.want("List of a missing queue", err, inspect.ErrNotFound)
		}
	}
	for _, queue := range []string{missingQueue, i.queue} {
		_, err = i.view.Get(p.ctx, queue, missingJob)
		i.want("Get", err, inspect.ErrNotFound)
		i.want("Retry", i.view.Retry(p.ctx, queue, missingJob), inspect.ErrNotFound)
		i.want("Discard", i.view.Discard(p.ctx, queue, missingJob), inspect.ErrNotFound)
	}
	i.keepsDead()
	_, err = i.view.RetryAll(p.ctx, inspect.Selection{Queue: missingQueue, Limit: 1})
	i.want("RetryAll of a missing queue", err, inspect.ErrNotFound)
}

func badQueries(p *probe) {
	i := p.inspect(Setup{})
	queue, v := i.queue, i.view
	for _, q := range []inspect.Query{{Queue: queue}, {Queue: queue, State: "odd"}, {Queue: queue, State: inspect.Dead, Limit: -1}} {
		_, err := v.List(p.ctx, q)
		i.want(fmt.Sprintf("List with the state %q and the limit %d", q.State, q.Limit), err, core.ErrInvalid)
	}
	for _, limit := range []int{0, -1} {
		_, err := v.RetryAll(p.ctx, inspect.Selection{Queue: queue, Limit: limit})
		i.want(fmt.Sprintf("RetryAll with the limit %d", limit), err, core.ErrInvalid)
	}
	ended, cancel := context.WithCancel(p.ctx)
	cancel()
	for what, with := range map[string]struct {
		ctx  context.Context
		want error
	}{"a nil context": {nil, core.ErrInvalid}, "a context that has ended": {ended, context.Canceled}} {
		for method, call := range map[string]func(context.Context) error{
			"Queues": func(ctx context.Context) error { _, err := v.Queues(ctx); return err },
			"Depth":  func(ctx context.Context) error { _, err := v.Depth(ctx, queue); return err },
			"List": func(ctx context.Context) error {
				_, err := v.List(ctx, inspect.Query{Queue: queue, State: inspect.Dead})
				return err
			},
			"Get":   func(ctx context.Context) error { _, err := v.Get(ctx, queue, missingJob); return err },
			"Retry": func(ctx context.Context) error { return v.Retry(ctx, queue, missingJob) },
			"RetryAll": func(ctx context.Context) error {
				_, err := v.RetryAll(ctx, inspect.Selection{Queue: queue, Limit: 1})
				return err
			},
			"Discard": func(ctx context.Context) error { return v.Discard(ctx, queue, missingJob) },
			"Pause":   func(ctx context.Context) error { return v.Pause(ctx, queue) },
			"Resume":  func(ctx context.Context) error { return v.Resume(ctx, queue) },
		} {
			err := call(with.ctx)
			if _, refused := i.refuses(method, err); !refused {
				i.want(method+" with "+what, err, with.want)
			}
		}
	}
}

func statesCounted(p *probe) {
	i := p.inspect(Setup{Slots: 1})
	open := make(chan struct{})
	defer close(open)
	byState := map[inspect.State][]job{}
	for range i.slots(1) {
		byState[inspect.Running] = append(byState[inspect.Running], i.job(p.hold(open)))
	}
	if _, err := i.view.RetryAll(p.ctx, inspect.Selection{Queue: i.queue, Limit: 1}); err == nil {
		byState[inspect.Dead] = []job{i.job(onceDead(nil)), i.job(onceDead(nil))}
		i.dead(byState[inspect.Dead]...)
	}
	i.accept(single, byState[inspect.Running]...)
	i.awaitRuns(byState[inspect.Running])
	byState[inspect.Waiting] = []job{i.job(nil), i.job(nil), i.job(nil)}
	i.accept(single, byState[inspect.Waiting]...)
	if i.honours(core.OptionDelay) {
		byState[inspect.Delayed] = []job{i.job(nil, core.Delay(time.Hour)), i.job(nil, core.Delay(2*time.Hour))}
		i.accept(single, byState[inspect.Delayed]...)
	}
	began := time.Now()
	i.until("every job is counted and listed in its state", func() string { return i.miscounted(byState) })
	names, err := i.view.Queues(p.ctx)
	if _, refused := i.refuses("Queues", err); !refused {
		i.must("Queues", err)
		if !slices.Contains(names, i.queueName()) || !slices.IsSorted(names) {
			p.fail("the queue "+i.queueName()+" among the queues, which are sorted", "%q", names)
		}
	}
	const tick = 2 * time.Second // of clocks that count seconds, and differ
	p.sleep(p.settle())
	d := i.depth()
	if age, known := d.Oldest.Known(); known && (age > time.Since(began)+i.patience() || age < p.settle()-p.h.Skew-tick) {
		p.fail(fmt.Sprintf("the oldest job has waited for about %v", p.settle()), "%v", age)
	}
	if d.Paused || d.Queue != i.queueName() {
		p.fail("the queue "+i.queueName()+", which is not paused", "%q, paused %t", d.Queue, d.Paused)
	}
}

// miscounted says what is wrong with the counts or the lists, or "".
func (i *inspected) miscounted(want map[inspect.State][]job) string {
	d := i.depth()
	for state, count := range map[inspect.State]inspect.Count{
		inspect.Waiting: d.Waiting, inspect.Delayed: d.Delayed, inspect.Running: d.Running, inspect.Dead: d.Dead,
	} {
		if n, known := count.Known(); known && n != int64(len(want[state])) {
			return fmt.Sprintf("%d jobs are %s, want %d", n, state, len(want[state]))
		}
		if !i.lists(state) {
			continue
		}
		got := map[string]bool{}
		for _, j := range i.all(state) {
			got[j.ID] = true
			if j.State != state || j.Queue != i.queueName() {
				return fmt.Sprintf("a list of %s jobs has one that is %s, in queue %q", state, j.State, j.Queue)
			}
		}
		if !maps.Equal(got, idsOf(want[state])) {
			return fmt.Sprintf("%d jobs are listed as %s, or others than the %d that are", len(got), state, len(want[state]))
		}
	}
	return ""
}

func unknownIsNotZero(p *probe) {
	i := p.inspect(Setup{})
	first := i.job(nil)
	i.accept(single, first)
	i.awaitRuns([]job{first})
	in, err := unknownTaskName.Intent(jobArgs{Ref: "unknown"}, i.where()...)
	if err != nil {
		p.broken("intent: %v", err)
	}
	parked := core.OutcomesOf(i.sys.Exec(p.ctx, in), []core.Intent{in})[0].State == core.Accepted
	hour := i.job(nil)
	if i.honours(core.OptionDelay) {
		hour = i.job(nil, core.Delay(time.Hour))
	}
	i.accept(single, hour) // keeps the queue
	if parked {
		i.untilWithin(p.parksWithin(), "a parked job is counted, or the number of parked jobs is unknown", func() string {
			if n, known := i.depth().Parked.Known(); known && n == 0 {
				return "it is known that there is none"
			}
			return ""
		})
	}
	d, err := i.view.Depth(p.ctx, i.queue)
	if err != nil && i.honours(core.OptionDelay) {
		i.must("Depth", err)
	}
	counts := map[inspect.State]inspect.Count{
		inspect.Waiting: d.Waiting, inspect.Delayed: d.Delayed, inspect.Running: d.Running, inspect.Dead: d.Dead, inspect.Parked: d.Parked,
	}
	for _, state := range inspect.States() {
		_, listErr := i.view.List(p.ctx, inspect.Query{Queue: i.queue, State: state})
		_, refused := i.refuses("List of "+string(state)+" jobs", listErr)
		_, known := counts[state].Known()
		if _, counted := counts[state]; counted && err == nil && !known && !refused {
			p.fail("jobs whose number is unknown cannot be listed", "%s jobs are listed: %v", state, listErr)
		}
		if !refused && err == nil {
			i.must("List of "+string(state)+" jobs", listErr)
		}
	}
	if _, refused := i.refuses("Pause", i.view.Pause(p.ctx, i.queue)); refused {
		if _, refused := i.refuses("Resume", i.view.Resume(p.ctx, i.queue)); !refused {
			p.fail("where Pause is refused, Resume is", "it is not")
		}
	} else {
		i.must("Resume", i.view.Resume(p.ctx, i.queue))
	}
}

// full returns the options that the executor honours of those which a job shows.
func (i *inspected) full() (opts []core.Option, deadline time.Time) {
	if i.honours(core.OptionMaxAttempts) {
		opts = append(opts, core.MaxAttempts(7))
	}
	if i.honours(core.OptionHeader) {
		opts = append(opts, core.Header("Color", secretText), core.Header("Empty", ""))
	}
	if i.honours(core.OptionDeadline) {
		deadline = time.Now().Add(48 * time.Hour).Truncate(time.Second)
		opts = append(opts, core.Deadline(deadline))
	}
	return append(opts, i.where()...), deadline
}

func jobShown(p *probe) {
	i := p.inspect(Setup{})
	opts, deadline := i.full()
	j := i.makeBody(onceDead(nil), []byte(`"`+secretText+`"`), opts...)
	state := inspect.Dead
	if i.honours(core.OptionDelay) && i.lists(inspect.Delayed) {
		state = inspect.Delayed
		j = i.makeBody(nil, []byte(`"`+secretText+`"`), append(opts, core.Delay(time.Hour))...)
	} else {
		i.keepsDead()
	}
	i.accept(single, j)
	got := i.awaitState(j.in.ID, state)
	listed := i.all(state)
	if len(listed) != 1 {
		p.fail("one "+string(state)+" job", "%d", len(listed))
	}
	for from, g := range map[string]inspect.Job{"Get": got, "List": listed[0]} {
		switch {
		case g.ID != j.in.ID || g.Task != jobTaskName || g.Queue != i.queueName() || g.State != state:
			p.fail(fmt.Sprintf("%s: %s %s (queue %s, %s)", from, jobTaskName, j.in.ID, i.queueName(), state), "%s", g)
		case i.honours(core.OptionMaxAttempts) && g.MaxAttempts != 7 && g.MaxAttempts != 0 || g.Native || g.Unreadable != "":
			p.fail(from+": a readable job of ours with 7 attempts", "%d attempts, native %t, unreadable %q", g.MaxAttempts, g.Native, g.Unreadable)
		case !g.Deadline.Equal(deadline) && !g.Deadline.IsZero():
			p.fail(from+": the deadline "+deadline.String(), "%v", g.Deadline)
		case state == inspect.Delayed && (g.Attempts != 0 || g.Error != ""):
			p.fail(from+": a job that never ran", "%d attempts, error %q", g.Attempts, g.Error)
		case state == inspect.Delayed && !g.Due.IsZero() && (time.Until(g.Due) < 50*time.Minute || time.Until(g.Due) > 70*time.Minute):
			p.fail(from+": due in an hour", "in %v", time.Until(g.Due))
		case !p.samePayload(j.in.Payload(), g.Payload()):
			p.fail(from+": the payload of "+show(j.in.Payload()), "%d bytes", len(g.Payload()))
		}
		i.sameHeaders(maps.Collect(j.in.Headers().All()), g.Headers)
	}
}
