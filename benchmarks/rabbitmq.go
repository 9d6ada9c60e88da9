package main

import (
	"context"
	"errors"
	"log/slog"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/goairlock/airlock/core"
	rabbitexec "github.com/goairlock/airlock/executors/rabbitmq"
)

// rabbitmqGroup measures RabbitMQ: a loop that waits for each confirm, ours, and the
// limit, the same publishes before the first confirm is awaited.
func rabbitmqGroup() Group {
	return Group{
		Name: "rabbitmq", Queue: "rabbitmq", Title: "RabbitMQ, a quorum queue on one node", Libraries: rabbitLibraries,
		Sizes: []int{1, 100, 1000}, Setup: setupRabbitMQ,
	}
}

var rabbitLibraries = []string{"github.com/rabbitmq/amqp091-go"}

// rabbitTopology has queues of the benchmark's own.
var rabbitTopology = rabbitexec.Topology{Prefix: "airlockbench."}

const rabbitQueue = "airlockbench.default"

// rabbitSetup returns a function that connects, a channel for what is not measured, and
// an executor.
func rabbitSetup(ctx context.Context, w *world) (rabbitexec.Dial, *amqp.Channel, *rabbitexec.Executor, error) {
	url, err := w.rabbitmq(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	dial := func(context.Context) (*amqp.Connection, error) { return amqp.Dial(url) }
	if err := rabbitexec.EnsureQueues(ctx, dial, &rabbitTopology, "default"); err != nil {
		return nil, nil, nil, err
	}
	ch, end, err := rabbitChannel(ctx, dial)
	if err != nil {
		return nil, nil, nil, err
	}
	w.Cleanup(end)
	exec, err := rabbitexec.New(dial, &rabbitexec.Options{Topology: rabbitTopology, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	w.Cleanup(func() { _ = exec.Close() })
	return dial, ch, exec, nil
}

// rabbitChannel returns a channel of a connection of its own, which end closes.
func rabbitChannel(ctx context.Context, dial func(context.Context) (*amqp.Connection, error)) (_ *amqp.Channel, end func(), err error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	end = func() { _ = conn.Close() }
	ch, err := conn.Channel()
	if err != nil {
		end()
		return nil, nil, err
	}
	return ch, end, nil
}

func setupRabbitMQ(ctx context.Context, w *world) ([]Contender, error) {
	_, ch, exec, err := rabbitSetup(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	var intents []core.Intent
	var messages []amqp.Publishing
	prepare := func(n int) (err error) {
		if intents, err = makeIntents(n); err != nil {
			return err
		}
		messages = messages[:0]
		for i := range intents {
			messages = append(messages, amqp.Publishing{
				DeliveryMode: amqp.Persistent, MessageId: intents[i].ID, Type: intents[i].Task, Body: intents[i].Payload(),
			})
		}
		_, err = ch.QueuePurge(rabbitQueue, false)
		return err
	}
	return rabbitContenders(ctx, ch, rabbitQueue, &messages, Contender{
		Name: "airlock", Prepare: prepare, HandOver: func(int) error { return exec.Execute(ctx, intents...) },
	}), nil
}

// rabbitContenders are ours between those that publish the messages with the client
// alone, on a channel with confirms. All are prepared as ours is.
func rabbitContenders(ctx context.Context, ch *amqp.Channel, queue string, messages *[]amqp.Publishing, ours Contender) []Contender {
	publish := func(batch []amqp.Publishing) error {
		confirms := make([]*amqp.DeferredConfirmation, len(batch))
		for i, m := range batch {
			var err error
			if confirms[i], err = ch.PublishWithDeferredConfirm("", queue, true, false, m); err != nil {
				return err
			}
		}
		for _, c := range confirms {
			if ok, err := c.WaitContext(ctx); err != nil || !ok {
				return errors.Join(err, errors.New("not confirmed"))
			}
		}
		return nil
	}
	return []Contender{
		{Name: "loop, each confirm awaited", MaxSize: loopSize, Prepare: ours.Prepare, HandOver: func(int) error {
			for i := range *messages {
				if err := publish((*messages)[i : i+1]); err != nil {
					return err
				}
			}
			return nil
		}},
		ours,
		{Name: "limit: confirms awaited at the end", Reference: true, Prepare: ours.Prepare, HandOver: func(int) error { return publish(*messages) }},
	}
}
