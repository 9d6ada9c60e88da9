package asynqexec

import (
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/inspect"
)

// taskFields are the fields of a task's hash that an inspector reads.
var taskFields = []string{"msg", "state", "pending_since"}

// storedTask is a task as asynq stores it.
type storedTask struct {
	lane, id, state string
	raw             string               // asynq's encoded message
	since           string               // nanoseconds, of a pending task
	score           string               // in the sorted set where the task was found; "" if unknown
	message         protoreflect.Message // nil if raw cannot be decoded
}

// newStoredTask returns false if there is no such task. A hash that is none of
// asynq's has no message.
func newStoredTask(lane, id string, cmd *redis.SliceCmd) (storedTask, bool) {
	t := storedTask{lane: lane, id: id}
	values := cmd.Val()
	if cmd.Err() != nil || len(values) != len(taskFields) {
		return t, false
	}
	t.raw, _ = values[0].(string)
	t.state, _ = values[1].(string)
	t.since, _ = values[2].(string)
	if t.state == "" {
		return t, false
	}
	if messageType != nil && t.raw != "" {
		m := messageType.New()
		if proto.Unmarshal([]byte(t.raw), m.Interface()) == nil {
			t.message = m
		}
	}
	return t, true
}

// stateOf returns the state of the task in the words of package inspect.
func (t *storedTask) stateOf() inspect.State {
	switch t.state {
	case "pending":
		return inspect.Waiting
	case "active":
		return inspect.Running
	case "archived":
		return inspect.Dead
	case "completed":
		return inspect.Done
	}
	return inspect.Delayed
}

func (t *storedTask) field(name protoreflect.Name) protoreflect.Value {
	return t.message.Get(messageType.Descriptor().Fields().ByName(name))
}

// seconds is a field with a time. 0 is none.
func (t *storedTask) seconds(name protoreflect.Name) time.Time {
	if s := t.field(name).Int(); s > 0 {
		return time.Unix(s, 0)
	}
	return time.Time{}
}

// withAllAttempts returns the encoded message with none of its attempts used.
func (t *storedTask) withAllAttempts() (string, error) {
	m := proto.Clone(t.message.Interface()).ProtoReflect()
	m.Clear(messageType.Descriptor().Fields().ByName("retried"))
	b, err := proto.Marshal(m.Interface())
	return string(b), err
}

// jobOf returns a stored task as a job.
func (i *Inspector) jobOf(t storedTask) inspect.Job {
	job := inspect.Job{ID: t.id, Queue: queueOf(i.names, t.lane), State: t.stateOf()}
	if t.message == nil {
		job.Native, job.Unreadable = true, errUnreadable.Error()
		return job.WithPayload([]byte(t.raw))
	}
	job.Task, job.Error = t.field("type").String(), t.field("error_msg").String()
	job.MaxAttempts = int(t.field("retry").Int()) + 1
	job.FailedAt, job.Deadline = t.seconds("last_failed_at"), t.seconds("deadline")
	job.Attempts = int(t.field("retried").Int())
	if job.State == inspect.Running || job.State == inspect.Dead && !job.FailedAt.IsZero() {
		job.Attempts++
	}
	if t.state == "scheduled" || t.state == "retry" {
		if due, err := strconv.ParseFloat(t.score, 64); err == nil {
			job.Due = time.Unix(int64(due), 0)
		}
	}
	headers := map[string]string{}
	t.field("headers").Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		headers[k.String()] = v.String()
		return true
	})
	envelope, own := headers[envelopeHeader]
	delete(headers, envelopeHeader)
	job.Native, job.Headers = !own, core.NewHeaders(headers)
	if own {
		env, err := adapter.DecodeEnvelope([]byte(envelope))
		if err != nil {
			job.Unreadable = err.Error()
		}
		job.Deadline, job.Unique = env.Deadline, env.Unique
		if env.MaxAttempts > 0 {
			job.MaxAttempts = env.MaxAttempts
			job.Attempts = min(job.Attempts, max(env.MaxAttempts, int(t.field("retried").Int())))
		}
	}
	return job.WithPayload(t.field("payload").Bytes())
}
