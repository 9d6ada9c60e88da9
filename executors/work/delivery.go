package workexec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/worker"
)

// Payload returns a job's arguments as they were encoded at dispatch, for handlers
// of the library's own pools: of a job that an [Executor] has stored, exactly those
// bytes; of any other job its arguments as one JSON object. A nil job, or arguments
// that cannot be read, are [core.ErrInvalid].
func Payload(job *work.Job) ([]byte, error) {
	if job == nil {
		return nil, invalid("nil job")
	}
	return payloadOf(job, rawArgs(job))
}

// payloadOf is Payload for a job whose arguments are raw in Redis.
func payloadOf(job *work.Job, raw json.RawMessage) ([]byte, error) {
	if text, ok := job.Args[payloadKey].(string); ok {
		return []byte(text), nil
	}
	if text, ok := job.Args[bytesKey].(string); ok {
		payload, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, invalid("task %s: malformed %s", taskOf(job.Name), bytesKey)
		}
		return payload, nil
	}
	if _, ok := job.Args[envelopeKey]; !ok {
		return raw, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, invalid("task %s: malformed arguments", taskOf(job.Name))
	}
	delete(members, envelopeKey)
	return object(members), nil
}

// object encodes members as they are. json.Marshal would escape what is in them.
func object(members map[string]json.RawMessage) []byte {
	keys := make([]string, 0, len(members))
	for key := range members {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b := []byte{'{'}
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(adapter.AppendJSONString(b, key), ':')
		b = append(b, members[key]...)
	}
	return append(b, '}')
}

// nativeAttempts is the library's own limit, of JobOptions.MaxFails. It holds for
// jobs that another producer has stored.
const nativeAttempts = 4

var (
	errNoJob     = errors.New("airlock: work: the message is no job")
	errWrongList = errors.New("airlock: work: the job is in the list of another name")
)

// held is a job that this worker holds.
type held struct {
	list     *list
	text     string // the message, as it is in the in-progress list
	message  message
	lock     string // the name of its lock; "" if it has none
	delivery worker.Delivery
	answer   error // the verdict's, set before it is applied
	bad      error // why nobody can run it; delivery has made-up values then
}

// deliveryOf reads a message of a list. An error says that it is no job of that list:
// nobody can run it.
func deliveryOf(l *list, text string) (*held, error) {
	h := &held{list: l, text: text}
	m := &h.message
	job := &work.Job{}
	if json.Unmarshal([]byte(text), m) != nil || json.Unmarshal(m.Args, &job.Args) != nil && len(m.Args) > 0 {
		return nil, errNoJob
	}
	if m.Name != l.name {
		return nil, errWrongList
	}
	job.Name, job.ID, job.EnqueuedAt, job.Unique = m.Name, m.ID, m.T, m.Unique
	job.Fails, job.LastErr, job.FailedAt = m.Fails, m.Err, m.FailedAt
	h.delivery = worker.Delivery{
		ID: m.ID, Task: taskOf(m.Name), Queue: l.queue, Native: job, OwnGoroutine: true,
		Attempt: int(min(max(m.Fails, 0), maxAttempts)) + 1, MaxAttempts: nativeAttempts,
	}
	h.delivery.EnvelopeErr = h.open(job)
	if errors.Is(h.delivery.EnvelopeErr, worker.ErrLaterVersion) {
		h.delivery.MaxAttempts = maxAttempts // its own number cannot be read
	}
	return h, nil
}

// open reads what is in the job's arguments.
func (h *held) open(job *work.Job) (err error) {
	d := &h.delivery
	if d.Payload, err = payloadOf(job, h.message.Args); err != nil {
		return err
	}
	value, ok := job.Args[envelopeKey]
	if !ok {
		return nil
	}
	text, ok := value.(string)
	if !ok {
		return invalid("task %s: malformed envelope: want a string", d.Task)
	}
	env, err := adapter.DecodeEnvelope([]byte(text))
	if err != nil {
		return fmt.Errorf("airlock: work: task %s: %w", d.Task, err)
	}
	if env.MaxAttempts > 0 {
		d.MaxAttempts = env.MaxAttempts
	}
	d.Backoff, d.Timeout, d.Deadline, d.Headers = env.Backoff, env.Timeout, env.Deadline, env.Headers
	if env.Unique != "" {
		h.lock = lockName(d.Task, env.Unique)
	}
	return nil
}
