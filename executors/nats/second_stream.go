package natsexec

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// second says whether an answer that comes in addition is that of a second stream.
func (b *batchPublish) second(m *nats.Msg, i int) (o outcome) {
	var ack pubAck
	if json.Unmarshal(m.Data, &ack) != nil {
		return o
	}
	if err := b.e.target.check(&ack); err != nil {
		return outcome{err: err, foreign: place(ack.Stream, ack.Domain)}
	}
	if b.stage[i] == settled && !b.sentAgain[i] && ack.Error == nil { // of an account that imports the subject
		o.foreign = "another " + place(ack.Stream, ack.Domain)
	}
	return o
}

func (b *batchPublish) noteSecond(i int, o outcome) {
	if o.foreign == "" {
		return
	}
	if b.foreign == nil {
		b.foreign = map[int]outcome{}
	}
	b.foreign[i] = o
}

// A second stream answers too, and it may answer later. One call in a while keeps its
// subscription longer for that.
const (
	watchEvery = 10 * time.Second
	watchFor   = time.Second
)

// watchNow reports whether this call listens for a second stream.
func (e *Executor) watchNow() bool {
	return e.doubled.Load() || time.Since(time.Unix(0, e.watching.Load())) > watchEvery
}

func (b *batchPublish) watchUntilEnd(sub *nats.Subscription) {
	b.e.watching.Store(time.Now().UnixNano())
	time.AfterFunc(watchFor, func() {
		sub.Unsubscribe()
		b.readLate()
	})
}

// readLate reads what has come since the call returned. It leaves the intents alone,
// which are the caller's again.
func (b *batchPublish) readLate() {
	b.foreign = nil
	for {
		select {
		case m := <-b.replies:
			if i, err := strconv.Atoi(m.Subject[len(b.inbox)+1:]); err == nil && i >= 0 && i < len(b.stage) {
				b.noteSecond(i, b.second(m, i))
			}
			continue
		default:
		}
		b.reportSecond()
		return
	}
}

func (b *batchPublish) reportSecond() {
	for _, o := range b.foreign {
		b.e.reportDoubled(context.WithoutCancel(b.ctx), len(b.foreign), o.foreign)
		break
	}
}

// reportDoubled logs that another stream stores jobs of this executor too. From
// then on every call listens for more than one answer.
func (e *Executor) reportDoubled(ctx context.Context, jobs int, by string) {
	e.doubled.Store(true)
	e.opts.Logger.LogAttrs(ctx, slog.LevelError, "airlock: nats: a second stream stores the same jobs: they may run twice",
		slog.String("stream", place(e.target.stream, e.target.domain)), slog.String("second", by), slog.Int("jobs", jobs))
}

// answersWithin is how long further answers may come after the first one.
const answersWithin = 300 * time.Millisecond

// secondStream looks for another stream that stores what the executor publishes:
// one of this connection's own domain, and one that answers too.
func (e *Executor) secondStream(ctx context.Context, s streamInfo) (string, error) {
	if other := e.localStream(ctx, s); other != "" {
		return other, nil
	}
	probe := neverStored(e.mapping.subject(laneNormal, e.mapping.queues.Native(""), "airlock.probe"))
	probe.Reply = e.conn.NewInbox()
	sub, err := e.conn.SubscribeSync(probe.Reply)
	if err != nil {
		return "", fmt.Errorf("airlock: nats: %w", err)
	}
	defer sub.Unsubscribe()
	if err := e.conn.PublishMsg(probe); err != nil {
		return "", fmt.Errorf("airlock: nats: %w", err)
	}
	if _, err := sub.NextMsg(e.opts.AckTimeout); err != nil {
		return "", nil // no answer, or no right to ask
	}
	if _, err := sub.NextMsg(answersWithin); err != nil {
		return "", nil
	}
	return "a second stream", nil
}

// localStream returns a stream of the connection's own domain that takes the
// executor's subjects and is not the executor's, or "". That is so with
// jetstream.NewWithDomain on a leaf that has a stream of the same subjects: both
// store each message.
func (e *Executor) localStream(ctx context.Context, s streamInfo) string {
	if e.api == jetstream.DefaultAPIPrefix {
		return ""
	}
	limited, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var list struct {
		Streams []string `json:"streams"`
	}
	for _, subject := range subjects(e.target.stream, e.opts.Lanes) {
		err := ask(limited, e.conn, jetstream.DefaultAPIPrefix+"STREAM.NAMES", map[string]string{"subject": subject}, &list)
		if err != nil {
			return "" // no JetStream there, or no right to ask
		}
		for _, name := range list.Streams {
			var there streamInfo
			if err := ask(limited, e.conn, jetstream.DefaultAPIPrefix+"STREAM.INFO."+name, nil, &there); err != nil {
				continue
			}
			same := there.Domain == s.Domain && there.Config.Name == s.Config.Name && there.Created.Equal(s.Created)
			if !same && overlaps(there.Config.Subjects, subject) {
				return place(name, there.Domain)
			}
		}
	}
	return ""
}

// overlaps reports whether some subject matches both want and one of the patterns.
func overlaps(patterns []string, want string) bool {
	w := strings.Split(want, ".")
	return slices.ContainsFunc(patterns, func(p string) bool {
		for i, token := range strings.Split(p, ".") {
			switch {
			case token == ">", i < len(w) && w[i] == ">":
				return true
			case i >= len(w), token != "*" && w[i] != "*" && token != w[i]:
				return false
			}
		}
		return strings.Count(p, ".") == len(w)-1
	})
}

// neverStored is a message for which the stream would need a last sequence that
// it never has.
func neverStored(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{nats.ExpectedLastSeqHdr: []string{strconv.FormatInt(1<<62, 10)}}}
}
