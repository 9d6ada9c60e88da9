package rabbitexec

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

// Inbox remembers which jobs there are, for Topology.Inbox. RabbitMQ itself does not
// recognise a message that it had before. [NewSQLInbox] keeps it in a table, and
// [NewRedisInbox] in Redis.
//
// It is a map whose values are replaced by comparing them first. It must be safe for
// concurrent use, and keep what it has stored.
type Inbox interface {
	// Swap makes changes that do not depend on each other, and returns the value that
	// each key had before. It returns an error if it may have made only some of them.
	Swap(ctx context.Context, changes []InboxChange) (before []string, err error)
}

// InboxChange sets a key to New if it has the value Old. An empty value means that
// there is none: an Old of "" creates the key, and a New of "" removes it.
type InboxChange struct {
	Key      string // 64 characters of 0-9 and a-f
	Old, New string // less than 100 bytes of ASCII
	// Keep is how long the new value is kept. Then there is none. 0 means forever.
	Keep time.Duration
}

const (
	tokenHeader        = "Airlock-Job" // a text that is the same in all copies of one message
	defaultInboxWindow = 24 * time.Hour
	inboxPoll          = 20 * time.Millisecond
	noteWithin         = 2 * time.Second // for a change whose result nobody needs
)

// The values of an ID begin with a letter for the state of its job. A token follows,
// which says which message it is about: a job whose outcome was unknown may have two.
const (
	stateSending = "s" // a call publishes it; the time when the call has ended follows
	stateUnsure  = "u" // the call's outcome was unknown
	stateQueued  = "q" // RabbitMQ has it
	stateBegun   = "b" // a worker has begun to run it
	stateEnded   = "e" // it is done or dead
)

func valueOf(state, token string) string { return state + " " + token }

func stateOf(value string) (state, token string) {
	state, token, _ = strings.Cut(value, " ")
	token, _, _ = strings.Cut(token, " ")
	return state, token
}

func sendingValue(token string, until time.Time) string {
	return valueOf(stateSending, token) + " " + strconv.FormatInt(until.UnixMilli(), 10)
}

// abandoned reports whether a call that has said that it publishes has surely ended.
func abandoned(value string, now time.Time) bool {
	until, err := strconv.ParseInt(value[strings.LastIndexByte(value, ' ')+1:], 10, 64)
	return err != nil || now.UnixMilli() > until
}

func (t *topology) idKey(id string) string {
	sum := adapter.Hash(t.Prefix, "id", id)
	return hex.EncodeToString(sum[:])
}

func (t *topology) uniqueKey(task, queue, key string) string {
	sum := adapter.Hash(t.Prefix, "unique", task, t.native(queue), key)
	return hex.EncodeToString(sum[:])
}

// inboxError is an inbox that cannot be reached.
func inboxError(err error) error {
	return fmt.Errorf("airlock: rabbitmq: inbox: %s: %w", adapter.ErrorText(err, 2000), core.ErrUnavailable)
}

// reservation is the intent of a call that the inbox has noted as being sent.
type reservation struct {
	token, value string // value of the ID
	unique       string // key, "" for none
}

// reserve notes that an intent is being sent. If the outcome is not NotSent, the
// intent is not to be sent: another call has sent it, or has a job with its unique
// key. It waits for a call that is sending the same ID.
func (e *Executor) reserve(ctx context.Context, in *core.Intent) (r reservation, out core.Outcome) {
	box, window := e.topology.Inbox, e.topology.InboxWindow
	key := e.topology.idKey(in.ID)
	for old := ""; ; {
		r.token = strconv.FormatInt(newMark(), 36)
		r.value = sendingValue(r.token, time.Now().Add(e.confirmTimeout+noteWithin))
		before, err := box.Swap(ctx, []InboxChange{{key, old, r.value, window}})
		if err != nil {
			return r, inboxOutcome(ctx, in, err)
		}
		if before[0] == old {
			break
		}
		switch state, _ := stateOf(before[0]); {
		case before[0] == "" || state == stateUnsure:
			old = before[0]
			continue
		case state != stateSending:
			return r, known(in)
		case abandoned(before[0], time.Now()):
			old = before[0]
			continue
		}
		old = ""
		amqplink.Sleep(ctx, inboxPoll)
		if ctx.Err() != nil {
			return r, in.Outcome(core.NotSent, core.ContextError(ctx))
		}
	}
	if in.Options.Unique == "" {
		return r, in.Outcome(core.NotSent, nil)
	}
	unique := e.topology.uniqueKey(in.Task, in.Options.Queue, in.Options.Unique)
	got, err := e.topology.takeKey(ctx, unique, key)
	switch {
	case err != nil:
		e.release(r, in)
		return r, inboxOutcome(ctx, in, err)
	case !got:
		e.release(r, in)
		return r, in.Outcome(core.Duplicate, core.ErrDuplicate)
	}
	r.unique = unique
	return r, in.Outcome(core.NotSent, nil)
}

