package natsexec

import (
	"errors"
	"maps"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
)

// unusable is in the subject of a dead message that has no task name, in its place.
// No task can have this name.
const unusable = "~unusable"

// bury stores the job among the dead and terminates its message. A message that is
// so large that the reason has no room is stored without it. One that cannot be
// stored at all is terminated: it would block its queue forever.
func (w *Worker) bury(j *job, why error) (acknowledged bool) {
	reason := oneLine(adapter.ErrorText(why, longestReason))
	m := w.copyOf(j, j.attempt)
	task := j.delivery.Task
	if !isTaskName(task) {
		task = unusable
	}
	m.Subject = w.stream + "." + kindDead + "." + j.source.native + "." + task
	m.Header[reasonHeader] = []string{reason}
	m.Header[subjectHeader] = []string{oneLine(j.msg.Subject)}
	err := w.store(j, m)
	if isTooLarge(err) {
		m.Header = foreignHeaders(j.msg.Header)
		err = w.store(j, m)
	}
	switch {
	case err == nil:
	case errors.Is(err, errClaimed):
		w.log(j, "the lease ended while the job was put among the dead: another worker may have it, nothing is done", nil)
		return false
	case isPermanent(err):
		w.log(j, "the dead job cannot be stored, and its message is dropped", err)
	default:
		w.log(j, "the dead job could not be stored: it runs again", err)
		return false
	}
	w.confirm(j, "+TERM "+reason)
	return true
}

// copyOf is the job's message without what belonged to its old place. Its ID follows
// from the delivery that it replaces, so that however often the copy is sent it is
// stored once.
func (w *Worker) copyOf(j *job, attempts int) *nats.Msg {
	h := foreignHeaders(j.msg.Header)
	for _, old := range []string{reasonHeader, subjectHeader, notBeforeHeader} {
		delete(h, old)
	}
	if !j.hasID {
		h[idHeader] = []string{oneLine(j.delivery.ID)}
	}
	h[attemptsHeader] = []string{strconv.Itoa(max(attempts, 0))}
	h[nats.MsgIdHdr] = []string{j.copyID(j.claimed)}
	return &nats.Msg{Header: h, Data: j.msg.Data}
}

// foreignHeaders are those that the server did not set or read for this message.
func foreignHeaders(h nats.Header) nats.Header {
	h = maps.Clone(h)
	if h == nil {
		h = nats.Header{}
	}
	maps.DeleteFunc(h, func(key string, _ []string) bool { return strings.HasPrefix(key, "Nats-") })
	return h
}

// store publishes a copy until the stream has it or the answer is final, for the length
// of a lease at most. Without a copy the message is left alone, and delivered again.
func (w *Worker) store(j *job, m *nats.Msg) error {
	stored, err := w.publish(j, m)
	if err != nil || !stored.Duplicate {
		return err
	}
	id := m.Header.Get(nats.MsgIdHdr)
	switch {
	case !j.lease.held():
		return errClaimed
	case w.isCopy(stored.Sequence, id):
		return nil // of an earlier try
	}
	// The job is ours, so this is a claim from before the consumer was made anew, which
	// counts deliveries from 1 again. Or it was an earlier try, whose copy has run: a job
	// rather runs twice than not at all.
	m.Header[nats.MsgIdHdr] = []string{id + "." + strings.TrimPrefix(nats.NewInbox(), nats.InboxPrefix)}
	_, err = w.publish(j, m)
	return err
}

const longestReason = 512

// oneLine makes a header value of a text.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune { // which makes valid UTF-8 of what is not
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	const mark = "…"
	if len(text) > longestReason {
		text = strings.ToValidUTF8(text[:longestReason-len(mark)], "") + mark
	}
	return strings.TrimSpace(text)
}
