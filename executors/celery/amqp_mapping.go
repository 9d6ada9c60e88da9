package celeryexec

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/internal/amqplink"
)

// publish stores the jobs of one call in RabbitMQ, which adapter.Guard has checked.
func (e *Executor) publish(ctx context.Context, intents ...core.Intent) error {
	out := core.Outcomes(intents, core.Accepted, nil)
	msgs := make([]amqplink.Message, len(intents))
	for i := range intents {
		msgs[i] = e.toAMQP(&intents[i])
	}
	for i, r := range e.publisher.Publish(ctx, msgs) {
		out[i].State, out[i].Err = r.State, r.Err
	}
	adapter.AddContextError(ctx, out)
	return core.Combine(out)
}

// toAMQP maps an intent to a message of RabbitMQ. Headers and properties are AMQP's
// own, and the body is plain JSON.
func (e *Executor) toAMQP(in *core.Intent) amqplink.Message {
	o := &in.Options
	body, form := bodyOf(in.Payload())
	headers := amqp.Table{
		"lang": "py", "task": in.Task, "id": in.ID, "shadow": nil, "eta": timeHeader(o.At), "expires": timeHeader(o.Deadline),
		"group": nil, "group_index": nil, "retries": int32(0), "timelimit": []any{nil, secondsHeader(o.Timeout)},
		"root_id": in.ID, "parent_id": nil, "argsrepr": "", "kwargsrepr": "", "origin": "airlock",
	}
	if form != "" {
		headers[formHeader] = form
	}
	for k, v := range in.Headers().All() {
		headers[k] = v
	}
	pub := amqp.Publishing{
		Headers: headers, ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent,
		CorrelationId: in.ID, Body: body,
	}
	if e.priorities {
		pub.Priority = adapter.DefaultPriority
		if o.Priority > 0 {
			pub.Priority = uint8(o.Priority)
		}
	}
	return toQueue(e.names.Native(o.Queue), pub)
}

// timeHeader returns a time as Celery writes it, nil for none.
func timeHeader(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return adapter.RoundUpTime(t, time.Microsecond).UTC().Format(timeLayout)
}

func secondsHeader(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return int64(adapter.RoundUp(d, time.Second) / time.Second)
}
