package rabbitexec

import (
	"context"
	"fmt"
	"iter"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// Retry stores a dead job in its queue again. Jobs that are not dead are not found.
// See [inspect.Controller].
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	return i.find(ctx, queue, id, func(t *taken, job inspect.Job) error { return t.retry(job) })
}

// RetryAll retries dead jobs, in the order of the queue of dead jobs. See [inspect.Controller].
func (i *Inspector) RetryAll(ctx context.Context, s inspect.Selection) (result inspect.Result, err error) {
	if err := s.Check(); err != nil {
		return result, err
	}
	native, err := i.native(ctx, s.Queue)
	if err != nil {
		return result, err
	}
	err = i.dead(ctx, native, func(t *taken) (err error) {
		result, err = inspect.RetryEach(s, t.each(), t.retry)
		return err
	})
	return result, err
}

// each yields each job once, also if it dies again meanwhile.
func (t *taken) each() iter.Seq2[inspect.Job, error] {
	return func(yield func(inspect.Job, error) bool) {
		seen := map[string]bool{}
		for {
			job, ok, err := t.next()
			switch {
			case err != nil:
				yield(inspect.Job{}, err)
				return
			case !ok:
				return
			case seen[job.ID]:
				continue
			}
			seen[job.ID] = true
			if !yield(job, nil) {
				return
			}
		}
	}
}

// Discard removes a dead job. Jobs that are not dead are not found.
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	return i.find(ctx, queue, id, func(t *taken, _ inspect.Job) error { return t.ack() })
}

// ack removes the job that was taken last.
func (t *taken) ack() error {
	t.n--
	return t.last.Ack(false)
}

// retry stores the job that was taken last again, with all of its attempts.
func (t *taken) retry(job inspect.Job) (err error) {
	if job.Unreadable != "" {
		return fmt.Errorf("airlock: rabbitmq: retry job %q: %w", job.ID, inspect.ErrUnreadable)
	}
	if t.returned == nil {
		if err := t.ch.Confirm(false); err != nil {
			return err
		}
		t.returned = t.ch.NotifyReturn(make(chan amqp.Return, 1))
	}
	token, undo, err := t.topology.revive(t.ctx, &t.last, job.ID, t.queue)
	if err != nil {
		return err
	}
	stored := false
	defer func() {
		if !stored {
			undo()
		}
	}()
	again := copyOf(&t.last, job.ID, 0)
	delete(again.Headers, deadHeader)
	if token != "" {
		again.Headers[tokenHeader] = token
	}
	confirm, err := t.ch.PublishWithDeferredConfirmWithContext(t.ctx, "", t.native, true, false, again)
	if err != nil {
		return err
	}
	stored = true // or it may be
	acked, err := confirm.WaitContext(t.ctx)
	if err != nil {
		return core.ContextError(t.ctx)
	}
	select {
	case <-t.returned:
		stored = false
		return fmt.Errorf("airlock: rabbitmq: queue %q: %w", t.native, inspect.ErrNotFound)
	default:
	}
	switch {
	case t.ch.IsClosed() && !acked:
		return fullName.Unavailable(errLost)
	case !acked:
		return errNegative
	}
	return t.ack()
}
