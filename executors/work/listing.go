package workexec

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gocraft/work"
	"github.com/gomodule/redigo/redis"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/inspect"
)

// List returns a page of the jobs of a queue. Jobs of a list are the oldest first, and
// others by the time at which they are due or died.
func (i *Inspector) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	s, err := i.space(ctx, q.Queue)
	if err != nil {
		return inspect.Page{}, err
	}
	switch q.State {
	case inspect.Done:
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list jobs that are done", Reason: "they are not kept"}
	case inspect.Parked:
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list parked jobs",
			Reason: "they are stored like other jobs: list those that are waiting or delayed"}
	}
	// With a task, a call looks at as many jobs as a page may have at the most.
	limit := q.Limit
	if q.Task != "" {
		limit = inspect.MaxLimit
	}
	var page inspect.Page
	page.Next, err = i.walk(ctx, s, q.State, q.Cursor, limit, func(f found) bool {
		if job := i.jobOf(s, f); q.Task == "" || job.Task == q.Task {
			page.Jobs = append(page.Jobs, job)
		}
		return len(page.Jobs) < q.Limit
	})
	if err != nil {
		return inspect.Page{}, err
	}
	return page, nil
}

// found is a message and where it was.
type found struct {
	set   string
	text  string
	score string // "" in a list
	state inspect.State
}

// walk calls visit for the messages of a state, page by page.
func (i *Inspector) walk(ctx context.Context, s space, state inspect.State, cursor string, limit int, visit func(found) bool) (next string, err error) {
	sets, err := i.sets(ctx, s, state)
	if err != nil {
		return "", err
	}
	isList := state == inspect.Waiting || state == inspect.Running
	pages := adapter.Pages{
		Sets: sets,
		Read: func(set string, from int64, n int) ([]adapter.Member, error) {
			return i.read(ctx, set, isList, from, n)
		},
		First: func(set, score string) (int64, error) {
			return redis.Int64(i.do(ctx, "ZCOUNT", set, "-inf", "("+score))
		},
	}
	return pages.Next(cursor, limit, func(set string, m adapter.Member) bool {
		return visit(found{set, m.Text, m.Score, state})
	})
}

// sets returns the keys of the jobs in a state, sorted.
func (i *Inspector) sets(ctx context.Context, s space, state inspect.State) (sets []string, err error) {
	switch state {
	case inspect.Delayed:
		return []string{s.prefix + "retry", s.prefix + "scheduled"}, nil
	case inspect.Dead:
		return []string{s.prefix + "dead"}, nil
	case inspect.Running:
		reply, err := i.eval(ctx, inProgressScript, []string{s.prefix + "known_jobs"}, s.prefix, ownerSuffix)
		if sets, err = redis.Strings(reply, err); err != nil {
			return nil, err
		}
	default:
		names, err := redis.Strings(i.do(ctx, "SMEMBERS", s.prefix+"known_jobs"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			sets = append(sets, s.prefix+"jobs:"+name)
		}
	}
	slices.Sort(sets)
	return sets, nil
}

// read reads a list from its end, where the oldest are, or a sorted set. A key of
// another type has no jobs.
func (i *Inspector) read(ctx context.Context, set string, isList bool, from int64, n int) ([]adapter.Member, error) {
	if n <= 0 {
		return nil, nil
	}
	members := make([]adapter.Member, 0, n)
	if isList {
		texts, err := redis.Strings(i.do(ctx, "LRANGE", set, -from-int64(n), -from-1))
		for _, text := range slices.Backward(texts) {
			members = append(members, adapter.Member{Text: text})
		}
		return members, unlessWrongType(err)
	}
	texts, err := redis.Strings(i.do(ctx, "ZRANGE", set, from, from+int64(n)-1, "WITHSCORES"))
	for at := 0; at+1 < len(texts); at += 2 {
		members = append(members, adapter.Member{Text: texts[at], Score: texts[at+1]})
	}
	return members, unlessWrongType(err)
}

func unlessWrongType(err error) error {
	if err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
		return nil
	}
	return err
}

// jobOf returns a message as a job.
func (i *Inspector) jobOf(s space, f found) inspect.Job {
	job := inspect.Job{ID: recordID(f.text), Queue: s.queue, State: f.state, Native: true}
	listName := f.listName(s)
	job.Task = taskOf(listName)
	var m message
	if json.Unmarshal([]byte(f.text), &m) != nil || m.Name == "" {
		job.Unreadable = errNoJob.Error()
		return job.WithPayload([]byte(f.text))
	}
	job.Task, job.Error = taskOf(m.Name), m.Err
	job.Enqueued, job.FailedAt = timeOf(m.T), timeOf(m.FailedAt)
	if m.ID != "" {
		job.ID = m.ID
	}
	h, err := deliveryOf(&list{queue: s.queue, prefix: s.prefix, name: m.Name}, f.text)
	switch {
	case err != nil:
		job.Unreadable = err.Error()
		return job.WithPayload([]byte(f.text))
	case listName != "" && listName != m.Name:
		job.Unreadable = errWrongList.Error()
	case h.delivery.EnvelopeErr != nil:
		job.Unreadable = h.delivery.EnvelopeErr.Error()
	}
	native := h.delivery.Native.(*work.Job)
	_, ours := native.Args[envelopeKey]
	job.Native = !ours
	if !ours && strings.HasPrefix(m.ID, unreadableID) {
		job.Unreadable = m.Err // what our worker has made of a message that is no job
	}
	d := &h.delivery
	job.Attempts, job.MaxAttempts = d.Attempt-1, d.MaxAttempts
	if f.state == inspect.Running {
		job.Attempts++
	}
	if f.state == inspect.Delayed {
		if due, err := redis.Float64([]byte(f.score), nil); err == nil {
			job.Due = time.Unix(int64(due), 0)
		}
	}
	job.Deadline, job.Headers = d.Deadline, d.Headers
	if h.lock != "" {
		job.Unique = strings.TrimPrefix(h.lock, lockName(d.Task, ""))
	}
	return job.WithPayload(d.Payload)
}

// unreadableID begins what recordID returns.
const unreadableID = "unreadable-"

// listName returns the name of the jobs of a list, or "" for a sorted set.
func (f found) listName(s space) string {
	name, ok := strings.CutPrefix(f.set, s.prefix+"jobs:")
	switch {
	case !ok:
		return ""
	case f.state == inspect.Running:
		name, _, _ = strings.Cut(name, ":")
	}
	return name
}

func timeOf(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