// takeKey gives a unique key to the job with the key of an ID, unless an unfinished job
// has it.
func (t *topology) takeKey(ctx context.Context, unique, id string) (bool, error) {
	for old := ""; ; {
		before, err := t.Inbox.Swap(ctx, []InboxChange{{unique, old, id, 0}})
		if err != nil {
			return false, err
		}
		if before[0] == old || before[0] == id {
			return true, nil
		}
		old = before[0]
		if old == "" {
			continue // it was removed meanwhile
		}
		state, err := t.read(ctx, old)
		if err != nil || state != "" && state != stateEnded {
			return false, err
		}
	}
}

// read returns the state of the job with the key of an ID, "" for none.
func (t *topology) read(ctx context.Context, id string) (string, error) {
	before, err := t.Inbox.Swap(ctx, []InboxChange{{Key: id, Old: "?", New: "?"}}) // no value is "?"
	if err != nil {
		return "", err
	}
	state, _ := stateOf(before[0])
	return state, nil
}

// known is the outcome of an intent that was sent before.
func known(in *core.Intent) core.Outcome {
	if in.ChosenID() {
		return in.Outcome(core.Duplicate, core.ErrDuplicate)
	}
	return in.Outcome(core.Accepted, nil)
}

func inboxOutcome(ctx context.Context, in *core.Intent, err error) core.Outcome {
	if ctx.Err() != nil {
		return in.Outcome(core.NotSent, core.ContextError(ctx))
	}
	return in.Outcome(core.NotSent, inboxError(err))
}

// conclude notes what became of a reserved intent. The inbox may be away: then the
// job counts as one of unknown outcome when the reservation is old, which is safe.
func (e *Executor) conclude(ctx context.Context, r reservation, in *core.Intent, state core.State) {
	key, next := e.topology.idKey(in.ID), InboxChange{}
	switch state {
	case core.Accepted:
		next = InboxChange{key, r.value, valueOf(stateQueued, r.token), 0}
	case core.Unknown:
		next = InboxChange{key, r.value, valueOf(stateUnsure, r.token), e.topology.InboxWindow}
	default:
		e.release(r, in)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	_, _ = e.topology.Inbox.Swap(ctx, []InboxChange{next})
}

// release forgets an intent that was not sent.
func (e *Executor) release(r reservation, in *core.Intent) {
	ctx, cancel := context.WithTimeout(context.Background(), noteWithin)
	defer cancel()
	key := e.topology.idKey(in.ID)
	changes := []InboxChange{{Key: key, Old: r.value}}
	if r.unique != "" {
		changes = append(changes, InboxChange{Key: r.unique, Old: key})
	}
	_, _ = e.topology.Inbox.Swap(ctx, changes)
}

// revive notes that a dead job is stored again, with a new token. undo is for a job that
// then was not stored. It is core.ErrDuplicate if there is an unfinished job with the ID,
// or with the unique key.
func (t *topology) revive(ctx context.Context, d *amqp.Delivery, id, queue string) (token string, undo func(), err error) {
	if t.Inbox == nil {
		return "", func() {}, nil
	}
	job, unique := readMessage(d, queue)
	token = strconv.FormatInt(newMark(), 36)
	key, queued := t.idKey(id), valueOf(stateQueued, token)
	var was string
	for {
		before, err := t.Inbox.Swap(ctx, []InboxChange{{key, was, queued, 0}})
		if err != nil {
			return "", nil, inboxError(err)
		}
		if before[0] == was {
			break
		}
		if state, _ := stateOf(before[0]); state != "" && state != stateEnded {
			return "", nil, fmt.Errorf("airlock: rabbitmq: retry job %q: %w", id, core.ErrDuplicate)
		}
		was = before[0]
	}
	changes := []InboxChange{{key, queued, stateEnded, t.InboxWindow}}
	undo = func() {
		ctx, cancel := context.WithTimeout(context.Background(), noteWithin)
		defer cancel()
		_, _ = t.Inbox.Swap(ctx, changes)
	}
	if unique == "" {
		return token, undo, nil
	}
	held := t.uniqueKey(job.Task, queue, unique)
	switch got, err := t.takeKey(ctx, held, key); {
	case err != nil:
		undo()
		return "", nil, inboxError(err)
	case !got:
		undo()
		return "", nil, fmt.Errorf("airlock: rabbitmq: retry job %q: %w", id, core.ErrDuplicate)
	}
	changes = append(changes, InboxChange{Key: held, Old: key})
	return token, undo, nil
}
