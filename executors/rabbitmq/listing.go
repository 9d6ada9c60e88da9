package rabbitexec

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// List returns a page of the dead jobs of a queue, in the order in which they died.
// Other states are refused. Each page takes all dead jobs and gives them back, which a
// quorum queue does not do in their order.
func (i *Inspector) List(ctx context.Context, q inspect.Query) (inspect.Page, error) {
	q, err := q.Checked()
	if err != nil {
		return inspect.Page{}, err
	}
	native, err := i.native(ctx, q.Queue)
	if err != nil {
		return inspect.Page{}, err
	}
	switch q.State {
	case inspect.Dead:
	case inspect.Done:
		return inspect.Page{}, unsupported("list jobs that are done", "they are not kept")
	default:
		return inspect.Page{}, unsupported("list "+string(q.State)+" jobs", "AMQP cannot look at a message without taking it from the workers")
	}
	after, err := placeOf(q.Cursor)
	if err != nil {
		return inspect.Page{}, err
	}
	var jobs []inspect.Job
	err = i.dead(ctx, native, func(t *taken) error {
		for {
			job, ok, err := t.next()
			if !ok || err != nil {
				return err
			}
			if (q.Task == "" || job.Task == q.Task) && compareJobs(job, after) > 0 {
				jobs = append(jobs, job)
			}
			if len(jobs) > 3*q.Limit { // keeps the payloads of few
				jobs = firstOf(jobs, q.Limit+1)
			}
		}
	})
	if err != nil {
		return inspect.Page{}, err
	}
	page := inspect.Page{Jobs: firstOf(jobs, q.Limit+1)}
	if len(page.Jobs) > q.Limit {
		page.Jobs = page.Jobs[:q.Limit]
		last := page.Jobs[q.Limit-1]
		page.Next = strconv.FormatInt(last.FailedAt.Unix(), 10) + ":" + last.ID
	}
	return page, nil
}

// compareJobs orders dead jobs by when they died.
func compareJobs(a, b inspect.Job) int {
	return cmp.Or(cmp.Compare(a.FailedAt.Unix(), b.FailedAt.Unix()), cmp.Compare(a.ID, b.ID))
}

func firstOf(jobs []inspect.Job, n int) []inspect.Job {
	slices.SortFunc(jobs, compareJobs)
	clear(jobs[min(n, len(jobs)):])
	return jobs[:min(n, len(jobs))]
}

// placeOf returns where a page begins: after this job.
func placeOf(cursor string) (inspect.Job, error) {
	if cursor == "" {
		return inspect.Job{FailedAt: time.Unix(math.MinInt64, 0)}, nil
	}
	seconds, id, ok := strings.Cut(cursor, ":")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || !ok {
		return inspect.Job{}, invalid("the cursor is malformed")
	}
	return inspect.Job{ID: id, FailedAt: time.Unix(n, 0)}, nil
}

// Get returns a dead job.
func (i *Inspector) Get(ctx context.Context, queue, id string) (job inspect.Job, err error) {
	err = i.find(ctx, queue, id, func(_ *taken, found inspect.Job) error {
		job = found
		return nil
	})
	return job, err
}

// find calls fn with a dead job, which was taken last.
func (i *Inspector) find(ctx context.Context, queue, id string, fn func(t *taken, job inspect.Job) error) error {
	native, err := i.native(ctx, queue)
	if err != nil {
		return err
	}
	return i.dead(ctx, native, func(t *taken) error {
		for {
			job, ok, err := t.next()
			switch {
			case err != nil:
				return err
			case !ok:
				return fmt.Errorf("airlock: rabbitmq: job %q among the dead jobs of queue %q: %w", id, native, inspect.ErrNotFound)
			case job.ID == id:
				return fn(t, job)
			}
		}
	})
}

// taken takes the dead jobs of a queue one by one. They are given back when its
// channel ends.
type taken struct {
	ctx      context.Context
	ch       *amqp.Channel
	native   string
	queue    string // portable
	topology *topology
	n        int
	last     amqp.Delivery
	returned chan amqp.Return // nil until a job is stored
}

// dead calls fn with the dead jobs of a queue, and gives back in order those that are
// not acknowledged.
func (i *Inspector) dead(ctx context.Context, native string, fn func(*taken) error) error {
	return i.use(ctx, native, func(ch *amqp.Channel, _ int) error {
		queue, renamed := i.topology.portable[native]
		if !renamed {
			queue = native[len(i.topology.Prefix):]
		}
		t := &taken{ctx: ctx, ch: ch, native: native, queue: queue, topology: &i.topology}
		err := fn(t)
		if t.n > 0 && !ch.IsClosed() {
			back := ch.Nack(0, true, true) // 0: all that were taken
			if back == nil {
				_, back = ch.QueueDeclarePassive(native, true, false, false, false, nil) // an answer comes after it
			}
			if err == nil {
				err = back
			}
		}
		return err
	})
}

// next takes a dead job. It returns false if there are no more.
func (t *taken) next() (inspect.Job, bool, error) {
	if t.ctx.Err() != nil {
		return inspect.Job{}, false, core.ContextError(t.ctx)
	}
	if t.n == maxTaken {
		return inspect.Job{}, false, unsupported("look at more than 10 000 dead jobs", "each of them must be taken and given back: retry or discard the oldest first")
	}
	d, ok, err := t.ch.Get(DeadQueue(t.native), false)
	if err != nil || !ok {
		return inspect.Job{}, false, err
	}
	t.n++
	t.last = d
	return t.jobOf(&d), true, nil
}

// jobOf returns a message of the dead as a job.
func (t *taken) jobOf(m *amqp.Delivery) inspect.Job {
	d := deliveryOf(m, t.queue)
	job := inspect.Job{
		ID: d.ID, Task: d.Task, Queue: t.queue, State: inspect.Dead, MaxAttempts: d.MaxAttempts, Deadline: d.Deadline, Headers: d.Headers,
	}
	if m.MessageId == "" {
		job.ID = unnamed(m)
	}
	_, own := m.Headers[envelopeHeader]
	job.Native = !own
	if why, ok := m.Headers[deadHeader].(amqp.Table); ok {
		job.Error, _ = why["reason"].(string)
		job.FailedAt, _ = why["at"].(time.Time)
		job.Attempts = count(why["attempt"])
	}
	if d.EnvelopeErr != nil {
		job.Unreadable = d.EnvelopeErr.Error()
	}
	if job.Native { // whose headers are its own, and not ours
		ours := map[string]string{}
		for k, v := range d.Headers.All() {
			ours[k] = v
		}
		delete(ours, deadHeader)
		job.Headers = core.NewHeaders(ours)
	}
	return job.WithPayload(d.Payload)
}

// unnamed is the ID of a message that has none.
func unnamed(m *amqp.Delivery) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q", m.Type, m.Timestamp, m.Body)
	return "message-" + hex.EncodeToString(sum.Sum(nil)[:12])
}
