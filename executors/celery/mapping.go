package celeryexec

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// formHeader says what the arguments of a Go program were, where the arguments of the
// Python function do not show it: "array" or "object".
const formHeader = "airlock_form"

// timeLayout has microseconds: Celery drops a message whose time has nanoseconds.
const timeLayout = "2006-01-02T15:04:05.000000+00:00"

// native is a message and the list that it is for.
type native struct {
	list string
	data []byte
}

// toNative maps an intent.
func (e *Executor) toNative(in *core.Intent) native {
	o := &in.Options
	queue := e.names.Native(o.Queue)
	priority := 0
	if e.priorities {
		priority = kombuPriority(o.Priority)
	}
	body, form := bodyOf(in.Payload())
	b := make([]byte, 0, 900+base64.StdEncoding.EncodedLen(len(body))+2*in.Headers().Size())
	b = append(b, `{"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	b = append(b, `","content-encoding":"utf-8","content-type":"application/json","headers":{"lang":"py","task":`...)
	b = adapter.AppendJSONString(b, in.Task)
	b = append(b, `,"id":`...)
	b = adapter.AppendJSONString(b, in.ID)
	b = append(b, `,"shadow":null,"eta":`...)
	b = appendTime(b, o.At)
	b = append(b, `,"expires":`...)
	b = appendTime(b, o.Deadline)
	b = append(b, `,"group":null,"group_index":null,"retries":0,"timelimit":[null,`...)
	b = appendSeconds(b, o.Timeout)
	b = append(b, `],"root_id":`...)
	b = adapter.AppendJSONString(b, in.ID)
	b = append(b, `,"parent_id":null,"argsrepr":"","kwargsrepr":"","origin":"airlock"`...)
	if form != "" {
		b = append(b, `,"`+formHeader+`":"`...)
		b = append(b, form...)
		b = append(b, '"')
	}
	for k, v := range in.Headers().All() {
		b = append(b, ',')
		b = adapter.AppendJSONString(b, k)
		b = append(b, ':')
		b = adapter.AppendJSONString(b, v)
	}
	b = append(b, `},"properties":{"correlation_id":`...)
	b = adapter.AppendJSONString(b, in.ID)
	b = append(b, `,"reply_to":"","delivery_mode":2,"delivery_info":{"exchange":"","routing_key":`...)
	b = adapter.AppendJSONString(b, queue)
	b = append(b, `},"priority":`...)
	b = append(b, byte('0'+priority))
	b = append(b, `,"body_encoding":"base64","delivery_tag":"`...)
	b = append(b, rand.Text()...)
	b = append(b, `"}}`...)
	return native{e.broker.key(listOf(queue, priority)), b}
}

// kombuPriority returns the number of a priority on Redis, where 0 is the most urgent.
func kombuPriority(priority int) int {
	if priority == 0 {
		priority = adapter.DefaultPriority
	}
	return 10 - priority
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = adapter.RoundUpTime(t, time.Microsecond).UTC().AppendFormat(b, timeLayout)
	return append(b, '"')
}

func appendSeconds(b []byte, d time.Duration) []byte {
	if d == 0 {
		return append(b, "null"...)
	}
	return appendInt(b, int64(adapter.RoundUp(d, time.Second)/time.Second))
}
