package natsexec

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/inspect"
)

// storedMessage is a message of the stream.
type storedMessage struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// next returns the first message that matches a filter, from a sequence on.
func (i *Inspector) next(ctx context.Context, filter string, from uint64) (m storedMessage, found bool, err error) {
	var answer struct {
		Message storedMessage `json:"message"`
	}
	err = i.ask(ctx, "STREAM.MSG.GET."+i.stream, map[string]any{"seq": max(from, 1), "next_by_subj": filter}, &answer)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return m, false, nil
	}
	return answer.Message, err == nil, err
}

// List returns a page of the jobs of a queue, lane by lane, in the order in which they
// were stored.
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
	case inspect.Done:
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list jobs that are done", Reason: "they are not kept"}
	case inspect.Parked:
		return inspect.Page{}, &inspect.UnsupportedError{Executor: name, Action: "list parked jobs",
			Reason: "they are stored like other delayed jobs: list those"}
	}
	var page inspect.Page
	page.Next, err = i.walk(ctx, native, q.State, q.Cursor, func(m storedMessage) bool {
		if job := i.jobOf(native, q.State, m); q.Task == "" || job.Task == q.Task {
			page.Jobs = append(page.Jobs, job)
		}
		return len(page.Jobs) < q.Limit
	})
	if err != nil {
		return inspect.Page{}, err
	}
	return page, nil
}

// walk calls visit for the messages of a state, as many as a page may have at the
// most, and returns the cursor of what follows, "" for nothing.
func (i *Inspector) walk(ctx context.Context, native string, state inspect.State, cursor string, visit func(storedMessage) bool) (string, error) {
	kinds := []string{laneHigh, laneNormal, laneLow}
	switch state {
	case inspect.Delayed:
		kinds = []string{kindAt}
	case inspect.Dead:
		kinds = []string{kindDead}
	}
	at, from := 0, uint64(1)
	if cursor != "" {
		kind, seq, _ := strings.Cut(cursor, ":")
		number, err := strconv.ParseUint(seq, 10, 64)
		if at = slices.Index(kinds, kind); err != nil || at < 0 {
			return "", invalidf("the cursor is malformed")
		}
		from = number
	}
	left := inspect.MaxLimit
	for ; at < len(kinds); at, from = at+1, 1 {
		most := uint64(math.MaxUint64)
		if state == inspect.Waiting || state == inspect.Running {
			p, err := i.position(ctx, native, kinds[at])
			if err != nil {
				return "", err
			}
			if most = p.delivered; state == inspect.Waiting {
				from, most = max(from, p.delivered+1), math.MaxUint64
			}
		}
		for {
			m, found, err := i.next(ctx, i.filter(kinds[at], native), from)
			if err != nil {
				return "", err
			}
			if !found || m.Seq > most {
				break
			}
			from = m.Seq + 1
			if left--; !visit(m) || left == 0 {
				return kinds[at] + ":" + strconv.FormatUint(from, 10), nil
			}
		}
	}
	return "", nil
}

// jobOf returns a message as a job.
func (i *Inspector) jobOf(native string, state inspect.State, m storedMessage) inspect.Job {
	kind, _, _ := strings.Cut(strings.TrimPrefix(m.Subject, i.stream+"."), ".")
	msg := i.message(m)
	w := Worker{stream: i.stream}
	j := w.deliveryOf(&source{queue: i.queues.Portable(native), native: native, kind: kind}, msg,
		&nats.MsgMetadata{Sequence: nats.SequencePair{Stream: m.Seq}, Timestamp: m.Time})
	d := &j.delivery
	job := inspect.Job{
		ID: d.ID, Task: taskOf(d.Task), Queue: d.Queue, State: state, MaxAttempts: d.MaxAttempts,
		Enqueued: m.Time, Deadline: d.Deadline, Native: msg.Header.Get(envelopeHeader) == "", Headers: d.Headers,
	}
	if n, err := strconv.Atoi(msg.Header.Get(attemptsHeader)); err == nil && (state == inspect.Dead || msg.Header.Get(reasonHeader) == "") {
		job.Attempts = max(n, 0)
	}
	switch state {
	case inspect.Running:
		job.Attempts++
	case inspect.Dead:
		job.Error, job.FailedAt, job.Enqueued = msg.Header.Get(reasonHeader), m.Time, time.Time{}
	case inspect.Delayed:
		if at, ok := strings.CutPrefix(msg.Header.Get(scheduleHeader), "@at "); ok {
			job.Due, _ = time.Parse(time.RFC3339Nano, at)
		}
	}
	if d.EnvelopeErr != nil {
		job.Unreadable = d.EnvelopeErr.Error()
	} else if env, err := adapter.DecodeEnvelope([]byte(msg.Header.Get(envelopeHeader))); err == nil {
		job.Unique = env.Unique
	}
	return job.WithPayload(d.Payload)
}

// message returns a stored message as the client has it. Headers that cannot be read
// are none.
func (i *Inspector) message(m storedMessage) *nats.Msg {
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{}}
	if h, err := nats.DecodeHeadersMsg(m.Header); err == nil && len(m.Header) > 0 {
		msg.Header = h
	}
	return msg
}

// taskOf returns the task without what ends the subject of a schedule.
func taskOf(task string) string {
	if n := strings.LastIndexByte(task, '.'); n >= 0 && strings.HasPrefix(task[n+1:], "~") {
		return task[:n]
	}
	return task
}
