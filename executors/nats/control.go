package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// Get returns a job.
func (i *Inspector) Get(ctx context.Context, queue, id string) (inspect.Job, error) {
	native, state, m, err := i.find(ctx, queue, id)
	if err != nil {
		return inspect.Job{}, err
	}
	return i.jobOf(native, state, m), nil
}

// find looks for a job in the order in which jobs move.
func (i *Inspector) find(ctx context.Context, queue, id string) (native string, state inspect.State, m storedMessage, err error) {
	if native, err = i.native(ctx, queue); err != nil {
		return native, state, m, err
	}
	for _, state := range []inspect.State{inspect.Delayed, inspect.Waiting, inspect.Running, inspect.Dead} {
		for cursor, found := "", false; ; {
			cursor, err = i.walk(ctx, native, state, cursor, func(at storedMessage) bool {
				found, m = i.jobOf(native, state, at).ID == id, at
				return !found
			})
			switch {
			case err != nil, found:
				return native, state, m, err
			case cursor != "":
				continue
			}
			break
		}
	}
	return native, state, m, fmt.Errorf("airlock: nats: job %q in queue %q: %w", id, native, inspect.ErrNotFound)
}

// Retry makes a job wait for a worker. A dead job is stored again and then removed
// from the dead. If only the first of these happens, it is in both places, and a second
// Retry within the duplicate window stores nothing.
func (i *Inspector) Retry(ctx context.Context, queue, id string) error {
	native, state, m, err := i.find(ctx, queue, id)
	if err != nil {
		return err
	}
	return i.retry(ctx, native, state, m)
}

func (i *Inspector) retry(ctx context.Context, native string, state inspect.State, m storedMessage) error {
	job := i.jobOf(native, state, m)
	switch {
	case state == inspect.Running:
		return fmt.Errorf("airlock: nats: retry job %q: %w", job.ID, inspect.ErrRunning)
	case state == inspect.Delayed:
		return i.hasten(ctx, job, m)
	case state != inspect.Dead:
		return nil
	case !isTaskName(job.Task) || job.Unreadable != "":
		return fmt.Errorf("airlock: nats: retry job %q: %w", job.ID, inspect.ErrUnreadable)
	}
	again := i.copyOf(job, m)
	delete(again.Header, attemptsHeader)
	unique := ""
	if job.Unique != "" {
		unique = uniqueToken(job.Unique)
		again.Header[expectSeqHeader] = []string{"0"}
		again.Header[expectSubjectHeader] = []string{i.stream + ".*." + native + "." + job.Task + unique}
	}
	again.Subject = i.stream + "." + i.laneOf(m) + "." + native + "." + job.Task + unique
	if err := i.store(ctx, job.ID, again); err != nil {
		return err
	}
	return i.remove(ctx, job.ID, m.Seq)
}

// laneOf returns the lane that a dead job came from.
func (i *Inspector) laneOf(m storedMessage) string {
	from := i.message(m).Header.Get(subjectHeader)
	for _, lane := range lanes {
		if strings.HasPrefix(from, i.stream+"."+lane.kind+".") {
			return lane.kind
		}
	}
	return laneNormal
}

// hasten makes a schedule fire now: it replaces the schedule, unless that has fired.
func (i *Inspector) hasten(ctx context.Context, job inspect.Job, m storedMessage) error {
	now := i.copyOf(job, m)
	was := i.message(m).Header
	now.Subject = m.Subject
	now.Header[scheduleHeader] = []string{scheduleAt(time.Now())}
	now.Header[scheduleTargetHeader] = []string{was.Get(scheduleTargetHeader)}
	now.Header[expectSeqHeader] = []string{strconv.FormatUint(m.Seq, 10)}
	if err := i.store(ctx, job.ID, now); !errors.Is(err, core.ErrDuplicate) {
		return err
	}
	return nil // it has fired, or another call was faster
}

// copyOf is the job's message without what belongs to its place. Its ID follows from
// the message that it replaces, so that it is stored once, see Worker.copyOf.
func (i *Inspector) copyOf(job inspect.Job, m storedMessage) *nats.Msg {
	msg := i.message(m)
	h := foreignHeaders(msg.Header)
	for _, old := range []string{reasonHeader, subjectHeader, notBeforeHeader} {
		delete(h, old)
	}
	if env, err := adapter.DecodeEnvelope([]byte(h.Get(envelopeHeader))); err != nil || env.ID == "" {
		h[idHeader] = []string{job.ID}
	}
	h[nats.MsgIdHdr] = []string{job.ID + " " + strconv.FormatUint(m.Seq, 10)}
	return &nats.Msg{Header: h, Data: msg.Data}
}

