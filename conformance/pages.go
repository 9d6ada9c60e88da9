package conformance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

func pagesOfTask(p *probe) {
	i := p.inspect(Setup{})
	state, jobs := i.still(9)
	q := inspect.Query{Queue: i.queue, State: state, Task: jobTaskName, Limit: 2}
	want := map[string]bool{}
	for _, j := range jobs {
		if j.in.Task == jobTaskName {
			want[j.in.ID] = true
		}
	}
	got := map[string]bool{}
	for n := 0; ; n++ {
		page, err := i.view.List(p.ctx, q)
		i.must("List", err)
		if len(page.Jobs) > q.Limit || n > 100 {
			p.fail(fmt.Sprintf("pages of at most %d jobs, and a last one", q.Limit), "page %d has %d jobs", n+1, len(page.Jobs))
		}
		for _, j := range page.Jobs {
			if got[j.ID] || !want[j.ID] {
				p.fail("each job of the task once", "%s again, or of another task", j)
			}
			got[j.ID] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if len(got) != len(want) {
		p.fail(fmt.Sprintf("the %d jobs of the task", len(want)), "%d", len(got))
	}
}

func listedWhileMoving(p *probe) {
	i := p.inspect(Setup{Slots: 2})
	opts := i.where()
	plan := handler(nil)
	if i.honours(core.OptionBackoff) && i.honours(core.OptionMaxAttempts) { // so that they are delayed meanwhile
		opts = append(opts, core.Backoff(i.soon()), core.MaxAttempts(3))
		plan = func(r *run) error {
			if r.ordinal == 1 {
				return errOnPurpose
			}
			return nil
		}
	}
	moving := make([]job, 80)
	for k := range moving {
		own := slices.Clone(opts)
		if i.honours(core.OptionDelay) && k < 40 { // before the others in a list, which they leave
			own = append(own, core.Delay(time.Second+time.Duration(k)*20*time.Millisecond))
		}
		moving[k] = i.make(plan, own...)
	}
	i.accept(batch, moving[:40]...)
	state, still := i.still(40)
	i.accept(batch, moving[40:]...)
	ids := idsOf(still)
	last := -1
	for passes := 0; ; passes++ {
		n, _ := i.ran(refsOf(moving))
		for _, of := range []inspect.State{inspect.Waiting, inspect.Running, inspect.Delayed, inspect.Dead} {
			if !i.lists(of) {
				continue
			}
			seen, n := 0, 0
			for j, err := range inspect.All(p.ctx, i.view, inspect.Query{Queue: i.queue, State: of, Limit: 7}) {
				i.must("List of "+string(of)+" jobs while some change", err)
				if j.State != of || j.Unreadable != "" {
					p.fail("only "+string(of)+" jobs that can be read", "%s, unreadable %q", j, j.Unreadable)
				}
				if ids[j.ID] {
					seen++
				}
				if n++; n%7 == 0 {
					p.sleep(time.Millisecond)
				}
			}
			if of == state && seen < len(still) {
				p.fail(fmt.Sprintf("the %d jobs that do not change are listed", len(still)), "%d", seen)
			}
		}
		p.witness("passes", 1)
		if n == len(moving) || n == last && passes > 1000 {
			break
		}
		last = n
		p.sleep(time.Millisecond)
	}
	i.awaitRuns(moving)
}

func emptyAgain(p *probe) {
	i := p.inspect(Setup{})
	jobs := []job{i.job(nil), i.job(nil), i.job(nil)}
	i.accept(single, jobs...)
	i.awaitRuns(jobs)
	i.until("no job waits, runs or is dead", func() string {
		d, err := i.view.Depth(p.ctx, i.queue)
		if i.discreet("Depth", err); err != nil {
			if errors.Is(err, inspect.ErrNotFound) {
				return ""
			}
			return err.Error()
		}
		for what, c := range map[string]inspect.Count{"waiting": d.Waiting, "delayed": d.Delayed, "running": d.Running, "dead": d.Dead, "parked": d.Parked} {
			if n, known := c.Known(); known && n != 0 {
				return fmt.Sprintf("%d are %s", n, what)
			}
		}
		if age, known := d.Oldest.Known(); known && age != 0 {
			return "the oldest has waited for " + age.String()
		}
		return ""
	})
	for _, state := range []inspect.State{inspect.Waiting, inspect.Delayed, inspect.Running, inspect.Dead} {
		if i.lists(state) && len(i.all(state)) > 0 {
			p.fail("no job is "+string(state), "%d are", len(i.all(state)))
		}
	}
}
