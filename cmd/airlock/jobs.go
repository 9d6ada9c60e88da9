package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/goairlock/airlock/inspect"
)

func dead(ctx context.Context, c *call) error {
	c.state = string(inspect.Dead)
	return list(ctx, c)
}

func list(ctx context.Context, c *call) error {
	if !slices.Contains(inspect.States(), inspect.State(c.state)) {
		return fmt.Errorf("%w: -state %q: it is one of %v", errUsage, c.state, inspect.States())
	}
	names, err := c.queues(ctx)
	if err != nil {
		return err
	}
	var jobs []inspect.Job
	for _, name := range names {
		found, more, err := c.jobsOf(ctx, name)
		if errors.Is(err, inspect.ErrNotFound) && c.name == "" {
			continue
		}
		if err != nil {
			return err
		}
		jobs = append(jobs, found...)
		if more {
			fmt.Fprintf(c.err, "queue %s has more: raise -limit\n", clean(name))
		}
	}
	if c.json {
		shown := make([]shownJob, len(jobs))
		for i, j := range jobs {
			shown[i] = c.shown(j)
		}
		return printJSON(c.out, shown)
	}
	if len(jobs) == 0 {
		fmt.Fprintf(c.err, "no job is %s\n", c.state)
		return nil
	}
	jobTable(jobs, c.payload).write(c.out)
	return nil
}

// jobsOf returns jobs of a queue, and whether there are more.
func (c *call) jobsOf(ctx context.Context, queue string) (jobs []inspect.Job, more bool, err error) {
	limit := c.limit
	if limit == 0 {
		limit = inspect.DefaultLimit
	}
	q := inspect.Query{Queue: queue, State: inspect.State(c.state), Task: c.task, Limit: min(limit+1, inspect.MaxLimit)}
	for j, err := range inspect.All(ctx, c.view, q) {
		if err != nil {
			return nil, false, err
		}
		if len(jobs) == limit {
			return jobs, true, nil
		}
		jobs = append(jobs, j)
	}
	return jobs, false, nil
}

func jobTable(jobs []inspect.Job, payload bool) table {
	t := table{head: []string{"QUEUE", "TASK", "ID", "ATTEMPTS", "WHEN", "ERROR"}}
	if payload {
		t.head = append(t.head, "PAYLOAD")
	}
	for _, j := range jobs {
		cells := []string{j.Queue, j.Task, j.ID, attempts(j), when(j), cut(reason(j), 100)}
		if payload {
			cells = append(cells, string(j.Payload()))
		}
		t.add(cells...)
	}
	return t
}

func attempts(j inspect.Job) string {
	if j.MaxAttempts == 0 {
		return fmt.Sprint(j.Attempts)
	}
	return fmt.Sprintf("%d of %d", j.Attempts, j.MaxAttempts)
}

// when says since or until when a job is in its state, as far as that is known.
func when(j inspect.Job) string {
	switch {
	case j.State == inspect.Delayed && !j.Due.IsZero():
		return "in " + short(max(time.Until(j.Due), 0))
	case !j.FailedAt.IsZero():
		return short(max(time.Since(j.FailedAt), 0)) + " ago"
	case !j.Enqueued.IsZero():
		return short(max(time.Since(j.Enqueued), 0)) + " ago"
	}
	return "?"
}

func reason(j inspect.Job) string {
	if j.Unreadable != "" {
		return "unreadable: " + j.Unreadable
	}
	return j.Error
}

// shownJob is a job as -json prints it. Payload and headers are there with -payload.
type shownJob struct {
	inspect.Job
	Headers map[string]string `json:"headers,omitempty"`
	Payload any               `json:"payload,omitempty"` // JSON
	Raw     []byte            `json:"payload_base64,omitempty"`
}

func (c *call) shown(j inspect.Job) shownJob {
	s := shownJob{Job: j}
	if !c.payload {
		return s
	}
	s.Headers = maps.Collect(j.Headers.All())
	if json.Valid(j.Payload()) {
		s.Payload = json.RawMessage(j.Payload())
	} else {
		s.Raw = j.Payload()
	}
	return s
}

func show(ctx context.Context, c *call) error {
	j, err := c.view.Get(ctx, c.name, c.ids[0])
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, []shownJob{c.shown(j)})
	}
	t := table{head: []string{"ID", j.ID}}
	add := func(name, value string) {
		if value != "" {
			t.add(name, value)
		}
	}
	moment := func(name string, at time.Time) {
		if !at.IsZero() {
			add(name, at.UTC().Format(time.RFC3339))
		}
	}
	t.head[1] = clean(j.ID)
	add("task", j.Task)
	add("queue", j.Queue)
	add("state", string(j.State))
	add("attempts", attempts(j))
	add("error", j.Error)
	add("unreadable", j.Unreadable)
	moment("enqueued", j.Enqueued)
	moment("due", j.Due)
	moment("failed", j.FailedAt)
	moment("deadline", j.Deadline)
	add("unique", j.Unique)
	if j.Native {
		add("stored by", "another program")
	}
	if c.payload {
		for k, v := range j.Headers.All() {
			add("header "+k, v)
		}
		add("payload", string(j.Payload()))
	}
	t.write(c.out)
	return nil
}
