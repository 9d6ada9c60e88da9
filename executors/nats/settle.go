package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// settleOnce bounds one try to tell the server something.
const settleOnce = 3 * time.Second

// again publishes the job once more, to be delivered after a wait, and then
// acknowledges its message. Between the two the worker may die: then the job is
// there twice, and this is one of the lost acknowledgements.
func (w *Worker) again(j *job, attempts int, wait time.Duration) {
	m := w.copyOf(j, attempts)
	m.Subject = j.msg.Subject
	if wait > 0 {
		m.Header[scheduleHeader] = []string{scheduleAt(time.Now().Add(wait))}
		m.Header[scheduleTargetHeader] = []string{m.Subject}
		own := j.unique
		if own == "" {
			own = ownToken(m.Header.Get(nats.MsgIdHdr))
		}
		m.Subject = w.stream + "." + kindAt + "." + j.source.queue + "." + j.task + own
	}
	if w.store(j, m) {
		w.confirm(j, "+ACK")
	}
}

// bury publishes the job among the dead and terminates its message.
func (w *Worker) bury(j *job, why error) {
	reason := oneLine(why.Error())
	m := w.copyOf(j, j.attempt)
	m.Subject = w.stream + "." + kindDead + "." + j.source.queue + "." + j.task
	m.Header[reasonHeader] = []string{reason}
	w.opts.Logger.LogAttrs(context.Background(), slog.LevelError, "airlock: nats: job is dead",
		slog.Any("job", j.delivery), slog.Int("attempt", j.attempt), slog.String("reason", reason))
	if w.store(j, m) {
		w.confirm(j, "+TERM "+reason)
	}
}

// copyOf is the job's message without what belonged to its old place. Its ID
// follows from the message that it replaces, so that however often the copy is
// sent it is stored once. It has a blank, which no ID of an intent has.
func (w *Worker) copyOf(j *job, attempts int) *nats.Msg {
	h := nats.Header{}
	for k, v := range j.msg.Header {
		if !strings.HasPrefix(k, "Nats-") {
			h[k] = v
		}
	}
	if j.rewrap {
		h[envelopeHeader] = []string{string(j.env.Encode())}
	}
	h[attemptsHeader] = []string{strconv.Itoa(max(attempts, 0))}
	h[nats.MsgIdHdr] = []string{j.env.ID + " " + strconv.FormatUint(j.seq, 10)}
	return &nats.Msg{Header: h, Data: j.msg.Data}
}

// store publishes a copy until the stream has it, and reports whether it has.
// Otherwise the message at hand is left alone, and delivered again.
func (w *Worker) store(j *job, m *nats.Msg) bool {
	err := w.persist(j, func(ctx context.Context) error {
		reply, err := w.conn.RequestMsgWithContext(ctx, m)
		if err != nil {
			return err
		}
		var ack pubAck
		if err := json.Unmarshal(reply.Data, &ack); err != nil {
			return err
		}
		return ack.error()
	})
	if err != nil {
		w.lost(j, "job could not be put off, it will run again", err)
	}
	return err == nil
}

// confirm answers the message and waits until the server has taken the answer.
func (w *Worker) confirm(j *job, word string) {
	err := w.persist(j, func(ctx context.Context) error {
		_, err := w.conn.RequestWithContext(ctx, j.msg.Reply, []byte(word))
		return err
	})
	if err != nil {
		w.lost(j, "acknowledgement lost, the job may run again", err)
	}
}

func (w *Worker) lost(j *job, what string, err error) {
	w.opts.Logger.LogAttrs(context.Background(), slog.LevelWarn, "airlock: nats: "+what,
		slog.Any("job", j.delivery), slog.Any("error", err))
}

// persist tries until it succeeds or the job's message is another worker's.
func (w *Worker) persist(j *job, try func(context.Context) error) error {
	end := time.Now().Add(j.source.ackWait)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), settleOnce)
		err := try(ctx)
		cancel()
		if err == nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) || !time.Now().Before(end) {
			return err
		}
		time.Sleep(conflictPause)
	}
}

const longestReason = 512

// oneLine makes a header value of an error's text.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune { // which makes valid UTF-8 of what is not
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(text) > longestReason {
		cut := longestReason
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strings.TrimSpace(text)
}
