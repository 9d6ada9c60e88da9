package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// otherQueue is a second queue that the worker of a check with an inspector serves.
const otherQueue = "inspected-too"

// allPages lists the jobs of two queues in pages, with and without a task.
func allPages(p *probe) {
	i := p.inspect(Setup{Queues: []string{inspectedQueue, otherQueue}})
	if !i.honours(core.OptionDelay) || !i.lists(inspect.Delayed) {
		p.notApplicable("delayed jobs cannot be listed")
	}
	queues := []string{i.queue}
	if i.queue != "" {
		queues = append(queues, otherQueue)
	}
	const each = 24
	byQueue := map[string]map[string]job{}
	for _, queue := range queues {
		var jobs []job
		byQueue[queue] = map[string]job{}
		for k := range each {
			// Three have the same time, and the others come in no order.
			opts := []core.Option{core.Delay(time.Hour + time.Duration(k*7%each/3)*20*time.Minute)}
			if queue != "" {
				opts = append(opts, core.Queue(queue))
			}
			j := i.makeRaw([]byte(fmt.Sprintf(`"raw %d"`, k)), opts...)
			if k%3 > 0 {
				j = i.make(nil, opts...)
			}
			jobs = append(jobs, j)
			byQueue[queue][j.in.ID] = j
		}
		i.accept(batch, jobs...)
	}
	for _, queue := range queues {
		for id, j := range byQueue[queue] {
			var got inspect.Job
			i.until("a delayed job is found in its queue", func() (what string) {
				var err error
				if got, err = i.view.Get(p.ctx, queue, id); err != nil {
					return err.Error()
				}
				return ""
			})
			i.wantDelayed("Get", queue, j, got)
		}
		if other := queues[len(queues)-1]; other != queue {
			for id := range byQueue[queue] {
				if _, err := i.view.Get(p.ctx, other, id); !errors.Is(err, inspect.ErrNotFound) {
					p.fail("a job of one queue is not found in another one", "%v", err)
				}
			}
		}
		for _, task := range []string{"", jobTaskName, rawTaskName} {
			for _, limit := range []int{1 + p.rand.IntN(3), 4 + p.rand.IntN(8), each - 1, each} {
				i.wantPages(queue, task, limit, byQueue[queue])
			}
		}
	}
}

// wantPages lists a queue page by page. Nothing changes meanwhile.
func (i *inspected) wantPages(queue, task string, limit int, jobs map[string]job) {
	p := i.p
	want := 0
	for _, j := range jobs {
		if task == "" || j.in.Task == task {
			want++
		}
	}
	what := fmt.Sprintf("pages of %d delayed jobs, task %q", limit, task)
	q := inspect.Query{Queue: queue, State: inspect.Delayed, Task: task, Limit: limit}
	got := map[string]bool{}
	for n := 0; ; n++ {
		page, err := i.view.List(p.ctx, q)
		i.must("List", err)
		if len(page.Jobs) > limit || n > 20*len(jobs) {
			p.fail(what, "page %d has %d", n+1, len(page.Jobs))
		}
		for _, j := range page.Jobs {
			sent, known := jobs[j.ID]
			switch {
			case !known:
				p.fail(what+", of this queue", "one of another queue")
			case task != "" && j.Task != task:
				p.fail(what, "one of the task %q", j.Task)
			case got[j.ID]:
				p.fail(what+", each job once", "%s again on page %d", sent.ref, n+1)
			}
			got[j.ID] = true
			i.wantDelayed("List", queue, sent, j)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if len(got) != want {
		p.fail(fmt.Sprintf("%s: the %d that there are", what, want), "%d", len(got))
	}
}

// wantDelayed compares what is shown of a delayed job with what was sent.
func (i *inspected) wantDelayed(from, queue string, j job, got inspect.Job) {
	const tick = 2 * time.Second // of clocks that count seconds, and differ
	if queue == "" {
		queue = i.queueName()
	}
	late := got.Due.Sub(j.in.Options.At)
	switch {
	case got.ID != j.in.ID || got.Task != j.in.Task || got.Queue != queue || got.State != inspect.Delayed:
		i.p.fail(fmt.Sprintf("%s: %s %s (queue %s, delayed)", from, j.in.Task, j.in.ID, queue), "%s, %s", got, got.State)
	case !got.Due.IsZero() && (late < -tick-i.p.h.Skew || late > tick+i.p.h.Skew+i.caps.Options[core.OptionDelay].Granularity):
		i.p.fail(fmt.Sprintf("%s: each job is shown with the time at which it is due", from), "%v after it", late)
	}
}
