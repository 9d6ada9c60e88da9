package natsexec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// Errors of the server (v2.15.2, server/jetstream_errors_generated.go). The client
// names only some of them.
const (
	codeAccountFull      jetstream.ErrorCode = 10002 // the account's storage is full
	codeTooLarge         jetstream.ErrorCode = 10054
	codeOutOfStep        jetstream.ErrorCode = 10063 // replicas: the leader could not apply what its followers may
	codeWrongSequence    jetstream.ErrorCode = 10071 // the subject, or one of those of the key, is taken
	codeStoreFailed      jetstream.ErrorCode = 10077 // the same on replicas; else nothing was written
	codeHeadersTooLarge  jetstream.ErrorCode = 10097
	codeIDInProcess      jetstream.ErrorCode = 10158 // replicas: a message of the same ID is just being stored
	codeSubjectInProcess jetstream.ErrorCode = 10164 // replicas: one of the same key is
	codeIncompleteBatch  jetstream.ErrorCode = 10176
	codeNoSchedules      jetstream.ErrorCode = 10188
	codeDuplicateInBatch jetstream.ErrorCode = 10201
)

// permanent are the server's refusals with a code below 500 that sending the same
// message again does not change. All others are passing: they may end when somebody
// makes room (10002, 10120), when a move or another message is finished (10124,
// 10158, 10164, 10202, 10226), when there is less load (10167, 10176, 10210), or
// they are of a later server. Those are NotSent, so that nothing is lost that could
// be sent again.
var permanent = map[jetstream.ErrorCode]bool{
	10003: true, 10025: true, // bad request, invalid JSON
	codeTooLarge: true, codeHeadersTooLarge: true,
	10056: true, 10060: true, 10070: true, // another stream or message was expected
	10109: true,                           // the stream is sealed
	10165: true, 10166: true, 10191: true, // message TTL
	10168: true, 10169: true, 10170: true, 10171: true, 10172: true, 10173: true, // message counters
	10174: true, 10175: true, 10177: true, 10179: true, 10199: true, 10200: true, codeDuplicateInBatch: true, // atomic batches
	10193:           true,                                                                               // an expected sequence without a number
	codeNoSchedules: true, 10189: true, 10190: true, 10192: true, 10203: true, 10212: true, 10223: true, // schedules
	10205: true, 10206: true, 10207: true, 10208: true, 10209: true, // fast batches
	10227: true, // a header that only streams may set
}

// An outcome is what an answer or an error says about an intent.
type outcome struct {
	state   core.State
	err     error
	inDoubt bool   // not decided yet: send it again; state and err hold if it never is
	foreign string // who stored it, if that was not the stream
}

