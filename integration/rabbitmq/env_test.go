//go:build realservers

package rabbitmq_test

import (
	"context"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
	"github.com/goairlock/airlock/integration/servers"
)

var quiet = slog.New(slog.DiscardHandler)

func ensure(ctx context.Context, t interface{ Cleanup(func()) }, addr string, topology rabbitexec.Topology, queues ...string) error {
	t.Cleanup(func() {
		ch, end, err := servers.WireTo(addr).Channel()
		if err != nil {
			return // a server that was stopped
		}
		defer end()
		for _, q := range queues {
			for _, name := range []string{topology.Prefix + q, rabbitexec.DeadQueue(topology.Prefix + q)} {
				_, _ = ch.QueueDelete(name, false, false, false) // an error shows in the next one
			}
		}
	})
	patient := &servers.Wire{Addr: addr, Heartbeat: time.Minute}
	return rabbitexec.EnsureQueues(ctx, patient.Dial, &topology, queues...)
}

// amqpPublishing is a received message with other headers.
func amqpPublishing(d amqp.Delivery, headers amqp.Table) amqp.Publishing {
	return amqp.Publishing{Headers: headers, MessageId: d.MessageId, Type: d.Type, Body: d.Body}
}
