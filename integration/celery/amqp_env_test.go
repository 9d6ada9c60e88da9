//go:build realservers

package celery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	"github.com/goairlock/airlock/integration/servers"
)

// declareQueues declares queues as Celery does.
func declareQueues(addr string, priorities bool, queues ...string) error {
	ch, end, err := servers.WireTo(addr).Channel()
	if err != nil {
		return err
	}
	defer end()
	args := amqp.Table{}
	if priorities {
		args["x-max-priority"] = int32(10)
	}
	for _, q := range queues {
		if _, err := ch.QueueDeclare(q, true, false, false, false, args); err != nil {
			return err
		}
	}
	return nil
}

// amqpMessage is what a producer publishes that knows nothing of airlock. args are the
// arguments of the function, as JSON.
func amqpMessage(task string, args []byte, headers amqp.Table) amqp.Publishing {
	id := fmt.Sprintf("native-%d", time.Now().UnixNano())
	all := amqp.Table{
		"lang": "py", "task": task, "id": id, "eta": nil, "expires": nil, "retries": int32(0), "timelimit": []any{nil, nil},
		"argsrepr": "()", "kwargsrepr": "{}",
	}
	for k, v := range headers {
		all[k] = v
	}
	return amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", CorrelationId: id, Headers: all,
		Body: fmt.Appendf(nil, `[[%s], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]`, args),
	}
}

// takeAMQP takes one message as a program does that knows nothing of airlock.
func takeAMQP(ctx context.Context, addr, queue string) (m amqp.Delivery, err error) {
	ch, end, err := servers.WireTo(addr).Channel()
	if err != nil {
		return m, err
	}
	defer end()
	for {
		m, ok, err := ch.Get(queue, true)
		if err != nil || ok {
			return m, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
}

// consumeAMQP returns the task and the argument of a message.
func consumeAMQP(ctx context.Context, addr, queue string) (task string, payload []byte, err error) {
	m, err := takeAMQP(ctx, addr, queue)
	if err != nil {
		return "", nil, err
	}
	task, _ = m.Headers["task"].(string)
	var parts, args []json.RawMessage
	if err := json.Unmarshal(m.Body, &parts); err != nil || len(parts) != 3 {
		return "", nil, errors.Join(err, errors.New("no body of version 2"))
	}
	if err := json.Unmarshal(parts[0], &args); err != nil {
		return "", nil, err
	}
	if len(args) == 1 {
		return task, args[0], nil
	}
	return task, parts[1], nil
}

func job(t *testing.T, args string, opts ...core.Option) core.Intent {
	t.Helper()
	in, err := testTask.Intent(json.RawMessage(args), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// putRecorded publishes a message that a producer's connection has recorded as JSON.
func putRecorded(ctx context.Context, addr, queue string, recorded []byte) error {
	var m struct {
		Headers    map[string]any
		Properties struct {
			ContentType     string `json:"content_type"`
			ContentEncoding string `json:"content_encoding"`
			CorrelationID   string `json:"correlation_id"`
			ReplyTo         string `json:"reply_to"`
			Priority        uint8
		}
		Body string
	}
	if err := json.Unmarshal(recorded, &m); err != nil {
		return err
	}
	for k, v := range m.Headers {
		if n, ok := v.(float64); ok { // encoding/json has no other numbers, and Python's are integers
			m.Headers[k] = int64(n)
		}
	}
	return servers.WireTo(addr).Put(ctx, queue, amqp.Publishing{
		ContentType: m.Properties.ContentType, ContentEncoding: m.Properties.ContentEncoding, Priority: m.Properties.Priority,
		CorrelationId: m.Properties.CorrelationID, ReplyTo: m.Properties.ReplyTo, Headers: m.Headers, Body: []byte(m.Body),
	})
}