type pubAck struct {
	Stream    string              `json:"stream"`
	Domain    string              `json:"domain"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

// errNobody says that no stream, or a stream without a leader, takes the subject.
var errNobody = fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, jetstream.ErrNoStreamResponse)

// outcomeOf reads an answer to the intent's message.
func (e *Executor) outcomeOf(m *nats.Msg, in *core.Intent) outcome {
	if e.target.plainlyStored(m.Data) {
		return outcome{state: core.Accepted}
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return outcome{state: core.NotSent, err: errNobody}
	}
	var ack pubAck
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return outcome{state: core.Unknown, err: fmt.Errorf("airlock: nats: malformed acknowledgement: %w", err)}
	}
	switch err := e.target.check(&ack); {
	case ack.Error != nil && err == nil:
		return refusal(ack.Error, in, e.target.several)
	case err != nil:
		return outcome{state: core.Unknown, err: err, foreign: place(ack.Stream, ack.Domain)}
	case ack.Duplicate:
		return known(in, nil)
	case ack.Sequence == 0:
		return outcome{state: core.Unknown, err: fmt.Errorf("airlock: nats: acknowledgement without a sequence: %w", jetstream.ErrInvalidJSAck)}
	}
	return outcome{state: core.Accepted}
}

// A target is the stream that messages are for.
type target struct {
	stream, domain string
	several        bool   // it has replicas
	storedPrefix   []byte // of an acknowledgement, up to the sequence
}

func newTarget(s streamInfo) target {
	t := target{stream: s.Config.Name, domain: s.Domain, several: s.Config.Replicas > 1}
	if t.domain == "" {
		t.storedPrefix = fmt.Appendf(nil, `{"stream":%q,"seq":`, t.stream)
	} else {
		t.storedPrefix = fmt.Appendf(nil, `{"stream":%q,"domain":%q,"seq":`, t.stream, t.domain)
	}
	return t
}

// place names a stream in a message.
func place(stream, domain string) string {
	if domain == "" {
		return "stream " + stream
	}
	return "stream " + stream + " of domain " + domain
}

// check returns an error if an answer comes from another stream. Servers give no
// domain with a refusal.
func (t *target) check(ack *pubAck) error {
	if ack.Stream == t.stream && (ack.Domain == t.domain || ack.Error != nil) || ack.Stream == "" && ack.Error != nil {
		return nil
	}
	return fmt.Errorf("airlock: nats: acknowledged by %s, want %s", place(ack.Stream, ack.Domain), place(t.stream, t.domain))
}

// plainlyStored recognises an acknowledgement that says stored and nothing else,
// without decoding it. Nearly every answer is one.
func (t *target) plainlyStored(data []byte) bool {
	digits, ok := bytes.CutPrefix(data, t.storedPrefix)
	if !ok {
		return false
	}
	const mostDigits = 19 // so many surely fit in 64 bits
	for i, c := range digits {
		if c == '}' {
			return i > 0 && i == len(digits)-1
		}
		if c < '0' || c > '9' || i == 0 && c == '0' || i == mostDigits {
			return false
		}
	}
	return false
}

// known is the outcome for a job that the stream has already.
func known(in *core.Intent, err error) outcome {
	if in.ChosenID() || in.Options.Unique != "" {
		return outcome{state: core.Duplicate, err: err}
	}
	return outcome{state: core.Accepted}
}

// taken reports whether a wrong last sequence is that of a message. A server whose
// store does not answer, because it is being closed, answers with a sequence of 0,
// and the subject may be free (v2.15.2, server/stream.go, processJetStreamMsg, and
// checkMsgHeadersPreClusteredProposal: every error of LoadLastMsg).
func taken(api *jetstream.APIError) bool {
	return !strings.HasSuffix(api.Description, ": 0")
}

// refusal says what an error of the stream means. Nothing was stored, unless the
// outcome is Unknown.
func refusal(api *jetstream.APIError, in *core.Intent, several bool) outcome {
	err := fmt.Errorf("airlock: nats: task %s: %w", in.Task, adapter.Masked(api))
	unavailable := outcome{state: core.NotSent, err: fmt.Errorf("%w: %w", err, core.ErrUnavailable)}
	switch api.ErrorCode {
	case codeWrongSequence:
		if !taken(api) {
			return unavailable
		}
		return known(in, err)
	case codeSubjectInProcess:
		unavailable.inDoubt = true
		return unavailable
	case codeIDInProcess: // by an earlier call, perhaps
		return outcome{inDoubt: true, state: core.Unknown, err: err}
	case codeTooLarge, codeHeadersTooLarge:
		return outcome{state: core.Rejected, err: fmt.Errorf("%w: %w", err, core.ErrTooLarge)}
	case codeNoSchedules:
		return outcome{state: core.Rejected, err: fmt.Errorf("%w: %w", err, &core.OptionError{
			Option: core.OptionDelay, Executor: name, Reason: "the stream no longer allows schedules",
		})}
	case codeOutOfStep:
		return outcome{state: core.Unknown, err: err}
	case codeStoreFailed:
		if several {
			return outcome{state: core.Unknown, err: err}
		}
		return unavailable
	case codeAccountFull, codeIncompleteBatch:
		return unavailable
	}
	switch {
	case permanent[api.ErrorCode]:
		return outcome{state: core.Rejected, err: err}
	case api.Code >= 500 || api.Code == 429:
		return unavailable
	}
	return outcome{state: core.NotSent, err: fmt.Errorf("%w: %w", err, core.ErrNotSent)}
}

// publishError says what an error of publishing means. The errors that it names
// are returned before anything was written.
func publishError(err error) outcome {
	wrapped := fmt.Errorf("airlock: nats: %w", adapter.Masked(err))
	var denied *deniedError
	switch {
	case errors.As(err, &denied):
		return outcome{state: core.NotSent, err: fmt.Errorf("%w: %w", wrapped, core.ErrNotSent)}
	case errors.Is(err, nats.ErrMaxPayload):
		return outcome{state: core.Rejected, err: fmt.Errorf("%w: %w", wrapped, core.ErrTooLarge)}
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrHeadersNotSupported):
		return outcome{state: core.NotSent, err: fmt.Errorf("%w: %w", wrapped, core.ErrUnavailable)}
	case errors.Is(err, nats.ErrBadSubject):
		return outcome{state: core.Rejected, err: fmt.Errorf("%w: %w", wrapped, core.ErrInvalid)}
	}
	return outcome{state: core.Unknown, err: wrapped}
}

// requestError is publishError for a request, whose error may come from before or
// after its message was written.
func requestError(err error) outcome {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return outcome{state: core.NotSent, err: errNobody}
	case errors.Is(err, nats.ErrConnectionClosed): // returned for a message that was written too
		return outcome{state: core.Unknown, err: fmt.Errorf("airlock: nats: %w", err)}
	}
	return publishError(err)
}
