package natsexec

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A pullRequest asks a consumer for messages.
type pullRequest struct {
	Batch   int           `json:"batch"`
	Expires time.Duration `json:"expires,omitempty"`
	NoWait  bool          `json:"no_wait,omitempty"`
}

// answerLate is how long after its end a request may still be answered, over a
// slow line or on a busy machine. The client's own Fetch gives up after a second,
// and what then arrives is lost until ack_wait, at the price of an attempt
// (nats.go v1.55.0, jetstream/pull.go).
const answerLate = 5 * time.Second

// lookAfter is how often a request looks whether its connection is still the one
// that it was sent on.
const lookAfter = 250 * time.Millisecond

// pull asks a source for at most n jobs, starts them as they come, and returns
// how many did. It waits for them at the server, or with a wait of 0 not at all.
func (w *Worker) pull(ctx context.Context, s *source, n int, wait time.Duration) (got int, err error) {
	request, err := json.Marshal(pullRequest{Batch: n, Expires: wait, NoWait: wait == 0})
	if err != nil {
		return 0, err
	}
	if !w.conn.IsConnected() { // the client would ask later, when nobody listens any more
		return 0, nats.ErrDisconnected
	}
	inbox, answers := w.conn.NewInbox(), make(chan *nats.Msg, n+1)
	sub, err := w.conn.ChanSubscribe(inbox, answers)
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe()
	line := w.conn.Stats().Reconnects
	if err := w.conn.PublishRequest(w.api+"CONSUMER.MSG.NEXT."+w.stream+"."+s.durable(), inbox, request); err != nil {
		return 0, err
	}
	limit, look := time.NewTimer(wait+answerLate), time.NewTicker(lookAfter)
	defer limit.Stop()
	defer look.Stop()
	for got < n {
		select {
		case m := <-answers:
			if status := m.Header.Get("Status"); status != "" && m.Reply == "" {
				return got, endOfPull(status, m.Header.Get("Description"))
			}
			got++
			w.start(ctx, s, m)
		case <-look.C:
			switch {
			case len(answers) > 0:
			case w.conn.IsClosed():
				return got, nats.ErrConnectionClosed
			case w.conn.Stats().Reconnects != line: // the server forgot the request with the old one
				return got, nats.ErrDisconnected
			}
		case <-limit.C:
			return got, nats.ErrTimeout
		}
	}
	return got, nil
}

// endOfPull is why the server ends a request before it has given all.
func endOfPull(status, description string) error {
	switch status {
	case "404", "408": // there are no more, or not in time
		return nil
	case "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("consumer: %s %s", status, description)
}
