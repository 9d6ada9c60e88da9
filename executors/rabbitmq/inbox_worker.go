package rabbitexec

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/internal/amqplink"
)

// tokenOf returns the token of a message of ours, "" for one that the inbox does not
// know.
func tokenOf(d *amqp.Delivery) string {
	token, _ := d.Headers[tokenHeader].(string)
	return token
}

// admit reports whether a message is the one of its job that may run: the first one
// that a worker has begun. It tries until the inbox answers or ctx ends.
func (w *Worker) admit(ctx context.Context, j *job) (run, ok bool) {
	if w.topology.Inbox == nil || j.token == "" {
		return true, true
	}
	key, begun := w.topology.idKey(j.delivery.ID), valueOf(stateBegun, j.token)
	for old, pause := "", retryFirst; ; {
		before, err := w.topology.Inbox.Swap(ctx, []InboxChange{{key, old, begun, 0}})
		switch {
		case ctx.Err() != nil:
			return false, false
		case err != nil:
			w.logInbox(err)
			amqplink.Sleep(ctx, pause)
			pause = min(2*pause, retryMost)
			continue
		case before[0] == old || before[0] == begun:
			w.inboxLost.Store(false)
			return true, true
		}
		switch state, _ := stateOf(before[0]); state {
		case stateBegun, stateEnded:
			return false, true
		}
		old = before[0]
	}
}

// leave notes that a job has ended. It reports whether the inbox knows.
func (w *Worker) leave(ctx context.Context, j *job) bool {
	if w.topology.Inbox == nil || j.token == "" {
		return true
	}
	key := w.topology.idKey(j.delivery.ID)
	changes := []InboxChange{{key, valueOf(stateBegun, j.token), stateEnded, w.topology.InboxWindow}}
	if j.unique != "" {
		changes = append(changes, InboxChange{Key: w.topology.uniqueKey(j.delivery.Task, j.queue.name, j.unique), Old: key})
	}
	if _, err := w.topology.Inbox.Swap(ctx, changes); err != nil {
		w.logInbox(err)
		return false
	}
	return true
}
