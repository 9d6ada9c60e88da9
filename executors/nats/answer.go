package natsexec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
)

// Errors of the server that mean something here (v2.15.2,
// server/jetstream_errors_generated.go). The client names only some of them.
const (
	codeResources        jetstream.ErrorCode = 10023
	codeTooLarge         jetstream.ErrorCode = 10054
	codeWrongSequence    jetstream.ErrorCode = 10071 // the subject, or one of those of the key, is taken
	codeOutOfStep        jetstream.ErrorCode = 10063 // replicas: the leader could not apply what its followers may
	codeStoreFailed      jetstream.ErrorCode = 10077 // likewise
	codeHeadersTooLarge  jetstream.ErrorCode = 10097
	codeIDInProcess      jetstream.ErrorCode = 10158 // replicas: a message of the same ID is just being stored
	codeSubjectInProcess jetstream.ErrorCode = 10164 // replicas: one of the same key is
	codeNoSchedules      jetstream.ErrorCode = 10188
	codeIncompleteBatch  jetstream.ErrorCode = 10176
	codeDuplicateInBatch jetstream.ErrorCode = 10201
)

// An answer is what a reply says of an intent.
type answer struct {
	state    core.State
	err      error
	conflict bool // ask again: it is not decided yet; state and err hold if it never is
}

type pubAck struct {
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

func (a *pubAck) error() error {
	if a.Error == nil {
		return nil
	}
	return fmt.Errorf("airlock: nats: %w", a.Error)
}

// errNobody is what the server says where no stream, or a stream without a
// leader, takes the subject.
var errNobody = fmt.Errorf("airlock: nats: %w: %w", core.ErrUnavailable, jetstream.ErrNoStreamResponse)

// answer reads a reply of the stream.
func (e *Executor) answer(m *nats.Msg, in *core.Intent) answer {
	if e.plainlyStored(m.Data) {
		return answer{state: core.Accepted}
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return answer{state: core.NotSent, err: errNobody}
	}
	var ack pubAck
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return answer{state: core.Unknown, err: fmt.Errorf("airlock: nats: malformed acknowledgement: %w", err)}
	case ack.Error != nil:
		return refusal(ack.Error, in)
	case ack.Stream != e.stream:
		return answer{state: core.Unknown, err: fmt.Errorf("airlock: nats: acknowledged by stream %q, want %s", ack.Stream, e.stream)}
	case ack.Duplicate:
		return known(in, nil)
	case ack.Sequence == 0:
		return answer{state: core.Unknown, err: fmt.Errorf("airlock: nats: acknowledgement without a sequence: %w", jetstream.ErrInvalidJSAck)}
	}
	return answer{state: core.Accepted}
}

// plainlyStored recognises {"stream":"NAME","seq":N}, which nearly every
// reply is, without decoding it.
func (e *Executor) plainlyStored(data []byte) bool {
	const before, between = `{"stream":"`, `","seq":`
	rest, ok := bytes.CutPrefix(data, []byte(before))
	if !ok || len(rest) < len(e.stream)+len(between) || string(rest[:len(e.stream)]) != e.stream {
		return false
	}
	rest = rest[len(e.stream):]
	if string(rest[:len(between)]) != between {
		return false
	}
	rest = rest[len(between):]
	const mostDigits = 19 // that surely fit in 64 bits
	for i, c := range rest {
		if c == '}' {
			return i > 0 && i == len(rest)-1
		}
		if c < '0' || c > '9' || i == 0 && c == '0' || i == mostDigits {
			return false
		}
	}
	return false
}

// known is the answer for a job that is there already.
func known(in *core.Intent, err error) answer {
	if in.ChosenID() || in.Options.Unique != "" {
		return answer{state: core.Duplicate, err: err}
	}
	return answer{state: core.Accepted}
}

// taken reports whether a wrong last sequence is that of a message. Where its
// store does not answer, because it is being closed, the server says the same
// with a sequence of 0, of a subject that may be free (v2.15.2, server/stream.go,
// processJetStreamMsg, and checkMsgHeadersPreClusteredProposal: every error of
// LoadLastMsg).
func taken(api *jetstream.APIError) bool {
	return !strings.HasSuffix(api.Description, ": 0")
}

// refusal says what an error of the stream means. Nothing was stored, but where it says so.
func refusal(api *jetstream.APIError, in *core.Intent) answer {
	err := fmt.Errorf("airlock: nats: task %s: %w", in.Task, api)
	switch api.ErrorCode {
	case codeWrongSequence:
		if !taken(api) {
			return answer{state: core.NotSent, err: fmt.Errorf("%w: %w", core.ErrUnavailable, err)}
		}
		return known(in, err)
	case codeSubjectInProcess:
		return answer{conflict: true, state: core.NotSent, err: fmt.Errorf("%w: %w", core.ErrUnavailable, err)}
	case codeIDInProcess: // by an earlier call, perhaps
		return answer{conflict: true, state: core.Unknown, err: err}
	case codeTooLarge, codeHeadersTooLarge:
		return answer{state: core.Rejected, err: fmt.Errorf("%w: %w", core.ErrTooLarge, err)}
	case codeNoSchedules:
		return answer{state: core.Rejected, err: fmt.Errorf("%w: %w", err, &core.OptionError{
			Option: core.OptionDelay, Executor: name, Reason: "the stream does not allow schedules any more",
		})}
	case codeOutOfStep, codeStoreFailed:
		return answer{state: core.Unknown, err: err}
	case codeResources, codeIncompleteBatch:
		return answer{state: core.NotSent, err: fmt.Errorf("%w: %w", core.ErrUnavailable, err)}
	}
	if api.Code >= 500 || api.Code == 429 {
		return answer{state: core.NotSent, err: fmt.Errorf("%w: %w", core.ErrUnavailable, err)}
	}
	return answer{state: core.Rejected, err: err}
}
