package natsexec

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
)

// JetStream has no fence: it stores the copy of a job that any worker sends, also a worker
// that was frozen after it had looked at its lease. What it has is the memory of message
// IDs. Each delivery of a message has one ID for all copies of the job. A worker that
// gets a later delivery stores a message with the IDs of the earlier ones first, and
// removes it again. A copy of an earlier owner is then a duplicate, and not stored.

// kindClaim is the second token of the subject of a claim, which is there for a moment.
const kindClaim = "claim"

const rollupHeader = "Nats-Rollup"

// mostClaims bounds the earlier deliveries that are claimed. Those that a worker had
// have claimed the ones before them.
const mostClaims = 3

// copyID is the message ID of all copies that the owner of a delivery makes of a
// message. It has a blank, which no ID of an intent has.
func (j *job) copyID(delivered int) string {
	id := oneLine(j.delivery.ID) + " " + strconv.FormatUint(j.key.seq, 10)
	if delivered > 1 {
		id += "." + strconv.Itoa(delivered)
	}
	return id
}

// fenced reports whether claims can be stored on a stream, and none stays for long. Older
// streams have no subject for them.
func fenced(cfg jetstream.StreamConfig) bool {
	return covered(cfg.Name+"."+kindClaim+".>", cfg.Subjects) && cfg.AllowRollup
}

// A claimed says what became of a claim.
type claimed int

const (
	ours     claimed = iota // no earlier owner can store a copy any more
	decided                 // an earlier owner has stored one
	unknown                 // nobody answered
	unfenced                // the stream takes no claims
)

// claim keeps the earlier owners of a job from storing copies of it. It makes sure of
// that before the job runs, and again if the job was delivered once more since.
func (w *Worker) claim(j *job) claimed {
	delivered := j.lease.delivery()
	if !w.fenced || delivered <= max(j.claimed, 1) {
		return ours
	}
	first := max(1, delivered-mostClaims, j.claimed)
	j.claimed = delivered // our own copies must not be duplicates of our claims
	for earlier := first; earlier < delivered; earlier++ {
		if c := w.claimOne(j, j.copyID(earlier)); c != ours {
			return c
		}
	}
	return ours
}

func (w *Worker) claimOne(j *job, id string) claimed {
	m := &nats.Msg{
		Subject: w.stream + "." + kindClaim + "." + j.source.native + ".1",
		// If it cannot be removed, the next one of the queue replaces it.
		Header: nats.Header{nats.MsgIdHdr: {id}, rollupHeader: {"sub"}},
	}
	stored, err := w.publish(j, m)
	var api *jetstream.APIError
	var denied *deniedError
	switch {
	case errors.As(err, &api), errors.As(err, &denied), errors.Is(err, nats.ErrNoResponders):
		return unfenced
	case err != nil:
		return unknown
	case stored.Duplicate && w.isCopy(stored.Sequence, id):
		return decided
	case !stored.Duplicate:
		// Its ID is remembered all the same.
		body, _ := json.Marshal(map[string]any{"seq": stored.Sequence, "no_erase": true})
		_ = w.conn.PublishRequest(w.api+"STREAM.MSG.DELETE."+w.stream, w.conn.NewInbox(), body)
	}
	return ours
}

// isCopy reports whether a message is still there and is the copy of a job. One that is
// gone was a claim, or a copy that has run: a job rather runs twice than not at all.
func (w *Worker) isCopy(seq uint64, id string) bool {
	ctx, cancel := context.WithTimeout(w.settling, tryTimeout)
	defer cancel()
	var answer struct {
		Message storedMessage `json:"message"`
	}
	if ask(ctx, w.conn, w.api+"STREAM.MSG.GET."+w.stream, map[string]uint64{"seq": seq}, &answer) != nil {
		return false
	}
	h, err := nats.DecodeHeadersMsg(answer.Message.Header)
	return err == nil && h.Get(nats.MsgIdHdr) == id && !strings.HasPrefix(answer.Message.Subject, w.stream+"."+kindClaim+".")
}

// errClaimed says that another worker has claimed the job.
var errClaimed = errors.New("another worker has the job")

// publish sends a message of a job until the stream has it or the answer is final, while
// the lease holds, and for the length of a lease at most.
func (w *Worker) publish(j *job, m *nats.Msg) (stored pubAck, err error) {
	end := time.Now().Add(j.source.lease())
	may := func() bool { return j.lease.held() && time.Now().Before(end) }
	err = w.persist(may, func() error {
		reply, err := request(w.settling, w.conn, m, tryTimeout)
		if err != nil {
			return adapter.Masked(err)
		}
		stored = pubAck{}
		if err := json.Unmarshal(reply.Data, &stored); err != nil {
			return err
		}
		if err := w.target.check(&stored); err != nil {
			return err
		}
		if stored.Error != nil {
			return stored.Error
		}
		return nil
	})
	return stored, err
}