// store publishes a message. A sequence that is not the expected one is a duplicate.
func (i *Inspector) store(ctx context.Context, id string, m *nats.Msg) error {
	s, err := readStream(ctx, i.js, i.stream)
	if err != nil {
		return inspectError(ctx, err)
	}
	reply, err := request(ctx, i.conn, m, askTimeout)
	if err != nil {
		return inspectError(ctx, adapter.Masked(err))
	}
	var ack pubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return inspectError(ctx, err)
	}
	target := newTarget(s)
	switch err := target.check(&ack); {
	case err != nil:
		return err
	case ack.Error == nil:
		return nil
	case ack.Error.ErrorCode == codeWrongSequence || ack.Error.ErrorCode == codeSubjectInProcess:
		return fmt.Errorf("airlock: nats: retry job %q: another unfinished job holds its unique key: %w", id, core.ErrDuplicate)
	}
	return inspectError(ctx, ack.Error)
}

// remove deletes a message.
func (i *Inspector) remove(ctx context.Context, id string, seq uint64) error {
	err := i.ask(ctx, "STREAM.MSG.DELETE."+i.stream, map[string]any{"seq": seq, "no_erase": true}, &struct{}{})
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeMessageNotFound || api.ErrorCode == codeNoSuchSequence) {
		return fmt.Errorf("airlock: nats: job %q: %w", id, inspect.ErrNotFound)
	}
	return err
}

// codeNoSuchSequence is the answer to the deletion of a message that is gone.
const codeNoSuchSequence jetstream.ErrorCode = 10043

// RetryAll retries dead jobs. See [inspect.Controller].
func (i *Inspector) RetryAll(ctx context.Context, s inspect.Selection) (inspect.Result, error) {
	if err := s.Check(); err != nil {
		return inspect.Result{}, err
	}
	native, err := i.native(ctx, s.Queue)
	if err != nil {
		return inspect.Result{}, err
	}
	var current storedMessage // of the job that retry gets: nothing has to look for it
	return inspect.RetryEach(s, i.dead(ctx, native, &current), func(inspect.Job) error {
		return i.retry(ctx, native, inspect.Dead, current)
	})
}

// dead yields all dead jobs.
func (i *Inspector) dead(ctx context.Context, native string, current *storedMessage) iter.Seq2[inspect.Job, error] {
	return func(yield func(inspect.Job, error) bool) {
		for from := uint64(1); ; from = current.Seq + 1 {
			m, found, err := i.next(ctx, i.filter(kindDead, native), from)
			if err != nil {
				yield(inspect.Job{}, err)
				return
			}
			if *current = m; !found || !yield(i.jobOf(native, inspect.Dead, m), nil) {
				return
			}
		}
	}
}

// Discard deletes a job's message. See [inspect.Controller].
func (i *Inspector) Discard(ctx context.Context, queue, id string) error {
	_, state, m, err := i.find(ctx, queue, id)
	switch {
	case err != nil:
		return err
	case state == inspect.Running:
		return fmt.Errorf("airlock: nats: discard job %q: %w", id, inspect.ErrRunning)
	}
	return i.remove(ctx, id, m.Seq)
}

// Pause pauses the consumers of a queue for 100 years. A queue that no worker has
// worked has none: [inspect.ErrNotFound]. It needs a server of 2.11 or later.
func (i *Inspector) Pause(ctx context.Context, queue string) error {
	return i.setPaused(ctx, queue, time.Now().AddDate(100, 0, 0))
}

// Resume ends a pause of the consumers of a queue.
func (i *Inspector) Resume(ctx context.Context, queue string) error {
	return i.setPaused(ctx, queue, time.Time{})
}

func (i *Inspector) setPaused(ctx context.Context, queue string, until time.Time) error {
	native, err := i.native(ctx, queue)
	if err != nil {
		return err
	}
	consumers := 0
	for _, lane := range lanes {
		var answer struct {
			Paused bool `json:"paused"`
		}
		body := map[string]any{}
		if !until.IsZero() {
			body["pause_until"] = until
		}
		err := i.ask(ctx, "CONSUMER.PAUSE."+i.stream+"."+durableOf(native, lane.kind), body, &answer)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			continue
		case err != nil:
			return err
		case answer.Paused != !until.IsZero():
			return &inspect.UnsupportedError{Executor: name, Action: "pause a consumer", Reason: "the server is older than 2.11"}
		}
		if err := i.awaitPaused(ctx, native, lane.kind, !until.IsZero()); err != nil {
			return err
		}
		consumers++
	}
	if consumers == 0 {
		return fmt.Errorf("airlock: nats: queue %q has had no worker: %w", native, inspect.ErrNotFound)
	}
	return nil
}

// awaitPaused waits until a consumer is paused, or is not. In a cluster the meta group
// answers a pause before the consumer's leader knows of it.
func (i *Inspector) awaitPaused(ctx context.Context, native, kind string, paused bool) error {
	const poll, most = 10 * time.Millisecond, 500
	for range most {
		at, err := i.position(ctx, native, kind)
		if err != nil || !at.exists || at.paused == paused {
			return err
		}
		select {
		case <-ctx.Done():
			return core.ContextError(ctx)
		case <-time.After(poll):
		}
	}
	return fmt.Errorf("airlock: nats: queue %q: %w: its consumer has not followed within %v", native, core.ErrUnavailable, most*poll)
}
