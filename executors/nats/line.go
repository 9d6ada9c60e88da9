package natsexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/goairlock/airlock/adapter"
)

// A line carries a source's requests for jobs, one at a time. A message that a consumer
// delivers has the subject of its job, so only the subscription says which request it
// is for.
type line struct {
	source *source
	sub    *nats.Subscription
	inbox  string

	number uint64        // of the request, which ends its reply subject
	batch  int           // jobs that it asked for
	left   int           // of them, those that may still come; 0 for no request
	wait   time.Duration // for which the server keeps it
	asked  time.Time
	epoch  uint64 // of the connection when it was made
}

// limit is when a request without an answer is given up.
func (l *line) limit() time.Time { return l.asked.Add(l.wait + answerLate) }

// answerLate is how long after its end a request may still be answered, over a slow
// line or on a busy machine. The client's own Fetch gives up after a second, and
// what arrives then is lost until ack_wait, at the price of an attempt (nats.go
// v1.55.0, jetstream/pull.go).
const answerLate = 5 * time.Second

// How long a request waits at the server. It keeps its slots for so long, which with
// several sources are slots that another one could use.
const (
	waitAlone  = time.Second
	waitShared = 250 * time.Millisecond
)

// waitOf leaves most of the lease to a job that arrives at the end of the wait: the
// lease is counted from the request, since the worker cannot know when the server
// delivered.
func (s *source) waitOf(wait time.Duration) time.Duration { return min(wait, s.lease()/4) }

// A fetchRequest asks a consumer for messages.
type fetchRequest struct {
	Batch   int           `json:"batch"`
	Expires time.Duration `json:"expires,omitempty"`
	NoWait  bool          `json:"no_wait,omitempty"`
}

func (f *feeder) pullSubject(s *source) string {
	return f.w.api + "CONSUMER.MSG.NEXT." + f.w.stream + "." + s.durable()
}

// idleLine returns a line of the source without a request.
func (f *feeder) idleLine(s *source) (*line, error) {
	for _, l := range s.lines {
		if l.left == 0 {
			return l, nil
		}
	}
	l := &line{source: s, inbox: f.w.conn.NewInbox()}
	var err error
	if l.sub, err = f.w.conn.ChanSubscribe(l.inbox+".*", f.answers); err != nil {
		return nil, adapter.Masked(err)
	}
	s.lines = append(s.lines, l)
	f.lines[l.sub] = l
	return l, nil
}

// request asks a source for at most n jobs, which take n free slots. It waits for them
// at the server, or with a wait of 0 not at all.
func (f *feeder) request(s *source, n int, wait time.Duration) {
	wait = s.waitOf(wait)
	l, err := f.idleLine(s)
	if err != nil {
		f.failed(s, err)
		return
	}
	f.numbers++
	body, err := json.Marshal(fetchRequest{Batch: n, Expires: wait, NoWait: wait == 0})
	if err == nil {
		l.asked, l.epoch = time.Now(), f.w.conn.Stats().Reconnects
		err = f.w.conn.PublishRequest(f.pullSubject(s), l.inbox+"."+strconv.FormatUint(f.numbers, 10), body)
	}
	if err != nil {
		f.failed(s, adapter.Masked(err))
		return
	}
	l.number, l.batch, l.left, l.wait = f.numbers, n, n, wait
	f.free -= n
}

// end frees the slots of a request that brings no more jobs.
func (f *feeder) end(l *line) {
	f.free += l.left
	l.left = 0
}

// hangUp ends a line on which late jobs could still come.
func (f *feeder) hangUp(l *line) {
	f.end(l)
	l.sub.Unsubscribe()
	delete(f.lines, l.sub)
	for i, other := range l.source.lines {
		if other == l {
			l.source.lines = append(l.source.lines[:i], l.source.lines[i+1:]...)
			return
		}
	}
}

// answersTo reports whether a status is about the line's request, and not about an
// earlier one.
func (l *line) answersTo(m *nats.Msg) bool {
	number, ok := strings.CutPrefix(m.Subject, l.inbox+".")
	return ok && l.left > 0 && number == strconv.FormatUint(l.number, 10)
}

var errConsumerGone = errors.New("the consumer was deleted")

// endOfRequest is why the server ends a request before it has given everything.
func endOfRequest(status, description string) error {
	switch status {
	case "404", "408": // there are no more, or not in time
		return nil
	case "503":
		return nats.ErrNoResponders
	}
	if description == "Consumer Deleted" {
		return errConsumerGone
	}
	return fmt.Errorf("consumer: %s %s", status, description)
}
