package workexec

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gocraft/work"

	"github.com/goairlock/airlock/core"
)

// Payload returns a job's arguments as they were encoded at dispatch, for handlers
// that are not of [Register]: of a job that an [Executor] has stored, exactly those
// bytes; of any other job its arguments as one JSON object. A nil job, or arguments
// that cannot be read, are [core.ErrInvalid].
func Payload(job *work.Job) ([]byte, error) {
	if job == nil {
		return nil, invalid("nil job")
	}
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
	args := rawArgs(job)
	if _, ok := job.Args[envelopeKey]; !ok {
		return args, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(args, &members); err != nil {
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
		b = appendComma(b, i > 0)
		b = append(appendString(b, key), ':')
		b = append(b, members[key]...)
	}
	return append(b, '}')
}

// delivery is the job as the registry takes it, and the name of its lock, if it
// has one. The error is one of the message.
func (w *Worker) delivery(job *work.Job) (d core.Delivery, lock string, err error) {
	d = core.Delivery{
		ID: job.ID, Task: taskOf(job.Name), Queue: w.queue,
		Attempt: int(job.Fails) + 1, MaxAttempts: defaultAttempts,
	}
	if d.Payload, err = Payload(job); err != nil {
		return d, "", err
	}
	said, ok := job.Args[envelopeKey]
	if !ok {
		return d, "", nil
	}
	text, ok := said.(string)
	if !ok {
		return d, "", invalid("task %s: malformed envelope: want a string", d.Task)
	}
	env, err := core.DecodeEnvelope([]byte(text))
	if err != nil {
		return d, "", fmt.Errorf("airlock: work: task %s: %w", d.Task, err)
	}
	if env.MaxAttempts > 0 {
		d.MaxAttempts = env.MaxAttempts
	}
	d.Backoff, d.Timeout, d.Deadline, d.Headers = env.Backoff, env.Timeout, env.Deadline, env.Headers
	if env.Unique != "" {
		lock = lockName(d.Task, env.Unique)
	}
	return d, lock, nil
}
